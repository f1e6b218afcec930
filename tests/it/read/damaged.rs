//! Files that are cut short, damaged or made to mislead: an error that says where and what to do, at once.

mod archives;
mod bytes;
mod headers;
mod places;

use std::time::Instant;

use quantlens::Model;

/// Checks the error of opening these bytes, which is told at once.
fn refused(name: &str, bytes: Vec<u8>, expected: &str) {
    let start = Instant::now();
    let message = Model::from_bytes(name, bytes).unwrap_err().to_string();
    assert!(start.elapsed().as_secs_f64() < 1.0, "{message}");
    assert_eq!(message, expected);
}
