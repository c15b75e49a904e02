//! No token leaves: not in logs of any level, not through the admin listener, not in records.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use secrecy::ExposeSecret;
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

use super::stage::{PATIENCE, Setup, Stage};

#[derive(Clone, Default)]
struct Everything(Arc<Mutex<Vec<u8>>>);

impl Write for Everything {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Everything {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_written_anywhere() {
    let log = Everything::default();
    let lines = tracing_subscriber::fmt::layer().with_writer(log.clone()).with_ansi(false);
    // For the whole process: threads of their own log too. The simulator's client side is not part of the bridge.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines)).expect("the only one");
    let stage = Stage::new(Setup { portals: 2, ..Setup::default() }).await;
    let (portal, rejected) = (stage.portal(0), stage.portal(1));
    let mut secrets = vec![
        stage.sim.client_secret(),
        portal.access_token(),
        portal.refresh_token(),
        rejected.access_token(),
        rejected.refresh_token(),
    ];
    rejected.revoke_tokens();
    let running = stage.start().await;
    let inside = "t0ken-inside-of-an-event";
    portal.emit(
        "ONIMBOTMESSAGEADD",
        &format!(r#"{{"BOT":{{"1":{{"AUTH":{{"access_token":"{inside}"}},"refresh_token":"{inside}"}}}},"PARAMS":{{"MESSAGE_ID":"5"}}}}"#),
        "",
    );
    portal.expire_tokens();
    portal.backlog(100, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.portal(&rejected, |seen| seen["state"] == "parked").await;
    secrets.extend([portal.access_token(), portal.refresh_token()]);
    let mut written = String::new();
    for path in ["/metrics", "/health", "/api/portals", "/ready"] {
        written.push_str(&running.get(path).await.1);
    }
    running.stop().await.expect("a clean stop");
    let trace = std::fs::read_to_string(stage.trace()).expect("a trace");
    assert!(trace.lines().count() > 10, "the machines were traced: {trace}");
    for content in ["CRM", "FIELDS", "PARAMS", "IMBOT", "MESSAGE_ID"] {
        assert!(!trace.contains(content), "the content of a row is in the trace: {content}");
    }
    written.push_str(&trace);
    let (records, _) = stage.judge();
    let bot =
        records.iter().find(|record| record.headers["b24_event"] == "ONIMBOTMESSAGEADD").expect("the bot's message");
    assert!(bot.value.contains("\"[redacted]\""), "{}", bot.value);
    for record in &records {
        written.push_str(&format!("{record:?}"));
    }
    let logged = String::from_utf8_lossy(&log.0.lock().expect("lock")).into_owned();
    assert!(logged.contains("refreshed the portal's tokens") && logged.contains("TRACE"), "the log was caught");
    written.push_str(&logged);
    for secret in secrets.iter().map(ExposeSecret::expose_secret).chain([inside]) {
        let at = written.find(secret);
        assert!(at.is_none(), "a secret was written: ...{}", at.map_or("", |at| &written[at.saturating_sub(200)..at]));
    }
}
