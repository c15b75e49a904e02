//! What the documents give to operators: questions, changes, the log.

use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::{blocks::Documents, stage::Stage};

pub fn look(stage: &mut Stage, documents: &mut Documents) {
    let said = stage.run(&documents.block("docs/admin-api.md", "sh", "state=parked"), "");
    assert!(said.out.starts_with("{\"portals\":[]"), "none is parked: {said:?}");

    let token = stage.portal(1).refresh_token();
    stage.write("refresh_token", token.expose_secret());
    let add = documents.block("docs/admin-api.md", "sh", "--refresh-token-file - ");
    stage.run_for(&add, "", 1);
    let member = stage.portal(1).member_id();
    let said = stage.run("b24kafka portals list -c b24kafka.toml", "");
    assert!(said.out.contains(&member), "it was taken in: {said:?}");

    let debug = json(
        &stage
            .run(
                &documents.command(
                    "curl -X PUT localhost:9464/api/log-level -H \"authorization: Bearer $TOKEN\" -d '{\"level\"",
                ),
                "",
            )
            .out,
    );
    assert_eq!(debug["level"], "debug");
    let followed = json(&stage.run(&documents.block("docs/logging.md", "sh", "\"portals\""), "").out);
    assert_eq!((&followed["level"], &followed["portals"][0]), (&debug["level"], &stage.portal(0).member_id().into()));
    stage.run("curl -sf -X PUT localhost:9464/api/log-level -H \"authorization: Bearer $TOKEN\" -d '{\"level\": \"info\", \"portals\": []}'", "");

    let said = stage.run(&documents.block("docs/runbook.md", "sh", "/health"), "");
    assert!(said.out.contains("\"problems\"") && said.out.contains("the registry is in use"), "{said:?}");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}
