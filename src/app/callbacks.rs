//! The public listener and the desk behind it: each knows nothing of the other.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};
use url::Url;

use crate::{
    config::http::Http,
    fleet::{
        callbacks::{Claim, Desk, Verdict},
        upkeep::wakes::Wanted,
    },
    http::callback::{self, Call, CannotListen, Door},
    metrics::Metrics,
};

/// How long calls that are being answered may hold up a stop, after everything else has come to rest.
const PATIENCE: Duration = Duration::from_secs(5);

/// The public listener.
pub struct Public {
    address: SocketAddr,
    /// Empty until the portals are started.
    desk: Arc<OnceLock<Desk>>,
    stop: watch::Sender<bool>,
    serving: JoinSet<()>,
}

impl Public {
    /// Listens. Calls are told to come again until [`Public::open`].
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn listen(config: &Http, metrics: Arc<Metrics>) -> Result<Self, CannotListen> {
        let desk: Arc<OnceLock<Desk>> = Arc::default();
        let behind = desk.clone();
        let door = Arc::new(Door {
            judge: Box::new(move |call, source| {
                let desk = behind.get().cloned();
                Box::pin(async move {
                    match desk {
                        Some(desk) => verdict(desk.judge(claim(call), source).await),
                        None => callback::Verdict::Busy,
                    }
                })
            }),
            metrics,
            prefix: config.public_url.as_ref().map_or_else(|| "/".to_owned(), |url| url.path().to_owned()),
        });
        let (stop, stopped) = watch::channel(false);
        let (address, serve) = callback::listen(config.listen, door, stopped).await?;
        let mut serving = JoinSet::new();
        serving.spawn(serve);
        tracing::info!(%address, "the public listener is up");
        Ok(Self { address, desk, stop, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on calls are looked into.
    pub fn open(&self, desk: Desk) {
        // The portals are started once in the life of a process.
        let _ = self.desk.set(desk);
    }

    /// Takes no more calls; those that are open are still answered.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the last answers.
    pub async fn end(mut self) {
        self.stop();
        let _ = tokio::time::timeout(PATIENCE, self.serving.join_next()).await;
    }
}

/// How portals are asked to announce rows, if they can reach us.
pub fn wake_ups(config: &Http) -> Option<Wanted> {
    let handler: Url = config.public_url.as_ref()?.join(callback::EVENT).ok()?;
    Some(Wanted { handler, pause: config.wake_min.as_secs() })
}

fn claim(call: Call) -> Claim {
    let Call { kind, member_id, application_token, refresh_token, place } = call;
    Claim { kind, portal: member_id, application_token, refresh_token, place }
}

fn verdict(verdict: Verdict) -> callback::Verdict {
    match verdict {
        Verdict::Taken => callback::Verdict::Taken,
        Verdict::Forged => callback::Verdict::Forged,
        Verdict::NoAdmin => callback::Verdict::NoAdmin,
        Verdict::Busy => callback::Verdict::Busy,
    }
}
