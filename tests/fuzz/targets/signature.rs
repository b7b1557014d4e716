#![no_main]

#[path = "../parsers.rs"]
#[allow(dead_code, reason = "one of many")]
mod parsers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| parsers::signature(data));
