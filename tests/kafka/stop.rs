//! SIGTERM while a portal is read without reservations: what is listed is published, acknowledged by a real broker and
//! deleted before the end, or it is left free and whole for the next start.
//!
//! `tests/cli/stop.rs` has the phases of a queue that reserves.

use std::time::{Duration, Instant};

use b24kafka::sim::{Fault, Portal, Trouble};

use super::{
    PATIENCE, Stage,
    support::{
        broker::Options,
        judge::{Judgement, judge},
        process::Signal,
    },
};

const NOTHING_LEFT: &str = "stopped: nothing is left reserved by this process";
const STOPPING: &str = "finishing and confirming what is in flight";
/// How long an answer is on its way: long enough to send a signal meanwhile, on a busy machine too.
const SLOW: Duration = Duration::from_secs(3);
/// Rows of one phase: they fit on one page.
const ROWS: usize = 40;
/// Long enough for what is in flight, short enough to be waited for when nothing comes.
const GRACE: &str = "[shutdown]\ngrace = \"20s\"\n";

/// Rows that have rested for long enough to be listed. Their objects are new ones in each phase.
fn rested(portal: &Portal, phase: usize) {
    for id in 0..ROWS {
        portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{}"}}}}"#, 1 + phase * ROWS + id), "");
    }
    portal.advance(Duration::from_secs(10));
}

async fn until(stage: &Stage, what: &str, wanted: impl Fn() -> bool) {
    let begun = Instant::now();
    while !wanted() {
        assert!(begun.elapsed() < PATIENCE, "it never came that {what}:\n{}", stage.bridge.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The exit code and the last thing that was said, once it has ended.
fn ended(stage: &mut Stage) -> (Option<i32>, String) {
    let code = tokio::task::block_in_place(|| stage.bridge.wait()).code();
    (code, stage.bridge.log().lines().last().unwrap_or_default().to_owned())
}

/// It has stopped well after so many phases: all of their rows are deleted, none is held back, hidden or still to be read.
fn assert_stopped_well(stage: &mut Stage, phases: usize) {
    let (code, last) = ended(stage);
    assert_eq!(code, Some(0), "{}", stage.bridge.log());
    assert!(last.contains(NOTHING_LEFT), "{last}");
    let (portal, all) = (stage.portal(), (phases * ROWS) as u64);
    assert_eq!(portal.counts(), b24kafka::sim::Counts::default(), "{}", stage.bridge.log());
    assert_eq!((portal.totals().got, portal.totals().cleared), (all, 0), "what was listed was confirmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_reservations_confirms_what_is_in_flight_and_leaves_the_rest_free() {
    let mut stage = Stage::with(&Options::new(), "", GRACE).await;
    let portal = stage.portal();
    portal.set_feature("rest_offline_extended", false);

    // While it is idle.
    stage.start();
    rested(&portal, 0);
    stage.drained().await;
    stage.bridge.signal(Signal::Term);
    assert_stopped_well(&mut stage, 1);

    // While a listing is on its way that brings rows.
    stage.start();
    portal.add_fault(Fault::new(Trouble::Slow(SLOW)).on("event.offline.list"));
    rested(&portal, 1);
    // The first listing that shows them tells the time too. By that they have rested, so the next one is for them.
    let listed = || portal.ledger().entries().iter().all(|entry| entry.shown.is_some());
    until(&stage, "the rows are shown", listed).await;
    let slow = || portal.requests().faults["slow"];
    let shown = slow();
    until(&stage, "the rows are listed", || slow() > shown).await;
    stage.bridge.signal(Signal::Term);
    portal.clear_faults();
    assert_stopped_well(&mut stage, 2);

    // While a broker that does not answer has the records.
    stage.start();
    stage.broker.pause();
    rested(&portal, 2);
    until(&stage, "rows are held", || stage.bridge.metric("b24kafka_rows_held") > 39.5).await;
    stage.bridge.signal(Signal::Term);
    let stops = |stage: &Stage| stage.bridge.log().matches(STOPPING).count();
    until(&stage, "it is stopping", || stops(&stage) == 3).await;
    assert_eq!(portal.counts().free, ROWS, "nothing is acknowledged, so nothing is deleted");
    stage.broker.resume();
    assert_stopped_well(&mut stage, 3);

    // While a deletion is on its way.
    stage.start();
    portal.add_fault(Fault::new(Trouble::Slow(SLOW)).on("event.offline.get"));
    rested(&portal, 3);
    until(&stage, "rows are deleted", || portal.totals().got == 4 * ROWS as u64).await;
    stage.bridge.signal(Signal::Term);
    portal.clear_faults();
    assert_stopped_well(&mut stage, 4);
    assert_eq!(judged(&stage).duplicates, 0, "nothing was produced twice for a stop");

    // While the broker is away: the grace period ends, and every row is where it was.
    stage.start();
    tokio::task::block_in_place(|| stage.broker.kill());
    rested(&portal, 4);
    until(&stage, "rows are held", || stage.bridge.metric("b24kafka_rows_held") > 39.5).await;
    stage.bridge.signal(Signal::Term);
    let (code, last) = ended(&mut stage);
    let said =
        "b24kafka: stopped after the grace period with 1 queues at work and 40 rows held; the next start recovers them";
    assert_eq!((code, last.as_str()), (Some(1), said));
    assert_eq!((portal.counts().free, portal.counts().reserved), (ROWS, 0));
    tokio::task::block_in_place(|| stage.broker.restart());
    stage.start();
    stage.drained().await;
    stage.bridge.signal(Signal::Term);
    assert_stopped_well(&mut stage, 5);
    assert_eq!(judged(&stage).rows, 5 * ROWS);
    assert!(portal.misuse().is_clean(), "{:?}", portal.misuse());
}

/// All is in Kafka, in order.
fn judged(stage: &Stage) -> Judgement {
    let judgement = judge(&stage.portal(), &stage.records(), stage.bridge.lives());
    judgement.assert_good();
    judgement
}
