//! The client: what an answer is taken for.

use proptest::prelude::*;

use super::*;

fn outcome(status: u16, body: &str) -> Result<String, CallError> {
    Answered::new(status, body).result::<&RawValue>().map(|(raw, _)| raw.get().to_owned())
}

#[test]
fn a_result_is_found_whatever_is_around_it() {
    let body = r#"{"result":{"a":1},"total":"3","time":{"duration":"0.25","date_start":"2026-11-24T13:15:30+03:00"}}"#;
    let answered = Answered::new(200, body);
    let (raw, clock) = answered.result::<&RawValue>().expect("result");
    assert_eq!(
        (raw.get(), clock.started, clock.took),
        (r#"{"a":1}"#, Some(1_795_515_330), Some(Duration::from_millis(250)))
    );
    assert_eq!(outcome(200, r#"{"result":false,"time":[]}"#).as_deref(), Ok("false"));
    assert_eq!(outcome(200, r#"{"result":[],"error":"","time":false}"#).as_deref(), Ok("[]"));
}

#[test]
fn errors_are_read_by_code_and_status() {
    let trouble = |status, body| outcome(status, body).expect_err(body).trouble;
    assert_eq!(trouble(401, r#"{"error":"expired_token"}"#), Trouble::Unauthorized { expired: true });
    assert_eq!(trouble(200, r#"{"error":"QUERY_LIMIT_EXCEEDED","result":null}"#), Trouble::RateLimited);
    assert_eq!(trouble(500, r#"{"error":0,"error_description":"x"}"#), Trouble::Unknown);
    assert_eq!(trouble(503, "<html>"), Trouble::Unknown);
    assert_eq!(trouble(401, "<html>"), Trouble::Unknown, "somebody before the portal");
    assert_eq!(trouble(400, r#"{"message":"a proxy"}"#), Trouble::Unknown);
    let odd = Answered::new(403, r#"{"result":false,"error":"ACCESS_DENIED"}"#);
    assert_eq!(
        odd.result::<crate::bitrix::wire::Batch<'_, &RawValue>>().map(|_| ()).expect_err("odd").trouble,
        Trouble::Forbidden
    );
}

#[test]
fn the_budget_comes_back_when_the_portal_says() {
    let body = r#"{"error":"OPERATION_TIME_LIMIT","time":{"date_start":"2026-11-24T10:15:30+00:00","operating_reset_at":1795515400}}"#;
    let error = outcome(429, body).expect_err("limit");
    assert_eq!(error.trouble, Trouble::OperationTime { until: Some(1_795_515_400) });
    assert_eq!(error.retry_after, Some(Duration::from_secs(70)));
}

#[test]
fn what_is_no_answer_says_why() {
    let code = |status, body| outcome(status, body).expect_err(body).code.into_string();
    assert_eq!(code(302, r#"{"result":true}"#), "HTTP_302");
    assert_eq!(code(502, ""), "HTTP_502");
    assert_eq!(code(200, ""), "NOT_JSON");
    assert_eq!(code(200, r#"{"result":{"#), "NOT_JSON");
    assert_eq!(code(200, r#"{"time":{}}"#), "NO_RESULT");
    assert_eq!(code(200, r#"{"result":null}"#), "NO_RESULT");
}

#[test]
fn an_endpoint_with_and_without_its_slash() {
    for endpoint in ["https://p.example/rest/", "https://p.example/rest"] {
        let access = Access { endpoint: endpoint.parse().expect("url"), token: "s3cret".into() };
        assert_eq!(access.url("batch").as_str(), "https://p.example/rest/batch");
        assert_eq!(format!("{access:?}"), r#"Access { host: Some("p.example"), .. }"#);
    }
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(status in 200_u16..600, body in ".{0,60}") {
        let _ = outcome(status, &body);
    }
}
