//! Breaking good bytes: a few changes of the kinds that networks, proxies and other programs make.

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

/// What is put into the middle of things: the signs and words that parsers decide by.
const WORDS: [&[u8]; 46] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"\r\n",
    b" ",
    b"null",
    b"true",
    b"false",
    b"0",
    b"1",
    b"-1",
    b"7",
    b"1e400",
    b"0.5",
    b"18446744073709551616",
    b"9223372036854775808",
    b"99999999999999999999999999999999",
    b"\"\"",
    b"[]",
    b"{}",
    b"\"ID\":\"9\",",
    b"\"PROCESS_ID\":\"x\",",
    b"\"process_id\":",
    b"\"events\":[],",
    b"\"error\":\"invalid_grant\",",
    b"\"result\":{},",
    b"\"page0\":[],",
    b"\"get\":{},",
    b"\"c0\":true,",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":",
    b"<html>",
    b"=",
    b"#",
    b"\"\"\"",
];

/// The `case`th breakage that grows from `seed`: the same bytes each time.
pub fn mutated(good: &[u8], seed: u64, case: u64) -> Vec<u8> {
    let mut rng = SmallRng::seed_from_u64(seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes = good.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        change(&mut bytes, &mut rng);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, rng: &mut SmallRng) {
    let at = rng.random_range(0..=bytes.len());
    let end = (at + rng.random_range(1..=24)).min(bytes.len());
    match rng.random_range(0..10) {
        0 => bytes.truncate(at),
        1 | 2 => {
            let word = *WORDS.choose(rng).unwrap_or(&WORDS[0]);
            bytes.splice(at..at, word.iter().copied());
        }
        3 => {
            let word = *WORDS.choose(rng).unwrap_or(&WORDS[0]);
            bytes.splice(at..end, word.iter().copied());
        }
        4 => drop(bytes.drain(at..end)),
        5 => {
            let copy = bytes[at..end].to_vec();
            let to = rng.random_range(0..=bytes.len());
            bytes.splice(to..to, copy);
        }
        6 => value(bytes, rng),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = if rng.random() { *byte ^ (1 << rng.random_range(0..8)) } else { rng.random() };
            }
        }
    }
}

/// Puts another value behind a colon: the text stays JSON more often than by luck.
fn value(bytes: &mut Vec<u8>, rng: &mut SmallRng) {
    let colons: Vec<usize> = bytes.windows(2).enumerate().filter(|(_, w)| w == b"\":").map(|(at, _)| at + 2).collect();
    let Some(start) = colons.choose(rng).copied() else { return };
    let inside = |byte: &u8| !matches!(byte, b',' | b'}' | b']' | b'[' | b'{');
    let length = bytes[start..].iter().take_while(|byte| inside(byte)).count();
    let word = *[&b"null"[..], b"true", b"false", b"12", b"\"\"", b"\"1\"", b"[]", b"{}", b"1.5"]
        .choose(rng)
        .unwrap_or(&&b"0"[..]);
    bytes.splice(start..start + length, word.iter().copied());
}

/// Bytes as they can be put into a test.
pub fn shown(bytes: &[u8]) -> String {
    format!("b\"{}\"", bytes.escape_ascii())
}
