//! The library's readers, as they are, with as much of the library as they need: see `build.rs`.
//!
//!     cargo +nightly fuzz run -s none gguf -- -max_len=4096 -runs=1000000
//!
//! A finding becomes a case of `tests/it/read/`.

#![allow(dead_code, unused_imports, unused_macros)]

mod binary;
mod dtype;
mod read;
mod simd;
mod source;

mod error {
    include!(concat!(env!("OUT_DIR"), "/error.rs"));
}

mod ggml {
    include!(concat!(env!("OUT_DIR"), "/ggml.rs"));
}

mod format {
    mod minifloat;
    pub use minifloat::{Minifloat, Specials};

    fn whole_number<T: std::str::FromStr>(text: &str) -> Option<T> {
        text.parse().ok()
    }
}

/// In place of the library's tensor, which holds polars' arrays.
mod tensor {
    use crate::dtype::Dtype;
    use crate::error::Result;

    #[derive(Debug, Clone, Copy, PartialEq)]
    pub enum Slice<'a> {
        F32(&'a [f32]),
        F64(&'a [f64]),
    }

    pub trait Real: Copy {
        fn values(values: Vec<Self>) -> Values;
    }

    impl Real for f32 {
        fn values(values: Vec<Self>) -> Values {
            Values::F32(values)
        }
    }

    impl Real for f64 {
        fn values(values: Vec<Self>) -> Values {
            Values::F64(values)
        }
    }

    /// For encoders, which no reader calls.
    pub(crate) fn min_max(values: &[f32]) -> (f32, f32) {
        values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &x| (min.min(x), max.max(x)))
    }

    #[derive(Clone)]
    pub enum Values {
        F32(Vec<f32>),
        F64(Vec<f64>),
    }

    #[derive(Clone)]
    pub struct Tensor {
        name: String,
        shape: Vec<usize>,
        values: Values,
    }

    impl Tensor {
        pub fn new<T: Real>(name: impl Into<String>, shape: &[usize], values: Vec<T>) -> Result<Self> {
            Ok(Self { name: name.into(), shape: shape.to_vec(), values: T::values(values) })
        }

        pub fn name(&self) -> &str {
            &self.name
        }

        pub fn shape(&self) -> &[usize] {
            &self.shape
        }

        pub fn dtype(&self) -> Dtype {
            match self.values {
                Values::F32(_) => Dtype::F32,
                Values::F64(_) => Dtype::F64,
            }
        }

        pub fn as_slice(&self) -> Slice<'_> {
            match &self.values {
                Values::F32(values) => Slice::F32(values),
                Values::F64(values) => Slice::F64(values),
            }
        }
    }
}

use std::alloc::{GlobalAlloc, Layout, System};

pub use read::{Model, open};
pub use source::{Source, TileBuffer};

/// Ends the process where more is allocated at once than any of these inputs can need.
struct Limited;

const LIMIT: usize = 64 << 20;

/// Not a panic, which an allocator must not start and which the reader of Parquet files would catch.
fn within_limit(size: usize) {
    if size > LIMIT {
        eprintln!("{size} bytes are allocated at once");
        std::process::abort();
    }
}

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        within_limit(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        within_limit(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        within_limit(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// Opens the bytes and reads pieces of each tensor: from its begin, its middle and its end.
pub fn read_all(name: &str, bytes: &[u8]) {
    if let Ok(model) = Model::from_bytes(name, bytes.to_vec()) {
        read_pieces(&model);
    }
}

pub fn read_pieces(model: &Model) {
    const MOST: usize = 1000;
    let mut buffer = TileBuffer::default();
    for (number, info) in model.infos().iter().enumerate().take(8) {
        let elements = info.elements();
        for start in [0, elements / 2, elements.saturating_sub(7)] {
            let range = start..elements.min(start + MOST);
            if let Ok(values) = model.read(number, range.clone(), &mut buffer) {
                let found = match values {
                    tensor::Slice::F32(values) => values.len(),
                    tensor::Slice::F64(values) => values.len(),
                };
                assert_eq!(found, range.len());
            }
        }
        assert!(model.read(number, elements..elements.saturating_add(1), &mut buffer).is_err() || elements == usize::MAX);
    }
}
