//! Answers to an exchange with a `get`.

#![no_main]

use b24kafka_fuzz::{answers, begin_with, targets, with_stand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: begin_with(&[answers::reserved(), answers::nothing(), answers::refused()]),
    |bytes: &[u8]| with_stand(|stand| targets::reservation(stand, bytes))
);
