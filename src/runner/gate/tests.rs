use std::{
    future::pending,
    sync::{Arc, atomic::AtomicUsize},
};

use tokio::{task::JoinSet, time::timeout};

use super::*;

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// Only there to stop hangs.
const HANGS: Duration = Duration::from_secs(60);
/// How long something is watched that is not to happen.
const WATCH: Duration = Duration::from_millis(100);

/// A request that is answered at once; whether it had to wait for its place.
async fn quick(gate: &Gate, pace: &Pace, urgency: Urgency) -> bool {
    let mut waited = false;
    let passed = timeout(HANGS, gate.pass(pace, urgency, || waited = true, std::future::ready(()))).await;
    passed.expect("it gets its turn");
    waited
}

/// A request that is never answered, in a task of its own.
fn hang(gate: &Arc<Gate>, pace: &Arc<Pace>, urgency: Urgency) {
    let (gate, pace) = (gate.clone(), pace.clone());
    tokio::spawn(async move { gate.pass(&pace, urgency, || {}, pending::<()>()).await });
}

#[tokio::test]
async fn no_more_requests_are_on_their_way_than_there_are_places() {
    let gate = Arc::new(Gate::with(8, FOR_EVER));
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut portals = JoinSet::new();
    for number in 0..100_u32 {
        let (gate, under_way, most) = (gate.clone(), under_way.clone(), most.clone());
        let urgency = if number % 3 == 0 { Urgency::Woken } else { Urgency::Due };
        portals.spawn(async move {
            let request = async {
                most.fetch_max(under_way.fetch_add(1, Relaxed) + 1, Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
                under_way.fetch_sub(1, Relaxed);
            };
            gate.pass(&Pace::default(), urgency, || {}, request).await;
        });
    }
    timeout(HANGS, portals.join_all()).await.expect("everybody gets a turn");
    assert_eq!(most.load(Relaxed), 8);
}

#[tokio::test]
async fn a_portal_that_was_woken_goes_before_what_is_only_due() {
    let gate = Arc::new(Gate::with(8, FOR_EVER));
    for _ in 0..20 {
        hang(&gate, &Arc::default(), Urgency::Due);
    }
    tokio::task::yield_now().await;
    let other = Pace::default();
    let due = timeout(WATCH, gate.pass(&other, Urgency::Due, || {}, std::future::ready(()))).await;
    assert!(due.is_err(), "whatever is only due waits");
    assert!(!quick(&gate, &other, Urgency::Woken).await, "a quarter of the places is kept");
}

#[tokio::test]
async fn portals_that_hang_give_their_places_back_and_wait_for_their_like_only() {
    let gate = Arc::new(Gate::with(8, WATCH));
    let hanging: Vec<Arc<Pace>> = (0..8).map(|_| Arc::default()).collect();
    hanging.iter().for_each(|pace| hang(&gate, pace, Urgency::Woken));
    tokio::task::yield_now().await;
    let well = Pace::default();
    assert!(quick(&gate, &well, Urgency::Due).await, "once, until they are found out");
    while !hanging.iter().all(|pace| pace.slow.load(Relaxed)) {
        tokio::task::yield_now().await;
    }
    hanging.iter().for_each(|pace| hang(&gate, pace, Urgency::Woken));
    tokio::task::yield_now().await;
    for _ in 0..100 {
        assert!(!quick(&gate, &well, Urgency::Due).await, "nobody else notices them any more");
    }
    let mended = Pace { slow: AtomicBool::new(true) };
    assert!(quick(&gate, &mended, Urgency::Woken).await, "behind its like");
    assert!(!quick(&gate, &mended, Urgency::Woken).await, "one quick answer, and it is trusted again");
}

#[tokio::test]
async fn a_request_that_is_given_up_frees_its_place() {
    let (gate, pace) = (Gate::with(1, FOR_EVER), Pace::default());
    let given_up = timeout(WATCH, gate.pass(&pace, Urgency::Due, || {}, pending::<()>())).await;
    assert!(given_up.is_err());
    assert!(!quick(&gate, &pace, Urgency::Due).await);
}
