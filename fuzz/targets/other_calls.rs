//! Answers to the other REST calls.

#![no_main]

use b24kafka_fuzz::{answers, begin_with, targets, with_stand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: begin_with(&[answers::bindings(), answers::events(), answers::feature(), answers::app_info(), answers::removed(), answers::refused()]),
    |bytes: &[u8]| with_stand(|stand| targets::other_call(stand, bytes))
);
