//! `b24kafka sim`: the portal simulator alone.

use std::{io::Write, net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::ExposeSecret as _;
use url::Url;

use super::{failure::Failure, output, signal::Signals};
use crate::sim::{self, Fault, Options, Portal, Totals};

/// Portals whose whole configuration is printed; of more only a line each is.
const SHOWN: usize = 3;
/// How often the simulated people act.
const TICK: Duration = Duration::from_millis(200);

/// Run the portal simulator alone, to test consumers and operations without a portal
///
/// Its tokens and secrets open nothing but the simulator, so they are printed.
#[derive(Debug, clap::Args)]
pub(super) struct Sim {
    /// Where it listens
    #[arg(long, value_name = "A", default_value = "127.0.0.1:8024")]
    pub listen: SocketAddr,
    /// Host and port by which others reach it, where that is not where it listens: in a container, "sim:8024"
    #[arg(long, value_name = "HOST:PORT", value_parser = name, conflicts_with = "own_hosts")]
    pub name: Option<String>,
    /// How many portals it plays
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub portals: u32,
    /// Which faults it plays, such as "lost-answer=0.05,late=0.02,5xx=0.01": names with their probability per request
    #[arg(long, value_name = "F", value_parser = faults)]
    pub faults: Option<Script>,
    /// Changes per second over all portals; 0 for none
    #[arg(long, value_name = "R", default_value_t = 5)]
    pub rate: u32,
    /// Give each portal a loopback address of its own, as real portals have hosts of their own
    #[arg(long)]
    pub own_hosts: bool,
    /// Write the sections `app` and `portals` of a bridge for all of them to this file
    #[arg(long, value_name = "FILE")]
    pub configuration: Option<PathBuf>,
}

/// Faults as one value: a list would be taken for an argument that may be given several times.
#[derive(Clone, Debug)]
pub(super) struct Script(Vec<Fault>);

fn faults(text: &str) -> Result<Script, sim::FaultError> {
    sim::parse_faults(text).map(Script)
}

/// Something that stands between `http://` and a path, and is nothing more.
fn name(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(&format!("http://{text}/")).map_err(|_| "it is no host with a port")?;
    let plain = url.username().is_empty() && url.path() == "/" && url.query().or(url.fragment()).is_none();
    if plain { Ok(text.to_owned()) } else { Err("it is more than a host with a port") }
}

impl Sim {
    pub fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.play())
    }

    async fn play(self) -> Result<(), Failure> {
        let mut signals = Signals::listen()?;
        let portals = usize::try_from(self.portals).unwrap_or(usize::MAX);
        let faults = self.faults.clone().map(|script| script.0).unwrap_or_default();
        let (seed, own_hosts) = (rand::random(), self.own_hosts);
        let name = self.name.clone();
        let options = Options { listen: self.listen, portals, seed, faults, name, own_hosts, ..Options::default() };
        let sim = sim::Sim::start(options).await?;
        if let Some(file) = &self.configuration {
            std::fs::write(file, sim.configuration("unlimited", usize::MAX))?;
        }
        output::write(|out| describe(&sim, out))?;
        let portals: Vec<Portal> = sim.portals().collect();
        tokio::select! {
            () = self.act(&portals) => {}
            () = signals.next() => {}
        }
        output::write(|out| account(&portals, out))?;
        Ok(())
    }

    /// People change things at one portal after another.
    async fn act(&self, portals: &[Portal]) {
        let mut ticks = tokio::time::interval(TICK);
        let (mut owed, mut seed) = (0.0, 0_u64);
        for portal in portals.iter().cycle() {
            // One change at a time: the next portal has the next one.
            while owed < 1.0 {
                ticks.tick().await;
                owed += f64::from(self.rate) * TICK.as_secs_f64();
            }
            owed -= 1.0;
            seed += 1;
            portal.generate(1, seed);
        }
    }
}

/// What somebody needs to point a bridge at it.
fn describe(sim: &sim::Sim, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "# a portal simulator listens on {}; a bridge for it:", sim.addr())?;
    write!(out, "{}", sim.configuration("unlimited", SHOWN))?;
    for portal in sim.portals().skip(SHOWN) {
        writeln!(out, "# and {}, refresh token {}", portal.endpoint(), portal.refresh_token().expose_secret())?;
    }
    Ok(())
}

/// What became of the rows, at the end. Rows that a `get` deleted, or that the portal purged, are lost to everyone.
fn account(portals: &[Portal], out: &mut dyn Write) -> std::io::Result<()> {
    let mut all = Totals::default();
    for totals in portals.iter().map(Portal::totals) {
        all.rows += totals.rows;
        all.cleared += totals.cleared;
        all.free += totals.free;
        all.reserved += totals.reserved;
        all.errors += totals.errors;
        all.lost += totals.got + totals.lost;
    }
    writeln!(
        out,
        "# of {} rows {} were cleared, {} are free, {} reserved, {} set aside as errors, {} lost",
        all.rows, all.cleared, all.free, all.reserved, all.errors, all.lost,
    )
}
