//! What a portal's plan allows, looked at now and then: whether its queues are read with reservations.
//!
//! Without them nothing is lost, but rows wait for some seconds and may come out of order; so a plan that was raised is to
//! be noticed. It is asked for slowly, and at once when an operator or an installation says that something has changed.

use std::sync::Arc;

use super::{Parts, portal::Portal};
use crate::{
    bitrix::features::RESERVATIONS,
    metrics::labels::Call,
    protocol::{
        pace::Backoff,
        types::{Millis, Mode},
    },
    runner::session::{Obstacle, Session},
};

/// Portals without the method have no plans either: self-hosted.
pub const NO_SUCH_METHOD: &str = "ERROR_METHOD_NOT_FOUND";
/// First and longest wait before a portal without reservations is asked again.
const RAISED: (Millis, Millis) = (Millis::secs(600), Millis::secs(3600));

/// The span between looks whether anything is left of the time without reservations, after the plan was raised.
const CLOSING: Millis = Millis::secs(60);

/// The mode that a portal's plan allows.
pub async fn mode(session: &Session, parts: &Parts) -> Result<Mode, Obstacle> {
    let client = &parts.client;
    let ask = session.call(Call::Feature, |access| async move { client.feature(&access, RESERVATIONS).await });
    match ask.await {
        Ok(true) => Ok(Mode::Reserve),
        Ok(false) => Ok(Mode::Conditional),
        Err(obstacle) if obstacle.code.as_deref() == Some(NO_SUCH_METHOD) => Ok(Mode::Reserve),
        Err(obstacle) => Err(obstacle),
    }
}

/// Follows the plan of one portal until the future is dropped.
pub async fn run(portal: &Portal, parts: &Arc<Parts>) {
    let (clock, session) = (parts.shared.clock, portal.session());
    let licence = session.licence();
    let mut changes = licence.follow();
    // Each time that a plan turns out to be lower than it says, it is believed more slowly.
    let mut backoff = Backoff::new(RAISED.0, RAISED.1);
    loop {
        if licence.mode() == Mode::Reserve {
            let look = async {
                if licence.is_open() {
                    clock.sleep_until(clock.now().plus(CLOSING)).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = licence.in_doubt() => {}
                () = look => if portal.queues().iter().all(|queue| queue.status().is_closed()) {
                    Box::pin(session.close()).await;
                },
            }
            continue;
        }
        backoff.failed(clock.now(), None);
        tokio::select! {
            () = clock.sleep_until(backoff.until().unwrap_or_default()) => {}
            () = licence.in_doubt() => {}
        }
        let looked = async { session.allow(mode(session, parts).await?).await };
        // In a box: the next look comes in minutes at the soonest.
        if let Err(obstacle) = Box::pin(looked).await {
            // The session has told of it; the next look comes when it is due.
            let code = obstacle.code.as_deref();
            tracing::debug!(portal = %session.portal(), code, "the plan cannot be looked at");
        }
    }
}
