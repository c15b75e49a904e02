//! Answers grown from a grammar of the words that the parsers look for: wrong types, doubles, depth, huge numbers.

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{RngAlgorithm, TestCaseResult, TestRng, TestRunner},
};

use crate::{
    answers, fuzz,
    stand::{Stand, list, reserve, scan},
    truth,
};

const NAMES: [&str; 28] = [
    "result",
    "result",
    "result_error",
    "result_time",
    "result_next",
    "get",
    "page0",
    "page1",
    "page2",
    "delete",
    "c0",
    "b0",
    "process_id",
    "events",
    "error",
    "value",
    "ID",
    "PROCESS_ID",
    "EVENT_NAME",
    "EVENT_DATA",
    "MESSAGE_ID",
    "TIMESTAMP_X",
    "time",
    "event",
    "offline",
    "access_token",
    "refresh_token",
    "\\u0049D",
];

const LEAVES: [&str; 28] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "7",
    "12",
    "1.5",
    "1e400",
    "-1e-400",
    "9223372036854775808",
    "99999999999999999999",
    "\"\"",
    "\"1\"",
    "\" 7 \"",
    "\"+7\"",
    "\"p\"",
    "\"Y\"",
    "\"N\"",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"é\"",
    "\"invalid_grant\"",
    "\"ERROR_ARGUMENT\"",
    "\"ONCRMDEALADD\"",
    "\"2026-11-24T13:15:30+03:00\"",
    "\"aa\"",
];

/// Any JSON text; keys may be there twice.
fn json() -> impl Strategy<Value = String> {
    select(&LEAVES[..]).prop_map(str::to_owned).prop_recursive(5, 60, 6, |inner| {
        let members = prop::collection::vec((select(&NAMES[..]), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            members.prop_map(|all| {
                let members: Vec<_> = all.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(" ,"))
            }),
        ]
    })
}

/// Rows of which some fields are odd.
fn odd_rows() -> impl Strategy<Value = String> {
    let odd = (select(&NAMES[16..22]), json(), 1..9_u64, any::<bool>());
    let row = odd.prop_map(|(field, value, id, twice)| {
        let mut row = answers::row(id, Some("p"));
        if !twice {
            row.as_object_mut().expect("a row").remove(field);
        }
        row.to_string().replacen('{', &format!("{{\"{field}\":{value},"), 1)
    });
    prop_oneof![prop::collection::vec(row, 0..5).prop_map(|rows| format!("[{}]", rows.join(","))), json()]
}

/// A whole answer to a batch, odd in one or all of its parts.
fn batch() -> impl Strategy<Value = String> {
    let inner = (odd_rows(), json(), json(), json()).prop_map(|(rows, process, clear, errors)| {
        let free = rows.replace(r#""PROCESS_ID":"p""#, r#""PROCESS_ID":"""#);
        if clear.len() % 3 == 0 {
            return format!(
                r#"{{"result":{{"result":{{"delete":{{"events":{rows}}},"page0":{free},"page2":[]}},"result_error":{errors}}}}}"#
            );
        }
        if clear.len() % 3 == 1 {
            return format!(
                r#"{{"result":{{"result":{{"page0":{free},"r0":{clear},"gone1":{{"events":{rows}}}}},"result_error":{errors}}}}}"#
            );
        }
        format!(
            r#"{{"result":{{"result":{{"c0":{clear},"get":{{"process_id":{process},"events":{rows}}},"page0":{rows}}},"result_error":{errors}}}}}"#
        )
    });
    prop_oneof![
        4 => inner,
        1 => json().prop_map(|result| format!(r#"{{"result":{result}}}"#)),
        1 => (json(), json()).prop_map(|(result, errors)| {
            format!(r#"{{"result":{{"result":{result},"result_error":{errors},"result_time":{errors}}}}}"#)
        }),
        1 => json(),
    ]
}

/// Runs a property, with one stand for all of its cases. The cases are the same each time, unless another seed is asked
/// for: `make fuzz` does.
fn hold<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, property: impl Fn(&Stand, T) -> TestCaseResult) {
    let stand = Stand::new();
    let seed = fuzz::number("B24KAFKA_FUZZ_SEED", 1).to_le_bytes().repeat(4);
    let config = ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    runner.run(&strategy, |case| property(&stand, case)).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn no_answer_to_an_exchange_is_misread() {
    hold(batch(), |stand, body| {
        stand.body(200, body.as_bytes());
        for exchange in [reserve(1), scan(2), list(2)] {
            truth::check_exchange(&exchange, body.as_bytes(), &stand.exchange(&exchange));
        }
        let outcomes = [
            truth::check_look(&answers::message(1), body.as_bytes(), stand.look()),
            truth::check_removal(body.as_bytes(), stand.remove()),
        ];
        outcomes.iter().flatten().for_each(|error| truth::check_error(body.as_bytes(), error));
        Ok(())
    });
}

#[test]
fn no_answer_to_any_other_call_is_misread() {
    let wrapped = json().prop_map(|result| format!(r#"{{"result":{result}}}"#));
    hold(prop_oneof![3 => wrapped, 1 => json()], |stand, body| {
        stand.body(200, body.as_bytes());
        let outcomes = [
            truth::check_list(body.as_bytes(), stand.bindings()),
            truth::check_list(body.as_bytes(), stand.events()),
            stand.bind(&["ONCRMDEALADD"]).err(),
            stand.app_info().err(),
            truth::check_feature(body.as_bytes(), stand.feature()),
        ];
        outcomes.iter().flatten().for_each(|error| truth::check_error(body.as_bytes(), error));
        Ok(())
    });
}

#[test]
fn no_answer_to_a_refresh_is_misread() {
    let pair = (json(), json(), json()).prop_map(|(access, refresh, more)| {
        format!(r#"{{"access_token":{access},"refresh_token":{refresh},"member_id":{more},"expires_in":{more}}}"#)
    });
    hold(prop_oneof![pair, json()], |stand, body| {
        stand.body(200, body.as_bytes());
        truth::check_refresh(body.as_bytes(), &stand.refresh());
        Ok(())
    });
}

#[test]
fn no_status_makes_a_refusal_of_an_answer_that_is_none() {
    hold((200_u16..600, json()), |stand, (status, body)| {
        stand.body(status, body.as_bytes());
        let exchange = reserve(1);
        let outcome = stand.exchange(&exchange);
        let tree = truth::said(body.as_bytes());
        if let (Err(error), truth::Said::Tree(tree)) = (&outcome, tree) {
            // Only a portal's own code says that nothing was done; a proxy's page or number does not.
            prop_assert!(!error.refused() || truth::has_code(&tree["error"]), "{} {} {:?}", status, body, error);
        }
        prop_assert!(outcome.is_err() || (200..300).contains(&status), "{} {}", status, body);
        Ok(())
    });
}
