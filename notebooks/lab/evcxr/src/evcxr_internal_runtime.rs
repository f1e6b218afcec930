// Copyright 2020 The Evcxr Authors.
//
// Licensed under the Apache License, Version 2.0 <LICENSE or
// https://www.apache.org/licenses/LICENSE-2.0> or the MIT license <LICENSE
// or https://opensource.org/licenses/MIT>, at your option. This file may not be
// copied, modified, or distributed except according to those terms.

// This file is both a module of evcxr and is included via include_str! then
// built as a crate itself. The latter is the primary use-case. It's included as
// a submodule only so that constants can be shared.

pub const VARIABLE_CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
pub const USER_ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";

// quantlens: this is compiled with every cell. A vector, and one copy of what does not depend on the
// type of a variable, are a tenth of the code of a hash map.
pub struct VariableStore {
    variables: Vec<(String, Box<dyn std::any::Any + 'static>)>,
}

impl VariableStore {
    pub fn new() -> VariableStore {
        VariableStore {
            variables: Vec::new(),
        }
    }

    #[inline(never)]
    fn position(&self, name: &str) -> Option<usize> {
        self.variables
            .iter()
            .position(|(existing, _)| existing == name)
    }

    #[inline(never)]
    fn put(&mut self, name: &str, value: Box<dyn std::any::Any>) {
        match self.position(name) {
            Some(index) => self.variables[index].1 = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    #[inline(never)]
    fn take(&mut self, name: &str) -> Box<dyn std::any::Any> {
        match self.position(name) {
            Some(index) => self.variables.swap_remove(index).1,
            None => panic!("Variable '{name}' has gone missing"),
        }
    }

    #[inline(never)]
    fn check(&mut self, name: &str, type_id: std::any::TypeId) -> bool {
        if let Some(index) = self.position(name)
            && (*self.variables[index].1).type_id() != type_id
        {
            eprintln!("The type of the variable {name} was redefined, so was lost.",);
            println!("{VARIABLE_CHANGED_TYPE}{name}");
            return false;
        }
        true
    }

    pub fn put_variable<T: 'static>(&mut self, name: &str, value: T) {
        self.put(name, Box::new(value));
    }

    pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
        self.check(name, std::any::TypeId::of::<T>())
    }

    pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
        match self.take(name).downcast() {
            Ok(value) => *value,
            // Shouldn't happen so long as check_variable was called.
            Err(_) => panic!("Variable changed type"),
        }
    }

    pub fn lazy_arc<T: 'static, F: FnOnce() -> T>(
        &mut self,
        name: &str,
        create: F,
    ) -> std::sync::Arc<T> {
        if self.position(name).is_none() {
            self.put_variable(name, std::sync::Arc::new(create()));
        }
        let value = self
            .position(name)
            .and_then(|index| self.variables[index].1.downcast_ref());
        match value {
            Some(value) => std::sync::Arc::clone(value),
            None => panic!("lazy_arc {name} changed type"),
        }
    }

    pub fn merge(&mut self, other: VariableStore) {
        for (name, value) in other.variables {
            self.put(&name, value);
        }
    }
}

pub fn create_variable_store() -> *mut VariableStore {
    Box::into_raw(Box::new(VariableStore::new()))
}
