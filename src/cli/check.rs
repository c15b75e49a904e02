//! `b24kafka check`: every fault of the configuration, before anything runs.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{configured::ConfigFile, failure::Failure, output};
use crate::{
    app::{
        self,
        check::{Finding, State},
    },
    config::{Config, Fault, Place, queues::Queue, registry::Registry},
};

/// Name every fault of the configuration
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
    /// Ask the broker and every portal too
    #[arg(long)]
    online: bool,
    /// JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(self) -> Result<(), Failure> {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(Failure::Configuration(faults)) if self.json => {
                let faults: Vec<Value> = faults.as_slice().iter().map(fault).collect();
                output::json(&json!({ "file": self.config.path.to_string_lossy(), "ok": false, "faults": faults }))?;
                return Err(Failure::ConfigurationTold);
            }
            Err(failure) => return Err(failure),
        };
        let findings = if self.online { online(&config)? } else { Vec::new() };
        let ok = findings.iter().all(|finding| finding.state != State::Bad);
        let file = self.config.path.to_string_lossy();
        if self.json {
            let online: Vec<Value> = findings.iter().map(found).collect();
            let result = json!({
                "file": file, "ok": ok, "faults": [], "summary": facts(&config), "online": online,
            });
            output::json(&result)?;
        } else {
            output::write(|out| {
                summary(&file, &config, out)?;
                for finding in &findings {
                    let mark = match finding.state {
                        State::Good => "ok   ",
                        State::Bad => "FAULT",
                        State::Open => "?    ",
                    };
                    writeln!(out, "  {mark}  {}: {}", finding.what, finding.detail)?;
                }
                Ok(())
            })?;
        }
        if ok {
            Ok(())
        } else {
            Err(NotReady(findings.iter().filter(|finding| finding.state == State::Bad).count()).into())
        }
    }
}

/// Something that the configuration names is not as it has to be.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the things that the configuration names cannot be used, see above")]
struct NotReady(usize);

fn online(config: &Config) -> Result<Vec<Finding>, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(app::check::online(config))?)
}

/// `ok` is null where it cannot be told.
fn found(finding: &Finding) -> Value {
    let ok = match finding.state {
        State::Good => Some(true),
        State::Bad => Some(false),
        State::Open => None,
    };
    json!({ "what": finding.what, "ok": ok, "detail": finding.detail })
}

fn fault(fault: &Fault) -> Value {
    let (file, line, variable) = match &fault.place {
        Place::File(path, line) => (Some(path.to_string_lossy()), *line, None),
        Place::Variable(name) => (None, None, Some(name)),
    };
    json!({
        "file": file, "line": line, "variable": variable,
        "key": Some(&fault.key).filter(|key| !key.is_empty()), "wrong": fault.wrong, "right": fault.right,
    })
}

/// What the configuration amounts to, without any secret.
fn facts(config: &Config) -> Value {
    let Registry::File { path } = &config.registry;
    let queue = |queue: &Queue| {
        json!({
            "connector": queue.connector.as_str(),
            "events": queue.events,
            "topic": queue.topic.as_ref().unwrap_or(&config.kafka.topic),
        })
    };
    json!({
        "queues": config.queues.iter().map(queue).collect::<Vec<_>>(),
        "portals": config.portals.iter().map(|portal| portal.member_id.as_str()).collect::<Vec<_>>(),
        "kafka": { "bootstrap_servers": config.kafka.bootstrap_servers, "key": config.kafka.key },
        "registry": { "kind": "file", "path": path.to_string_lossy() },
        "admin": { "listen": config.admin.listen.to_string() },
    })
}

fn summary(file: &str, config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let Registry::File { path } = &config.registry;
    let queue = |queue: &Queue| {
        let name = if queue.connector.as_str().is_empty() { "plain" } else { queue.connector.as_str() };
        match queue.events.len() {
            0 => format!("{name} (what is bound already)"),
            n => format!("{name} ({})", counted(n, "event")),
        }
    };
    let queues = config.queues.iter().map(queue).collect::<Vec<_>>().join(", ");
    let portals = match config.portals.len() {
        0 => "none known in advance".to_owned(),
        n => format!("{} known in advance", counted(n, "portal")),
    };
    let kafka = format!("{}, topic {}, key {}", config.kafka.bootstrap_servers, config.kafka.topic, config.kafka.key);
    let registry = format!("files in {}", path.display());
    let admin = match &config.admin.token {
        Some(_) => config.admin.listen.to_string(),
        None => format!("{}, reading only (admin.token is not set)", config.admin.listen),
    };
    writeln!(out, "{file}: no fault")?;
    let rows = [
        ["  queues", &queues],
        ["  portals", &portals],
        ["  kafka", &kafka],
        ["  registry", &registry],
        ["  admin", &admin],
    ];
    output::table(out, &rows)
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
