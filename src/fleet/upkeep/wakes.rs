//! Wake-ups: the portal is asked to call us when a queue is no longer empty, and the queues are told what to expect.

use std::collections::BTreeSet;

use url::Url;

use crate::{
    bitrix::client::Access,
    fleet::{Parts, portal::Portal},
    metrics::labels::Call,
    protocol::types::Millis,
    runner::session::Obstacle,
};

/// How wake-ups are asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The address that portals call.
    pub handler: Url,
    /// Least time between two calls, in whole seconds; 0 is a call for every change.
    pub pause: u64,
}

/// What has been told of a portal's wake-ups.
#[derive(Debug, Default)]
pub struct Told {
    /// Addresses of ours that are bound too.
    others: BTreeSet<String>,
    /// The portal's last word, if it does not bind ours.
    refused: Option<String>,
}

/// Binds wake-ups if they are wanted and not bound yet. Until that is known to be done, the queues do not count on them.
///
/// # Errors
/// What kept it from working.
pub async fn bind(portal: &Portal, parts: &Parts, told: &mut Told) -> Result<(), Obstacle> {
    let Some(Wanted { handler, pause }) = &parts.wake_ups else { return Ok(()) };
    let (session, client) = (portal.session(), &parts.client);
    // It reads what is bound in the request that the call itself pays for, and binds in a further one.
    session.permit().await;
    let bind = |access: Access| async move { client.bind_wake_up(&access, handler, *pause).await };
    let id = portal.id();
    let bound = match session.call(Call::Bind, bind).await {
        Ok(bound) => bound,
        Err(obstacle) => {
            if obstacle.code != told.refused {
                let code = obstacle.code.as_deref().unwrap_or("no answer");
                tracing::error!(portal = %id, code, "wake-ups cannot be bound, so the portal is polled without them; trying again");
                told.refused.clone_from(&obstacle.code);
            }
            portal.expect_wake_ups(None).await;
            return Err(obstacle);
        }
    };
    told.refused = None;
    if bound.added {
        tracing::info!(portal = %id, "bound wake-ups");
    }
    for other in bound.others {
        if !told.others.contains(&other) {
            let host = Url::parse(&other).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
            tracing::warn!(
                portal = %id, host,
                "wake-ups of this application go to another address too: a former http.public_url, or another bridge; \
                 they stay bound",
            );
            told.others.insert(other);
        }
    }
    portal.expect_wake_ups(Some(Millis::secs(*pause))).await;
    Ok(())
}
