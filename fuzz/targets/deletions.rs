//! Answers to an exchange that deletes rows and lists what is free.

#![no_main]

use b24kafka_fuzz::{answers, begin_with, targets, with_stand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: begin_with(&[answers::deleted_and_listed(), answers::short_list()]),
    |bytes: &[u8]| with_stand(|stand| targets::deleted_and_listed(stand, bytes))
);
