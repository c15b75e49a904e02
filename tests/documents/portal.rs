//! The README from its first lines to a bridge that serves a portal.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;

use super::{
    blocks::Documents,
    stage::{PATIENCE, Running, Stage},
    support::process::Signal,
};

/// The first two commands, the build, the secrets, the configuration, and a bridge that is left running.
pub async fn first(stage: &mut Stage, documents: &mut Documents) {
    let said = stage.run(&documents.command("make demo"), "");
    assert!(said.out.contains("lost") || said.err.contains("lost"), "a verdict: {said:?}");
    stage.run(&documents.block("README.md", "sh", "cargo build"), "");

    let secret = stage.sim.client_secret();
    let said = stage.run(&documents.block("README.md", "sh", "read -rs SECRET"), &typed(secret.expose_secret()));
    assert!(!format!("{said:?}").contains(secret.expose_secret()), "it is not shown");
    let code = stage.portal(0).authorization_code();
    let said = stage.run(&documents.block("README.md", "sh", "read -r CODE"), &typed(code.expose_secret()));
    let portal = stage.portal(0);
    assert_eq!(said.out, format!("{} {}\n", portal.member_id(), portal.endpoint()));
    let token = std::fs::read_to_string(stage.file("secrets/refresh_token")).expect("a token");
    assert!(token == portal.refresh_token().expose_secret() && !stage.file("secrets/answer.json").exists());

    let configuration = documents.block("README.md", "toml", "# b24kafka.toml");
    stage.write("b24kafka.toml", &stage.filled(&configuration, 0));
    let said = stage.run(&documents.command("b24kafka check -c b24kafka.toml"), "");
    assert!(!said.out.contains("FAULT") && !said.out.is_empty(), "{said:?}");
    let online = stage.run(&documents.command("b24kafka check -c b24kafka.toml --online"), "");
    assert!(online.out.contains("token and reserve mode: usable"), "{online:?}");

    stage.bridge = Some(stage.start("bridge", &documents.command("b24kafka run -c b24kafka.toml")));
    let begun = Instant::now();
    while stage.status("/ready") != "200" {
        assert!(begun.elapsed() < PATIENCE, "it is not ready: {:?}", stage.bridge.as_ref().map(Running::err));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut tap = stage.start("tap", &documents.command("b24kafka tap -c b24kafka.toml"));
    // It begins with what comes now, so the change comes again until it is seen.
    tap.until("a line of a deal", |out| {
        stage.portal(0).change("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"4711"}}"#, None);
        out.contains("4711")
    });
    let said = stage.run(&documents.command("b24kafka portals list -c b24kafka.toml"), "");
    assert!(said.out.contains("active"), "{said:?}");
    assert!(stage.portal(0).wait_until_empty(PATIENCE).await);
}

/// The bridge stops as it should, and the portal has seen nothing careless.
pub fn end(stage: &mut Stage) {
    let mut bridge = stage.bridge.take().expect("a running bridge");
    bridge.process.signal(Signal::Term);
    let status = bridge.process.wait(PATIENCE).expect("an end");
    assert_eq!(status.code(), Some(0), "{}", bridge.err());
    let misuse = stage.portal(0).misuse();
    assert!(misuse.is_clean(), "{misuse:?}");
}

fn typed(text: &str) -> String {
    format!("{text}\n")
}
