#![no_main]

// The parquet crate panics on some damage, which the reader catches and reports, so a panic does not end the process by itself, as
// libFuzzer's hook would have it. One that the reader lets through ends it all the same.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| ())),
    |bytes: &[u8]| quantlens_fuzz::read_all("m.parquet", bytes)
);
