//! Configurations.

#![no_main]

use b24kafka_fuzz::{begin_with, configuration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: begin_with(&[configuration::small(), configuration::example()]),
    |bytes: &[u8]| configuration::check(bytes)
);
