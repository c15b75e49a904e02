//! Answers that break the rules of HTTP, or keep them and mean harm.

use std::time::Duration;

use b24kafka::{
    bitrix::{CallError, Trouble, oauth::RefreshError},
    protocol::exchange::ReadAnswer,
};

use crate::{
    answers,
    stand::{Stand, reserve},
    wire::{Piece, Reply},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

fn bytes(text: &str) -> Piece {
    Piece::Bytes(text.as_bytes().to_vec())
}

/// Both kinds of calls against the same answer, each on a connection of its own; both have an unknown outcome.
fn unknown(name: &str, pieces: Vec<Piece>) -> String {
    let stand = Stand::limited(Duration::from_secs(2), 1 << 20);
    stand.wire.reply(Reply::Raw(pieces));
    let error = stand.exchange(&reserve(1)).expect_err(name);
    assert_eq!(error.trouble, Trouble::Unknown, "{name}: {error:?}");
    assert_eq!(error.answer::<()>(&reserve(1)).read, ReadAnswer::Unknown, "{name}");
    let refresh = stand.refresh().expect_err(name);
    assert!(matches!(refresh, RefreshError::Unknown { .. }), "{name}: {refresh:?}");
    assert_eq!(stand.wire.asked(), 2, "{name}: every call is made once");
    error.code.into_string()
}

#[test]
fn what_is_no_http_leaves_the_outcome_open() {
    let body = String::from_utf8(answers::reserved()).expect("UTF-8");
    let head = |line: &str| format!("{OK}{line}\r\n\r\n");
    let length = body.len();
    let cases = [
        ("nothing", String::new()),
        ("no head", body.clone()),
        ("half a head", OK.to_owned()),
        ("half a line", "HTTP/1.1 2".to_owned()),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n".to_owned()),
        ("a version of its own", format!("HTTP/9.9 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("no number", format!("HTTP/1.1 OK 200\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a negative length", format!("{}{body}", head("content-length: -1"))),
        ("a length out of bounds", format!("{}{body}", head("content-length: 99999999999999999999999"))),
        ("two lengths", format!("{}{body}", head(&format!("content-length: 5\r\ncontent-length: {length}")))),
        ("less than announced", format!("{}{body}", head(&format!("content-length: {}", length + 1)))),
        ("half of it", format!("{}{}", head(&format!("content-length: {length}")), &body[..length / 2])),
        ("chunks of no size", format!("{}zz\r\n{body}", head("transfer-encoding: chunked"))),
        ("a chunk out of bounds", format!("{}ffffffffffffffffff\r\n{body}", head("transfer-encoding: chunked"))),
        ("a chunk without end", format!("{}{length:x}\r\n{body}", head("transfer-encoding: chunked"))),
        ("a line of a header that is none", format!("{}{body}", head("what is this"))),
        ("a header with a zero", format!("{}{body}", head("x: \0"))),
        (
            "a switch of protocols",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(),
        ),
        ("no content", "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
        ("part of it", format!("HTTP/1.1 206 -\r\ncontent-length: {}\r\n\r\n{}", length / 2, &body[..length / 2])),
        ("shrunk", format!("{}\u{1f}\u{8b}{body}", head("content-encoding: gzip\r\nconnection: close"))),
    ];
    for (name, answer) in cases {
        unknown(name, vec![bytes(&answer)]);
    }
    unknown("a head without end", vec![bytes(OK), Piece::Repeat(b"x: y\r\n".to_vec(), 1_000_000)]);
    unknown("a header without end", vec![bytes(OK), bytes("x: "), Piece::Repeat(vec![b'y'; 1 << 16], 1000)]);
    unknown(
        "provisional for ever",
        vec![Piece::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), 2_000_000), Piece::Hang],
    );
}

#[test]
fn an_answer_that_drips_is_given_up_in_time() {
    let slow = Duration::from_millis(50);
    let body = answers::reserved();
    let head = format!("{OK}content-length: {}\r\n\r\n", body.len());
    for (name, pieces) in [
        ("silence", vec![Piece::Hang]),
        ("a dripping head", vec![Piece::Drip(head.clone().into_bytes(), slow)]),
        ("a dripping body", vec![bytes(&head), Piece::Drip(body.clone(), slow)]),
        ("half a body and silence", vec![bytes(&head), Piece::Bytes(body[..body.len() / 2].to_vec()), Piece::Hang]),
    ] {
        let stand = Stand::limited(Duration::from_millis(400), 1 << 20);
        stand.wire.reply(Reply::Raw(pieces));
        let started = std::time::Instant::now();
        let error = stand.exchange(&reserve(1)).expect_err(name);
        assert_eq!((error.trouble, &*error.code), (Trouble::Unknown, "TIMEOUT"), "{name}");
        assert!(started.elapsed() < Duration::from_secs(5), "{name}: {:?}", started.elapsed());
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Stand::new();
    elsewhere.body(200, &answers::reserved());
    let to = elsewhere.wire.url("/rest/batch");
    for status in [300, 301, 302, 303, 304, 307, 308, 399] {
        let stand = Stand::new();
        let body = String::from_utf8(answers::reserved()).expect("UTF-8");
        let answer = format!(
            "HTTP/1.1 {status} -\r\nlocation: {to}\r\nrefresh: 0; url={to}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stand.wire.reply(Reply::Raw(vec![bytes(&answer)]));
        let error = stand.exchange(&reserve(1)).expect_err("a redirect");
        assert_eq!((error.trouble, &*error.code), (Trouble::Unknown, &*format!("HTTP_{status}")));
        assert!(matches!(stand.refresh(), Err(RefreshError::Unknown { .. })), "{status}");
        assert_eq!((stand.wire.asked(), elsewhere.wire.asked()), (2, 0), "{status}");
    }
}

#[test]
fn a_content_type_decides_nothing() {
    let body = String::from_utf8(answers::reserved()).expect("UTF-8");
    for kind in ["text/html", "image/png", "", "application/json; charset=utf-16", "a/b; \u{7f}"] {
        let stand = Stand::new();
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}");
        stand.wire.reply(Reply::Raw(vec![bytes(&answer)]));
        match stand.exchange(&reserve(2)) {
            Ok(exchanged) => {
                let ReadAnswer::Reserved { rows, .. } = exchanged.answer.read else { panic!("{kind}") };
                assert_eq!(rows.len(), 4, "{kind}");
            }
            // A header that is none spoils the whole answer.
            Err(CallError { trouble, .. }) => assert_eq!((trouble, kind), (Trouble::Unknown, "a/b; \u{7f}")),
        }
    }
}
