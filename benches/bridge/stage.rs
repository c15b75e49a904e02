//! A simulated portal and the configuration of a bridge that serves it.

use b24kafka::sim::{Limits, Options, Portal, Sim};

use crate::support::bridge::Bridge;

/// The token of the admin listener.
pub const ADMIN_TOKEN: &str = "bench-admin";

/// A portal with a topic family of its own.
pub async fn portal(limits: Limits) -> (Sim, Portal) {
    let sim = Sim::start(Options { limits, ..Options::default() }).await.expect("a simulator");
    let portal = sim.portal(0).expect("a portal");
    (sim, portal)
}

/// A bridge that is not started yet. Its records go to `{family}.{entity}`.
pub fn bridge(sim: &Sim, bootstrap: &str, family: &str, plan: &str) -> Bridge {
    let portal = sim.configuration(plan, 1);
    let text = format!(
        r#"{portal}
[fetch]
poll_min = "1s"
poll_max = "1s"
[kafka]
bootstrap_servers = "{bootstrap}"
topic = "{family}.{{entity}}"
replication_factor = 1
"#
    );
    Bridge::quiet(&text, ADMIN_TOKEN)
}
