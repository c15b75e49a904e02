//! Depth, width and size: an answer cannot take the stack, the memory or the time.

use std::time::Duration;

use b24kafka::{bitrix::Trouble, protocol::exchange::ReadAnswer};

use crate::{
    answers, child,
    stand::{Stand, list, reserve, scan},
    truth,
    wire::{Piece, Reply},
};

const LIMIT: u64 = 1 << 20;
/// What an answer of [`LIMIT`] may cost at most, with everything around it.
const MOST_GROWTH: u64 = 16 << 20;

#[test]
fn depth_hurts_no_call() {
    let stand = Stand::new();
    let good = String::from_utf8(answers::reserved()).expect("UTF-8");
    for (open, shut) in [("[", "]"), ("{\"a\":", "}"), ("[{\"ID\":", "}]"), ("{\"result\":", "}"), ("{\"error\":", "}")]
    {
        let deep = format!("{}1{}", open.repeat(100_000), shut.repeat(100_000));
        let mut bodies = vec![
            deep.clone(),
            open.repeat(100_000),
            format!("{{\"result\":{deep}}}"),
            format!("{{\"error\":{deep}}}"),
            format!("{{\"result\":1,\"time\":{deep}}}"),
            format!("{{\"access_token\":{deep},\"refresh_token\":\"r\"}}"),
        ];
        let message = format!("\"{}\"", answers::message(1));
        for place in
            [&*message, "{\"FIELDS\":{\"ID\":\"1\"}}", "{\"user_id\":7}", "\"p1\"", "true", "\"ERROR_CORE\"", "0.25"]
        {
            assert!(good.contains(place), "{place}");
            bodies.push(good.replacen(place, &deep, 1));
        }
        for body in bodies {
            stand.body(200, body.as_bytes());
            for exchange in [reserve(2), scan(2), list(2)] {
                truth::check_exchange(&exchange, body.as_bytes(), &stand.exchange(&exchange));
            }
            truth::check_refresh(body.as_bytes(), &stand.refresh());
            let outcomes =
                [stand.bindings().err(), stand.events().err(), stand.feature().err(), stand.app_info().err()];
            outcomes.iter().flatten().for_each(|error| truth::check_error(body.as_bytes(), error));
        }
    }
}

#[test]
fn width_costs_no_more_than_its_length() {
    let stand = Stand::limited(Duration::from_secs(10), 8 << 20);
    let many = |unit: &str, count: usize| vec![unit; count].join(",");
    let pages: Vec<_> = (0..400_000).map(|n| format!("\"page{n}\":[]")).collect();
    let (commands, rows) = (many("\"c0\":true", 300_000), many("{}", 500_000));
    for body in [
        format!("{{\"result\":{{\"result\":{{{commands}}}}}}}"),
        format!("{{\"result\":{{\"result\":{{\"get\":{{\"process_id\":\"p\",\"events\":[{rows}]}}}}}}}}"),
        format!("{{\"result\":{{\"result\":{{\"page0\":[{rows}]}}}}}}"),
        format!("{{\"result\":[{}]}}", many("{\"event\":\"X\",\"offline\":1}", 200_000)),
        format!("{{{}}}", many("\"error\":\"x\"", 500_000)),
        format!("{{\"result\":{{\"result\":{{{}}}}}}}", pages.join(",")),
    ] {
        let started = std::time::Instant::now();
        stand.body(200, body.as_bytes());
        for exchange in [reserve(2), scan(2), list(2)] {
            truth::check_exchange(&exchange, body.as_bytes(), &stand.exchange(&exchange));
        }
        stand.bindings().ok();
        stand.refresh().ok();
        assert!(started.elapsed() < Duration::from_secs(15), "{:?} for {}...", started.elapsed(), &body[..60]);
    }
}

#[test]
fn the_limit_is_exact() {
    let stand = Stand::limited(Duration::from_secs(10), LIMIT);
    let mut body = answers::reserved();
    body.resize(usize::try_from(LIMIT).expect("a size"), b' ');
    stand.body(200, &body);
    stand.exchange(&reserve(2)).expect("as long as it may be");
    body.push(b' ');
    stand.body(200, &body);
    let error = stand.exchange(&reserve(2)).expect_err("a byte too long");
    assert_eq!((error.trouble, &*error.code), (Trouble::Unknown, "TOO_LARGE"));
}

/// The most memory that this process ever held, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Answers of half a gigabyte, in all three ways of sending one.
fn half_a_gigabyte() {
    let stand = Stand::limited(Duration::from_secs(10), LIMIT);
    stand.body(200, &vec![b' '; usize::try_from(LIMIT).expect("a size")]);
    // Once at the limit, so that what follows is the growth by what is too much.
    stand.exchange(&reserve(1)).expect_err("spaces are no answer");
    let before = peak();
    let chunk = vec![b'['; 1 << 16];
    let chunked = [b"10000\r\n", chunk.as_slice(), b"\r\n"].concat();
    for (head, piece) in [
        ("content-length: 536870912", &chunk),
        ("content-length: 18446744073709551615", &chunk),
        ("connection: close", &chunk),
        ("transfer-encoding: chunked", &chunked),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
        stand.wire.reply(Reply::Raw(vec![Piece::Bytes(head.into_bytes()), Piece::Repeat(piece.clone(), 8192)]));
        let error = stand.exchange(&reserve(1)).expect_err("too large");
        assert_eq!(error.trouble, Trouble::Unknown, "{error:?}");
        stand.refresh().expect_err("too large");
    }
    let grown = peak().saturating_sub(before);
    assert!(grown < MOST_GROWTH, "memory grew by {} KiB", grown >> 10);
}

/// Answers as long as they may be, made of the shortest rows there are.
fn short_rows() {
    let stand = Stand::limited(Duration::from_secs(10), 16 << 20);
    let rows = vec!["0"; 7 << 20].join(",");
    let bodies = [r#"{"result":{"result":{"get":{"process_id":"p","events":["#, r#"{"result":{"result":{"page0":["#]
        .map(|head| format!("{head}{rows}]{}", "}".repeat(head.matches('{').count())));
    let before = peak();
    for body in bodies {
        stand.body(200, body.as_bytes());
        for exchange in [reserve(1), scan(1), list(1)] {
            let read = stand.exchange(&exchange).expect("an answer").answer.read;
            assert!(!matches!(read, ReadAnswer::Reserved { .. } | ReadAnswer::Listed { .. } | ReadAnswer::Free { .. }));
        }
    }
    let grown = peak().saturating_sub(before);
    // The server holds the body a few times, the client once.
    assert!(grown < 160 << 20, "memory grew by {} KiB", grown >> 10);
}

#[test]
fn millions_of_rows_take_no_more_memory_than_their_text() {
    if child::handed().is_some() {
        return short_rows();
    }
    child::again("limits::millions_of_rows_take_no_more_memory_than_their_text", "", "yes".as_ref());
}

#[test]
fn a_body_far_over_the_limit_takes_no_memory() {
    if child::handed().is_some() {
        return half_a_gigabyte();
    }
    // Alone in a process, so that the peak is its own.
    child::again("limits::a_body_far_over_the_limit_takes_no_memory", "", "yes".as_ref());
}
