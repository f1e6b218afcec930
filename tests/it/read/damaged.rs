//! Files that are cut short, damaged or made to mislead: an error that says where and what to do, at once.

mod archives;
mod bytes;
mod headers;
mod places;

use std::time::Instant;

use quantlens::Model;

/// Checks the error of opening these bytes, which is told within a second. A machine that does something else meanwhile is given more tries.
fn refused(name: &str, bytes: Vec<u8>, expected: &str) {
    const TRIES: usize = 20;
    let is_quick = (0..TRIES).any(|_| {
        let bytes = bytes.clone();
        let start = Instant::now();
        let message = Model::from_bytes(name, bytes).unwrap_err().to_string();
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(message, expected);
        seconds < 1.0
    });
    assert!(is_quick, "{expected}");
}
