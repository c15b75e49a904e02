//! Strangers who take their time, bring too much, or come in crowds.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    caller::{STRANGERS, call, counted, event_url, form, open, send, wake_ups, with, woken},
    stage::{PATIENCE, Setup, Stage, tick},
};

async fn connect(stage: &Stage) -> TcpStream {
    TcpStream::connect(stage.config.http.listen).await.expect("a connection")
}

/// What comes back until the connection ends.
async fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the connection ends");
    String::from_utf8_lossy(&all).into_owned()
}

const HEAD: &str = "POST /bitrix24/event HTTP/1.1\r\nhost: b\r\ncontent-type: application/x-www-form-urlencoded\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_too_long_or_brings_too_much_is_turned_away() {
    let stage = open(STRANGERS).await;
    let running = stage.start().await;
    let begun = Instant::now();
    let mut silent = connect(&stage).await;
    silent.write_all(b"POST /bitrix24/ev").await.expect("sent");
    let mut dripping = connect(&stage).await;
    dripping.write_all(format!("{HEAD}content-length: 1000\r\n\r\nevent=").as_bytes()).await.expect("sent");
    let mut endless = connect(&stage).await;
    endless.write_all(format!("{HEAD}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.expect("sent");
    let mut announced = connect(&stage).await;
    announced.write_all(format!("{HEAD}content-length: 70000\r\n\r\n").as_bytes()).await.expect("sent");
    let (mut lines, mut long) = (connect(&stage).await, connect(&stage).await);
    let _ = lines.write_all(format!("{HEAD}{}\r\n\r\n", "x: y\r\n".repeat(200)).as_bytes()).await;
    let _ = long.write_all(format!("{HEAD}x: {}\r\n\r\n", "y".repeat(100_000)).as_bytes()).await;
    let pour = tokio::spawn(async move {
        let chunk = format!("4000\r\n{}\r\n", "a".repeat(0x4000));
        for _ in 0..1_000 {
            if endless.write_all(chunk.as_bytes()).await.is_err() {
                break;
            }
        }
        endless
    });
    let drip = tokio::spawn(async move {
        while dripping.write_all(b"a").await.is_ok() && begun.elapsed() < PATIENCE {
            let read = dripping.try_read(&mut [0; 64]);
            if matches!(read, Ok(bytes) if bytes > 0) {
                return read.ok();
            }
            tick().await;
        }
        None
    });
    assert!(rest(announced).await.starts_with("HTTP/1.1 413"));
    let poured = rest(pour.await.expect("poured")).await;
    assert!(poured.starts_with("HTTP/1.1 413") || poured.is_empty(), "{poured}");
    for (what, stream) in [("lines", lines), ("long", long)] {
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{what}: {answer}");
    }
    let silence = rest(silent).await;
    assert!(silence.is_empty() || silence.starts_with("HTTP/1.1 408"), "{silence}");
    assert!(drip.await.expect("it ends").is_some(), "the drip is answered before it ends");
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    assert!(counted(&running, "other", "too_large").await >= 1);
    assert!(counted(&running, "other", "malformed").await >= 1);
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_forged_calls_asks_the_oauth_server_little_and_delays_no_wake_up() {
    let mut stage = woken(Setup { portals: 2, ..STRANGERS }).await;
    // Found by nothing but wake-ups within this story.
    (stage.config.fetch.poll_min, stage.config.fetch.poll_max) = (Duration::from_secs(600), Duration::from_secs(600));
    let (woken, target) = (stage.portal(0), stage.portal(1));
    let running = stage.start().await;
    for portal in [&woken, &target] {
        assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
        running.portal(portal, |seen| wake_ups(seen, "expected")).await;
    }
    let exchanges = target.requests().oauth + woken.requests().oauth;
    let url = event_url(&stage);
    let forged = with(call("ONAPPINSTALL", &target), "auth[application_token]", Some("guessed"));
    // Tokens that lead the OAuth server to the target.
    let begin = forged.iter().find(|(name, _)| *name == "auth[refresh_token]").map(|(_, token)| token[..8].to_owned());
    let begin = begin.expect("a token");
    let mut attackers = Vec::new();
    for attacker in 0..8 {
        let (url, forged, begin) = (url.clone(), forged.clone(), begin.clone());
        attackers.push(tokio::spawn(async move {
            let mut answers = std::collections::BTreeMap::new();
            for n in 0..60 {
                let token = format!("{begin}{attacker:04}{n:08}");
                let body = form(&with(forged.clone(), "auth[refresh_token]", Some(&token)));
                *answers.entry(send(&url, body).await).or_insert(0_u32) += 1;
            }
            answers
        }));
    }
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        let begun = Instant::now();
        woken.emit("ONCRMDEALADD", &format!(r#"{{"FIELDS":{{"ID":"{round}"}}}}"#), "");
        assert!(woken.wait_until_empty(PATIENCE).await, "round {round}");
        slowest = slowest.max(begun.elapsed());
    }
    let mut answers = std::collections::BTreeMap::new();
    for attacker in attackers {
        for (status, times) in attacker.await.expect("it ends") {
            *answers.entry(status).or_insert(0_u32) += times;
        }
    }
    let asked = target.requests().oauth + woken.requests().oauth - exchanges;
    println!("480 forged calls: {answers:?}, {asked} exchanges; slowest of 10 wake-ups {slowest:?}");
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [403, 503], "{answers:?}");
    assert!(asked <= 40, "{asked} exchanges");
    assert!(slowest < Duration::from_secs(30), "{slowest:?}: not by a poll");
    target.expire_tokens();
    target.backlog(10, 1);
    assert!(target.wait_until_empty(PATIENCE).await, "and the portal that was spoken for is served on");
    running.stop().await.expect("a clean stop");
    stage.judge();
}
