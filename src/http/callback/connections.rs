//! Connections of strangers: few at once, each with little time, each for one request.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Body;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Connections at once; what comes above is answered 503. Each costs a file and a few KiB, and most processes may have
/// 1,024 files.
const MOST: usize = 512;
/// Connections of one source at once: whoever holds all that one may hold leaves as many to others.
const MOST_OF_ONE: usize = MOST / 2;
/// How long a request may take to say what it wants.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// Most lines of a head; Bitrix24 and a proxy before us send about fifteen.
const HEAD_LINES: usize = 64;
/// Largest head, in bytes.
const HEAD_SIZE: usize = 16 << 10;
/// The longest life of a connection: longer than any call is looked into.
const LIFE: Duration = Duration::from_secs(120);
/// Wait after a failed accept: the process may be short of files for a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What is said where there is no room.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 5\r\nconnection: close\r\n\r\n";

/// How many connections each source has; sources without any are not in it.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// The place of one connection.
struct Place {
    room: Room,
    source: IpAddr,
}

impl Room {
    fn enter(&self, source: IpAddr) -> Option<Place> {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if present.values().sum::<usize>() >= MOST {
            return None;
        }
        let of_one = present.entry(source).or_default();
        if *of_one >= MOST_OF_ONE {
            return None;
        }
        *of_one += 1;
        Some(Place { room: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_one) = present.get_mut(&self.source) {
            *of_one -= 1;
            if *of_one == 0 {
                present.remove(&self.source);
            }
        }
    }
}

/// Accepts connections until `stop` is true; then those that are open end after the request that they are at. `full` is
/// told of each connection that there was no room for.
pub async fn serve<F>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>, IpAddr) -> F + Clone + Send + Sync + 'static,
    full: impl Fn() + Send,
    mut stop: watch::Receiver<bool>,
) where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let room = Room::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let source = of(peer);
        match room.enter(source) {
            Some(place) => {
                let answer = answer.clone();
                let connection = one(stream, move |request| answer(request, source), stop.clone());
                connections.spawn(async move {
                    let _place = place;
                    // A stranger who does not read, or never ends: nobody waits for him.
                    let _ = tokio::time::timeout(LIFE, connection).await;
                });
            }
            None => {
                full();
                // It fits into the empty buffer of a new connection; if not, the connection is closed all the same.
                let _ = stream.try_write(FULL);
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The same address in both families is one source.
fn of(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

async fn one<F>(stream: TcpStream, answer: impl Fn(Request<Incoming>) -> F, mut stop: watch::Receiver<bool>)
where
    F: Future<Output = Response<Body>>,
{
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let answered = answer(request);
        async move { Ok::<_, std::convert::Infallible>(answered.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_headers(HEAD_LINES)
        .max_buf_size(HEAD_SIZE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let stopped = async {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    // Errors end here on purpose: a head that is none, a client that has gone.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_all_places_and_places_come_back() {
        let room = Room::default();
        let source = |last| IpAddr::from([192, 0, 2, last]);
        let mine: Vec<_> = (0..MOST).map_while(|_| room.enter(source(1))).collect();
        assert_eq!(mine.len(), MOST_OF_ONE);
        let others: Vec<_> =
            (0..MOST).map_while(|n| room.enter(source(u8::try_from(n % 9 + 2).expect("small")))).collect();
        assert_eq!(others.len(), MOST - MOST_OF_ONE);
        drop((mine, others));
        assert!(room.0.lock().expect("lock").is_empty());
    }

    #[test]
    fn an_address_is_one_source_in_both_families() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:5".parse().expect("an address");
        assert_eq!(of(mapped), IpAddr::from([192, 0, 2, 1]));
    }
}
