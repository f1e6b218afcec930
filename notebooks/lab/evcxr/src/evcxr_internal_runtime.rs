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
/// quantlens: which of its variables a cell has stored, with their types; then an empty word, and the names of all variables that are
/// in the store now. A tab before each.
pub const STORED: &str = "EVCXR_STORED:";
pub const PANIC_NOTIFICATION: &str = "EVCXR_PANIC_NOTIFICATION";

// quantlens: this is compiled with every cell. A vector, and one copy of what does not depend on the
// type of a variable, are a tenth of the code of a hash map.
pub struct VariableStore {
    variables: Vec<(String, Box<dyn std::any::Any + 'static>)>,
    /// What the cell that runs has stored for the first time, and the type of each.
    stored: Vec<(&'static str, &'static str)>,
}

impl VariableStore {
    pub fn new() -> VariableStore {
        VariableStore {
            variables: Vec::new(),
            stored: Vec::new(),
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

    /// A variable that the cell has defined.
    pub fn put_new<T: 'static>(&mut self, name: &'static str, value: T) {
        let type_name = std::any::type_name::<T>();
        // A closure: no later cell could name its type.
        if !type_name.contains("{{closure}}") {
            self.put(name, Box::new(value));
        }
        self.stored.push((name, type_name));
    }

    /// A variable that was taken from the store; but if the cell has stored another of that name, that one stays.
    pub fn put_back<T: 'static>(&mut self, name: &str, value: T) {
        if !self.stored.iter().any(|(stored, _)| *stored == name) {
            self.put(name, Box::new(value));
        }
    }

    /// What lives as long as the session.
    pub fn lazy_arc<T: 'static, F: FnOnce() -> T>(
        &mut self,
        name: &str,
        create: F,
    ) -> std::sync::Arc<T> {
        if self.position(name).is_none() {
            self.put(name, Box::new(std::sync::Arc::new(create())));
        }
        let value = self
            .position(name)
            .and_then(|index| self.variables[index].1.downcast_ref());
        match value {
            Some(value) => std::sync::Arc::clone(value),
            None => panic!("lazy_arc {name} changed type"),
        }
    }

    #[inline(never)]
    pub fn forget(&mut self, name: &str) {
        if let Some(index) = self.position(name) {
            self.variables.swap_remove(index);
        }
    }

    #[inline(never)]
    pub fn end_cell(&mut self) {
        let mut line = String::from(STORED);
        for (name, type_name) in self.stored.drain(..) {
            for word in [name, type_name] {
                line.push('\t');
                line.push_str(word);
            }
        }
        line.push('\t');
        for (name, _) in &self.variables {
            line.push('\t');
            line.push_str(name);
        }
        println!("{line}");
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
}

/// Runs one statement of a cell. None if it panicked or met an error.
pub fn step<T, E>(statement: impl FnOnce() -> Result<T, E>) -> Option<T> {
    let mut value = None;
    let mut statement = Some(statement);
    catch(&mut || {
        if let Some(statement) = statement.take() {
            value = statement().ok();
        }
    });
    value
}

#[inline(never)]
fn catch(statement: &mut dyn FnMut()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(statement)).is_err() {
        println!("{PANIC_NOTIFICATION}");
    }
}

/// Waits for a future that needs no runtime of its own.
pub fn block_on<T>(future: impl std::future::Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

pub fn create_variable_store() -> *mut VariableStore {
    Box::into_raw(Box::new(VariableStore::new()))
}
