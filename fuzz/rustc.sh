#!/bin/sh
# Cargo's RUSTC_WRAPPER here: the code under test and its parsers tell libFuzzer which of their branches were taken, all
# else is built as ever. Stable Rust can do this; only the sanitizers that one could add need a nightly.
#
# What is built without --target runs in the compiler, as a macro or a part of one: nobody there listens to what it tells.
case " $* " in
    *" --target "*) ;;
    *) exec "$@" ;;
esac
for word; do
    case "$last $word" in
        "--crate-name b24kafka" | "--crate-name serde_json" | "--crate-name toml_edit" | "--crate-name toml_parser" | \
        "--crate-name winnow" | "--crate-name form_urlencoded")
            exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
            ;;
    esac
    last="$word"
done
exec "$@"
