//! What is logged, changed through the admin API.

use super::{
    schema,
    stage::{ADMIN_TOKEN, Stage},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_is_changed_by_whoever_has_the_token_only() {
    let stage = Stage::plain().await;
    let running = stage.start().await;
    let put = |token: &'static str, body: &'static str| {
        let url = format!("http://{}/api/log-level", running.admin);
        async move {
            let answer = reqwest::Client::new().put(url).bearer_auth(token).body(body).send().await.expect("an answer");
            let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
            let (document, said) = (schema::document(), serde_json::from_str(&text).expect("JSON"));
            let promised = schema::of_answer(&document, "put", "/api/log-level", status);
            assert_eq!(schema::fault(&document, &promised, &said, "answer"), None);
            (status, text)
        }
    };
    assert_eq!(put("guessed", r#"{"level": "debug"}"#).await.0, 401);
    for wrong in ["", "debug", r#"{"levle": "debug"}"#, r#"{"portals": ["not/one"]}"#] {
        let (status, said) = put(ADMIN_TOKEN, wrong).await;
        assert_eq!(status, 400, "{wrong}: {said}");
    }
    // The tests of the telemetry tell what a change does; this process has no log of that kind.
    let (status, said) = put(ADMIN_TOKEN, r#"{"level": "debug"}"#).await;
    assert!(status == 409 && said.contains("other_log"), "{status}: {said}");
    running.stop().await.expect("a clean stop");
}
