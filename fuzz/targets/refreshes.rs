//! Answers of the OAuth server.

#![no_main]

use b24kafka_fuzz::{answers, begin_with, targets, with_stand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: begin_with(&[answers::tokens(), answers::no_tokens()]),
    |bytes: &[u8]| with_stand(|stand| targets::refresh(stand, bytes))
);
