//! Free ports on the loopback.

use std::{collections::BTreeSet, net::TcpListener, sync::Mutex};

/// What this process has handed out already.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that nobody listens on and that stays ours while its server is down.
///
/// It lies below the range that the system takes for outgoing connections. A port from that range could be lost
/// between a kill and a restart, and a client that tries again and again to reach it could even connect to itself.
pub fn free() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for _ in 0..1000 {
        let port = rand::random_range(10_000..32_000);
        if !taken.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            taken.insert(port);
            return port;
        }
    }
    panic!("no free port on the loopback");
}
