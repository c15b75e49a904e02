//! The process that plays the portals: a simulator that is told what to do, a line at a time.

use std::{
    io::{BufRead as _, Write as _, stdin, stdout},
    path::Path,
    time::Duration,
};

use b24kafka::{
    protocol::types::PortalId,
    registry::{PortalRecord, Registry},
    sim::{Fault, Limits, Options, Portal, Sim, Trouble},
};
use serde_json::{Value, json};

/// The first argument of the process.
pub const ROLE: &str = "portals";
/// How long every call takes at a portal.
const ANSWERS_IN: Duration = Duration::from_millis(5);
/// Longer than a portal lets a request live: it hangs until it is ended.
const HANGS: Duration = Duration::from_secs(600);

/// Plays as many portals as the second argument says, until its standard input ends.
pub async fn play() {
    let portals = std::env::args().nth(2).and_then(|n| n.parse().ok()).expect("a number of portals");
    let limits = Limits { cost: (ANSWERS_IN, Duration::ZERO), ..Limits::UNLIMITED };
    let sim = Sim::start(Options { portals, limits, own_hosts: true, ..Options::default() }).await.expect("portals");
    let cast: Vec<Portal> = sim.portals().collect();
    let mut lines = stdin().lock().lines();
    while let Some(Ok(line)) = lines.next() {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let portal = || words.get(1).and_then(|n| n.parse::<usize>().ok()).and_then(|n| cast.get(n)).expect("a portal");
        let answer = match words[0] {
            "app" => json!(sim.configuration("auto", 0)),
            "members" => cast.iter().map(Portal::member_id).collect(),
            "registry" => register(&cast, words[1]).await,
            "emit" => json!(portal().emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{}"}}}}"#, words[2]), "")),
            "spread" => {
                let rows = words[1].parse().expect("a number of rows");
                cast.iter().map(|portal| portal.backlog(rows, 1)).sum::<u64>().into()
            }
            "flood" => portal().backlog(words[2].parse().expect("a number of rows"), 2).into(),
            "hang" => {
                portal().add_fault(Fault::new(Trouble::Slow(HANGS)));
                Value::Null
            }
            "heal" => {
                portal().clear_faults();
                Value::Null
            }
            "sums" => sums(&cast),
            "most" => json!(sim.take_most_at_once()),
            other => panic!("{other} is not understood"),
        };
        println!("{answer}");
        stdout().flush().expect("somebody listens");
    }
}

/// Puts all portals into a registry, as installations do.
async fn register(cast: &[Portal], dir: &str) -> Value {
    let (registry, ..) = Registry::open(Path::new(dir)).await.expect("a registry");
    for portal in cast {
        let member_id = PortalId::new(&portal.member_id()).expect("a member_id");
        let mut record = PortalRecord::new(member_id, portal.endpoint().parse().expect("an endpoint"));
        record.access_token = Some(portal.access_token());
        record.refresh_token = Some(portal.refresh_token());
        record.application_token = Some(portal.application_token());
        registry.store(record).await.expect("stored");
    }
    Value::Null
}

fn sums(cast: &[Portal]) -> Value {
    let (mut met, mut http, mut cleared, mut waiting, mut over_limit) = (0, 0, 0, 0, 0);
    for portal in cast {
        let (requests, counts) = (portal.requests(), portal.counts());
        met += u64::from(requests.calls.keys().any(|method| method.starts_with("event.offline.")));
        http += requests.http;
        cleared += portal.totals().cleared;
        waiting += counts.free + counts.reserved;
        over_limit += portal.misuse().over_limit;
    }
    json!({ "met": met, "http": http, "cleared": cleared, "waiting": waiting, "over_limit": over_limit })
}
