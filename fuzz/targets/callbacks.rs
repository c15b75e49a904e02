//! Calls of Bitrix24.

#![no_main]

use b24kafka_fuzz::{answers, begin_with, targets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: begin_with(&[answers::wake(), answers::install()]),
    |bytes: &[u8]| targets::callback(bytes)
);
