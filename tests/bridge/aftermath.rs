//! What the bridge does a minute later: it looks for what a request took that outlived its client, and tries parked
//! portals again. One story for both, since a minute has to pass in earnest.

use std::time::{Duration, Instant};

use b24kafka::sim::{Counts, Fault, Trouble};

use super::stage::{PATIENCE, Setup, Stage, tick};

/// A portal ends its requests after 60 s, the bridge looks 10 s later, and jitter makes waits a tenth longer.
const LATER: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_that_is_executed_late_is_found_and_a_parked_portal_comes_back() {
    let stage = Stage::new(Setup { portals: 2, fetch: "request_timeout = \"1s\"", ..Setup::default() }).await;
    let (late, parked) = (stage.portal(0), stage.portal(1));
    let running = stage.start().await;
    running.answers("/ready", 200).await;
    parked.add_fault(Fault::new(Trouble::code("ACCESS_DENIED")));
    let seen = running.portal(&parked, |seen| seen["state"] == "parked").await;
    assert_eq!(seen["reason"], "forbidden", "{seen}");
    parked.generate(100, 1);
    let begun = Instant::now();
    // Still alive when the bridge has given it up and has looked, in vain, for what it might have reserved.
    late.add_fault(Fault::new(Trouble::Late(Duration::from_secs(6))).on("event.offline.get").times(1));
    while !late.requests().faults.contains_key("late") {
        tick().await;
    }
    let scans = || late.requests().calls.get("event.offline.list").copied().unwrap_or_default();
    let before = scans();
    while scans() == before {
        tick().await;
    }
    // Refused in plain words until the late request takes the rows, so that there is nothing else to look for.
    late.add_fault(Fault::new(Trouble::code("QUERY_LIMIT_EXCEEDED")).on("batch"));
    late.generate(40, 2);
    assert!(late.wait_until(PATIENCE, |counts| counts.reserved > 0).await, "the late request reserves the rows");
    let hidden = late.counts().reserved;
    late.clear_faults();
    parked.clear_faults();
    // New rows flow past those that are hidden.
    late.emit("ONCRMDEALADD", r#"{"FIELDS":{"ID":"1000"}}"#, "");
    assert!(late.wait_until(PATIENCE, |counts| counts.free == 0 && counts.reserved <= hidden).await);
    assert_eq!(late.counts(), Counts { reserved: hidden, ..Counts::default() }, "nobody knows of them yet");
    assert!(late.wait_until_empty(LATER).await, "{:?} stay hidden", late.counts());
    let found = begun.elapsed();
    assert!(found > Duration::from_secs(60), "{hidden} rows were found after {found:?}, by something else");
    assert!(parked.wait_until_empty(LATER).await, "{:?} are left at a portal that is well again", parked.counts());
    running.portal(&parked, |seen| seen["state"] == "active" && seen["reason"].is_null()).await;
    running.assert_conserved().await;
    running.stop().await.expect("a clean stop");
    let (records, _) = stage.judge();
    let mine = format!("{}:", late.member_id());
    let again = records.iter().filter(|record| record.headers["ce_id"].starts_with(&mine));
    let again = again.filter(|record| record.headers.contains_key("b24_redelivery")).count();
    assert_eq!(again, hidden, "rows that were found say that they may come twice, and no others");
}
