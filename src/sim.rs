//! A Bitrix24 portal, or many of them, simulated: queue, limits, OAuth server and scripted faults.
//!
//! It behaves as sections 1 to 5 of the protocol reference say, traps included: an empty list of ids deletes the
//! reservation, a `get` deletes unless told otherwise, a `process_id` comes back even when nothing was reserved,
//! repeats are merged, empty maps arrive as `[]`, and a request whose client has given up is executed all the same.
//! Every portal keeps a ledger of all rows and counts what a careful client never does.
//!
//! It is for tests of the bridge and of consumers; it imports nothing of the bridge. Time passes on the runtime's clock
//! and all chance is seeded.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use b24kafka::sim::{Options, Sim};
//! let sim = Sim::start(Options::default()).await?;
//! let portal = sim.portal(0).ok_or("there is one portal by default")?;
//! portal.emit("ONCRMDEALADD", r#"{"FIELDS":{"ID":"1"}}"#, "");
//! println!("{} {}", portal.endpoint(), sim.oauth_url());
//! # Ok(()) }
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, atomic::AtomicI64},
};

use secrecy::SecretString;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};

use self::{
    load::Load,
    oauth::Application,
    portal::{Clock, Shared},
    server::World,
    state::State,
};

mod batch;
mod changes;
mod configuration;
pub mod failure;
pub mod faults;
mod filter;
pub mod generate;
mod handlers;
pub mod ledger;
pub mod limits;
mod load;
mod methods;
mod oauth;
mod offline;
mod php;
mod portal;
mod queue;
mod rest;
mod row;
mod server;
mod state;
mod tokens;
mod wake;

pub use self::{
    faults::{Fault, FaultError, Trouble, parse as parse_faults},
    generate::Generator,
    ledger::{Entry, Fate, Ledger, Misuse, Requests, Totals},
    limits::Limits,
    portal::{Counts, Portal},
    row::Hex,
    wake::WakeError,
};

/// How a simulator is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 is any free one.
    pub listen: SocketAddr,
    /// How many portals.
    pub portals: usize,
    /// Decides tokens, ids and chances.
    pub seed: u64,
    /// The limits of every portal.
    pub limits: Limits,
    /// The faults of every portal.
    pub faults: Vec<Fault>,
    /// The time zone of every portal in minutes east of Greenwich.
    pub zone_minutes: i32,
    /// Host and port by which others reach it, where that is not the address that it listens on: in a container.
    pub name: Option<String>,
    /// Each portal at a loopback address of its own, as real portals have hosts of their own: a client cannot use a
    /// connection for two of them.
    pub own_hosts: bool,
}

impl Default for Options {
    /// One portal on a free loopback port, without limits and faults, in UTC+3 as most portals are.
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen,
            portals: 1,
            seed: 1,
            limits: Limits::UNLIMITED,
            faults: Vec::new(),
            zone_minutes: 180,
            name: None,
            own_hosts: false,
        }
    }
}

/// The simulator could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the simulator cannot listen on {listen}")]
pub struct StartError {
    listen: SocketAddr,
    source: std::io::Error,
}

/// A running simulator. Dropping it stops the server: open requests are cut, handles of portals stay readable.
#[derive(Debug)]
pub struct Sim {
    addr: SocketAddr,
    /// How others reach the OAuth server.
    name: String,
    world: Arc<World>,
    stop: watch::Sender<bool>,
}

impl Sim {
    /// Starts the server on the current runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let failed = |source| StartError { listen: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        // Calls to handlers need a provider for TLS; a process that has chosen one keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (stop, stopped) = watch::channel(false);
        let mut listeners = vec![listener];
        if options.own_hosts {
            for listen in (0..options.portals).map(|n| SocketAddr::new(host(n), addr.port())) {
                let bound = TcpListener::bind(listen).await.map_err(|source| StartError { listen, source });
                listeners.push(bound?);
            }
        }
        let name = options.name.clone().unwrap_or_else(|| addr.to_string());
        let host = |n| if options.own_hosts { SocketAddr::new(host(n), addr.port()).to_string() } else { name.clone() };
        let portals = (0..options.portals).map(|n| Arc::new(portal(n, host(n), &options))).collect();
        let application = Application {
            id: "local.sim".to_owned(),
            secret: Hex(options.seed.to_be_bytes().repeat(2).try_into().unwrap_or([7; 16])).to_string(),
        };
        let world = Arc::new(World { portals, application, load: Load::default(), stop: stopped });
        for portal in &world.portals {
            let (portal, mut stop) = (portal.clone(), world.stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = wake::run(portal) => {}
                    _ = stop.changed() => {}
                }
            });
        }
        for listener in listeners {
            tokio::spawn(server::serve(listener, world.clone()));
        }
        Ok(Self { addr, name, world, stop })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of the OAuth server.
    pub fn oauth_url(&self) -> String {
        format!("http://{}/oauth/token/", self.name)
    }

    /// `client_id` of the application.
    pub fn client_id(&self) -> &str {
        &self.world.application.id
    }

    /// `client_secret` of the application.
    pub fn client_secret(&self) -> SecretString {
        self.world.application.secret.as_str().into()
    }

    /// A portal by its number, from 0.
    pub fn portal(&self, number: usize) -> Option<Portal> {
        self.world.portals.get(number).cloned().map(Portal)
    }

    /// The most calls to portals that were being answered at the same time since this was last asked.
    pub fn take_most_at_once(&self) -> usize {
        self.world.load.take_most()
    }

    /// All portals.
    pub fn portals(&self) -> impl Iterator<Item = Portal> {
        self.world.portals.iter().cloned().map(Portal)
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

/// The loopback address of a portal's own; there are enough of them for any number of portals that fits into memory.
fn host(number: usize) -> IpAddr {
    let [.., high, middle, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, high.saturating_add(1), middle, low))
}

fn portal(number: usize, domain: String, options: &Options) -> Shared {
    let clock = Clock::new();
    let mut state = State::new(number, options.seed, options.zone_minutes, clock.now());
    state.limits = options.limits.clone();
    options.faults.iter().cloned().for_each(|fault| state.faults.add(fault));
    Shared {
        endpoint: format!("http://{domain}/p/{number}/rest/"),
        domain,
        clock,
        state: Mutex::new(state),
        changed: Notify::new(),
        hit: Notify::new(),
        hits: AtomicI64::new(0),
    }
}
