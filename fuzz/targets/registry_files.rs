//! Files of the registry.

#![no_main]

use b24kafka_fuzz::{begin_with, registry, with_registry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: begin_with(&[registry::good()]),
    |bytes: &[u8]| with_registry(|registry| registry.check(bytes))
);
