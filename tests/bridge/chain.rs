//! The chain of refresh tokens: what is stored is never behind what lives at the portal by more than an unknown outcome.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use b24kafka::sim::{Fault, Portal, Trouble};
use secrecy::ExposeSecret as _;

use super::stage::{PATIENCE, Stage};

/// How far the stored refresh token is behind, and whether a refresh is known to be under way. `None` if the file changes
/// while it is compared.
fn behind(file: &PathBuf, portal: &Portal) -> Option<(usize, bool)> {
    let before = std::fs::read_to_string(file).ok()?;
    let chain = portal.issued_tokens();
    if std::fs::read_to_string(file).ok()? != before {
        return None;
    }
    let record: serde_json::Value = serde_json::from_str(&before).expect("a record");
    let stored = record["refresh_token"].as_str().expect("a token");
    let place = chain.iter().rev().position(|(_, refresh)| refresh.expose_secret() == stored);
    Some((place.expect("a token of this portal"), record["refreshing_since"].is_number()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stored_chain_is_behind_by_an_unknown_outcome_at_most() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    // Whoever lost an answer may present the last token once more.
    portal.set_token_life(Duration::from_secs(3600), true);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.expire_tokens();
    portal.generate(10, 99);
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());

    let file = stage.dir.path().join("registry").join(format!("{}.json", portal.member_id()));
    let done = AtomicBool::new(false);
    let (looks, most) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (mut looks, mut most) = (0, 0);
            while !done.load(SeqCst) {
                if let Some((behind, under_way)) = behind(&file, &portal) {
                    // The refresh that is under way, and the one before it if its answer was lost.
                    assert!(behind == 0 || (behind <= 2 && under_way), "{behind} behind, told: {under_way}");
                    (looks, most) = (looks + 1, behind.max(most));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            (looks, most)
        });
        let rounds = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for (round, trouble) in [
                    None,
                    Some(Trouble::LostAnswer),
                    Some(Trouble::LostRequest),
                    Some(Trouble::Truncated),
                    Some(Trouble::Slow(Duration::from_millis(300))),
                    Some(Trouble::Status { status: 504, executed: true }),
                    Some(Trouble::Status { status: 503, executed: false }),
                ]
                .into_iter()
                .enumerate()
                {
                    if let Some(trouble) = trouble {
                        portal.add_fault(Fault::new(trouble).on("oauth").times(1));
                    }
                    if round % 2 == 0 {
                        portal.expire_tokens();
                    } else {
                        // The portal's clock jumps, and all tokens are old at once.
                        portal.advance(Duration::from_secs(2 * 3600));
                    }
                    portal.generate(10, round as u64);
                    if !portal.wait_until_empty(PATIENCE).await {
                        return Err(format!("round {round}: {:?}", portal.counts()));
                    }
                    if !matches!(behind(&file, &portal), Some((0, false))) {
                        return Err(format!("round {round}: what is used is not what is stored"));
                    }
                }
                Ok(())
            })
        });
        done.store(true, SeqCst);
        rounds.expect("everything arrives");
        watching.join().expect("the chain holds")
    });
    assert!(looks > 100 && most >= 1, "{looks} looks, {most} behind at most");
    assert_eq!(portal.misuse().old_refreshes, 3, "presented again after each unknown outcome that was carried out");
    running.stop().await.expect("a clean stop");
}
