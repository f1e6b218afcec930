// quantlens: this file is not evcxr's. rust-analyzer's own hover is in its crate `ide`, which needs all of its
// assists, diagnostics and structural search: two minutes of compiling for what a notebook never asks. What a
// notebook shows of a name is its definition's label and documentation, and those are in `ide_db`.

use crate::rust_analyzer::EDITION;
use ra_ap_base_db::EditionedFileId;
use ra_ap_hir as hir;
use ra_ap_ide_db::FileId;
use ra_ap_ide_db::RootDatabase;
use ra_ap_ide_db::defs::Definition;
use ra_ap_ide_db::defs::IdentClass;
use ra_ap_ide_db::documentation::HasDocs;
use ra_ap_ide_db::famous_defs::FamousDefs;
use ra_ap_ide_db::helpers::pick_best_token;
use ra_ap_syntax::AstNode;
use ra_ap_syntax::SyntaxKind;
use ra_ap_syntax::SyntaxToken;
use ra_ap_syntax::TextSize;

/// What is known of a name: where it is defined, its declaration, and its documentation in Markdown.
pub(crate) struct Hover {
    path: Option<String>,
    label: String,
    docs: Option<String>,
}

impl Hover {
    /// Of the name or keyword at this byte of the file; `None` if there is nothing to say.
    pub(crate) fn at(db: &RootDatabase, file: FileId, offset: usize) -> Option<Hover> {
        let sema = hir::Semantics::new(db);
        let source = sema.parse(EditionedFileId::new(db, file, EDITION));
        let offset = TextSize::try_from(offset).ok()?;
        let token = pick_best_token(source.syntax().token_at_offset(offset), |kind| match kind {
            SyntaxKind::IDENT => 3,
            kind if kind.is_keyword(EDITION) => 2,
            kind if kind.is_trivia() => 0,
            _ => 1,
        })?;
        // In the argument of a macro, the name is where the macro puts it.
        let descended = sema.descend_into_macros_exact(token.clone());
        let definition = descended.iter().find_map(|token| {
            IdentClass::classify_token(&sema, token)?
                .definitions_no_ops()
                .pop()
        });
        match definition {
            Some(definition) => Some(Hover::of(&sema, definition, file)?),
            None => Hover::of_keyword(&sema, &token),
        }
    }

    fn of(
        sema: &hir::Semantics<RootDatabase>,
        definition: Definition,
        file: FileId,
    ) -> Option<Hover> {
        let db = sema.db;
        let target = sema.first_crate(file)?.to_display_target(db);
        let famous = FamousDefs(sema, sema.first_crate(file)?);
        let is_local = matches!(definition, Definition::Local(_) | Definition::Label(_));
        let path = (!is_local)
            .then(|| module_path(db, definition.module(db)?))
            .flatten();
        Some(Hover {
            path,
            label: definition.label(db, target),
            docs: definition
                .docs(db, Some(&famous), target)
                .map(|docs| docs.as_str().to_owned()),
        })
    }

    /// The standard library documents a keyword in a module of its own.
    fn of_keyword(sema: &hir::Semantics<RootDatabase>, token: &SyntaxToken) -> Option<Hover> {
        if !token.kind().is_keyword(EDITION) {
            return None;
        }
        let famous = FamousDefs(sema, sema.scope(&token.parent()?)?.krate());
        let name = format!("{}_keyword", token.text());
        let module = famous
            .std()?
            .root_module(sema.db)
            .children(sema.db)
            .find(|module| module.name(sema.db).is_some_and(|of| of.as_str() == name))?;
        Some(Hover {
            path: None,
            label: token.text().to_owned(),
            docs: Some(module.docs(sema.db)?.as_str().to_owned()),
        })
    }

    pub(crate) fn plain_text(&self) -> String {
        let path = self.path.as_ref().map(|path| format!("{path}\n\n"));
        let docs = self.docs.as_ref().map(|docs| format!("\n\n{docs}"));
        format!(
            "{}{}{}",
            path.unwrap_or_default(),
            self.label,
            docs.unwrap_or_default()
        )
    }

    pub(crate) fn markdown(&self) -> String {
        let fenced = |code: &str| format!("```rust\n{code}\n```\n");
        let path = self.path.as_deref().map(fenced).unwrap_or_default();
        let docs = self.docs.as_ref().map(|docs| format!("\n---\n\n{docs}"));
        format!(
            "{path}\n{}{}",
            fenced(&self.label),
            docs.unwrap_or_default()
        )
    }
}

/// `polars_core::frame`. `None` for a cell's own, whose crate is one that the user never named.
fn module_path(db: &RootDatabase, module: hir::Module) -> Option<String> {
    let name = module.krate(db).display_name(db)?.to_string();
    if name == crate::module::CRATE_NAME {
        return None;
    }
    let modules = module.path_to_root(db).into_iter().rev();
    let names = modules.filter_map(|module| Some(module.name(db)?.as_str().to_owned()));
    Some(
        [name]
            .into_iter()
            .chain(names)
            .collect::<Vec<_>>()
            .join("::"),
    )
}
