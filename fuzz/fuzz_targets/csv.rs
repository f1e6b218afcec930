#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quantlens_fuzz::read_all("m.csv", bytes));
