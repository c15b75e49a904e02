//! Answers to an exchange with a scan.

#![no_main]

use b24kafka_fuzz::{answers, begin_with, targets, with_stand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: begin_with(&[answers::scanned(), answers::short_scan()]),
    |bytes: &[u8]| with_stand(|stand| targets::scanned(stand, bytes))
);
