//! ONNX: the initializers of a graph, in the file itself or in others beside it.
//! <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>, <https://github.com/onnx/onnx/blob/main/docs/ExternalData.md>

mod tensor;
mod typed;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Component, Path};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::source::Skipped;

use super::entry::Contents;
use super::input::{Cursor, Input, shown};
use super::protobuf::{Value, fields};
use tensor::TensorProto;

/// How deep graphs may lie in one another's nodes.
const MAX_DEPTH: u32 = 32;

/// The longest name.
const MAX_NAME: u64 = 1 << 16;

/// What is read, and whose files are open.
struct Reader<'a> {
    input: &'a Arc<Input>,
    contents: Contents,
    names: HashSet<String>,
    external: HashMap<String, Arc<Input>>,
}

pub(super) fn read(input: &Arc<Input>) -> Result<Contents> {
    let mut reader = Reader { input, contents: Contents::default(), names: HashSet::new(), external: HashMap::new() };
    let mut graphs = 0;
    // ModelProto
    fields(&mut Cursor::new(input, 0), |cursor, number, value| match (number, value) {
        (7, Value::Bytes(_)) => {
            graphs += 1;
            reader.graph(cursor, None, 0)
        }
        _ => Ok(()),
    })?;
    if graphs != 1 {
        let reason = format!("a model has one graph, not {graphs}: the file is damaged, or no ONNX file");
        return Err(input.fault(None, Some(0), reason));
    }
    Ok(reader.contents)
}

/// The text of a field.
fn text(cursor: &mut Cursor<'_>, range: &Range<u64>, what: &str) -> Result<String> {
    cursor.text(range.end - range.start, MAX_NAME, what)
}

impl Reader<'_> {
    /// A GraphProto; of one that is in a node, that node's name.
    fn graph(&mut self, cursor: &mut Cursor<'_>, within: Option<&str>, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(cursor.fault(None, format!("graphs lie in one another more than {MAX_DEPTH} deep: the file is damaged")));
        }
        fields(cursor, |cursor, number, value| match (number, value) {
            (1, Value::Bytes(_)) => self.node(cursor, depth),
            (5, Value::Bytes(range)) => self.initializer(cursor, range, within),
            (15, Value::Bytes(_)) => self.sparse(cursor),
            _ => Ok(()),
        })
    }

    fn initializer(&mut self, cursor: &mut Cursor<'_>, range: Range<u64>, within: Option<&str>) -> Result<()> {
        let tensor = TensorProto::read(cursor)?;
        if let Some(node) = within {
            let reason = format!("it belongs to a branch or loop of node `{}`", shown(node));
            self.skip(tensor.name.clone(), &tensor, reason);
            return Ok(());
        }
        if !self.names.insert(tensor.name.clone()) {
            let reason = "there are two initializers of this name: the file is damaged";
            return Err(self.input.fault(Some(&tensor.name), Some(range.start), reason));
        }
        self.add(tensor, range.start)
    }

    fn skip(&mut self, name: String, tensor: &TensorProto, reason: String) {
        self.contents.skipped.push(Skipped { name, stored: tensor.stored(), reason });
    }

    /// A SparseTensorProto, whose values are a TensorProto with its name.
    fn sparse(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        fields(cursor, |cursor, number, value| match (number, value) {
            (1, Value::Bytes(_)) => {
                let tensor = TensorProto::read(cursor)?;
                self.skip(tensor.name.clone(), &tensor, "sparse tensors are not read: store it dense".to_owned());
                Ok(())
            }
            _ => Ok(()),
        })
    }

    /// A NodeProto: tensors among its attributes, which are no initializers.
    fn node(&mut self, cursor: &mut Cursor<'_>, depth: u32) -> Result<()> {
        let part = cursor.position()..cursor.end();
        let (mut name, mut output) = (None, None);
        fields(cursor, |cursor, number, value| {
            match (number, value) {
                (2, Value::Bytes(range)) if output.is_none() => output = Some(text(cursor, &range, "the name of an output")?),
                (3, Value::Bytes(range)) => name = Some(text(cursor, &range, "the name of a node")?),
                _ => {}
            }
            Ok(())
        })?;
        // Again, with the names known, which may stand after the attributes.
        let output = output.unwrap_or_default();
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| output.clone());
        cursor.move_to(part);
        fields(cursor, |cursor, number, value| match (number, value) {
            (5, Value::Bytes(_)) => self.attribute(cursor, &name, &output, depth),
            _ => Ok(()),
        })
    }

    /// An AttributeProto.
    fn attribute(&mut self, cursor: &mut Cursor<'_>, node: &str, output: &str, depth: u32) -> Result<()> {
        fields(cursor, |cursor, number, value| match (number, value) {
            (5 | 10, Value::Bytes(_)) => {
                let tensor = TensorProto::read(cursor)?;
                let reason = format!("it is a constant of node `{}`, no initializer", shown(node));
                self.skip(output.to_owned(), &tensor, reason);
                Ok(())
            }
            (6 | 11, Value::Bytes(_)) => self.graph(cursor, Some(node), depth + 1),
            _ => Ok(()),
        })
    }

    /// The file that a tensor's values are in.
    fn external(&mut self, tensor: &str, at: u64, location: &str) -> Result<Arc<Input>> {
        let fault = |reason: String| Err(self.input.fault(Some(tensor), Some(at), reason));
        if let Some(input) = self.external.get(location) {
            return Ok(Arc::clone(input));
        }
        if self.input.is_alone() {
            return fault(format!(
                "its values are in the file `{}`, which a model in memory does not have: open it by its path",
                shown(location)
            ));
        }
        let is_below = Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !is_below || location.contains('\\') {
            let reason = format!(
                "its values are said to be in `{}`, which is no file in the model's folder: it is damaged or made to mislead",
                shown(location)
            );
            return fault(reason);
        }
        let input = match Input::open(&self.input.path().parent().unwrap_or(Path::new("")).join(location)) {
            Ok(input) => input,
            Err(Error::File { reason, .. }) => {
                return fault(format!("its values are in the file `{}` beside this one: {reason}", shown(location)));
            }
            Err(error) => return Err(error),
        };
        self.external.insert(location.to_owned(), Arc::clone(&input));
        Ok(input)
    }
}
