//! A way to a broker on which a record is spoiled, so that the broker refuses it as invalid.
//!
//! Of itself the bridge sends nothing that Kafka would refuse in this way: each of its records has a key, and the time of its
//! making. Who refuses records for what is in them are proxies and patched brokers. Here the refusal is Kafka's own, with all
//! that it says: a compacted topic takes no record without a key, and one that holds [`POISON`] has lost its key when it
//! arrives.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What spoils a record. Batches have to be uncompressed for it to be found.
pub const POISON: &str = "not-to-be-taken";
/// Dead letters hold the poison too and are left alone; this header tells them.
const LETTER: &str = "b24_reason";
/// Where in a batch (Kafka's format 2) its length stands, what the length counts begins, and so on.
const LENGTH: usize = 8;
const BODY: usize = 12;
const FORMAT: usize = 16;
const CHECKSUM: usize = 17;
const CHECKED: usize = 21;
const RECORDS: usize = 61;

/// The way, as long as the test runs.
pub struct Spoiler {
    port: u16,
    way: Arc<Way>,
}

struct Way {
    broker: AtomicU16,
    spoiled: AtomicUsize,
    /// Dead letters that have come by.
    letters: watch::Sender<usize>,
    /// Whether dead letters are kept waiting.
    held: watch::Sender<bool>,
}

impl Spoiler {
    /// Opens the way; where it leads to is told later, since the broker has to know its address first. Dead letters are
    /// kept waiting on it until they are released.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (letters, held) = (watch::Sender::new(0), watch::Sender::new(true));
        let way = Arc::new(Way { broker: AtomicU16::new(0), spoiled: AtomicUsize::new(0), letters, held });
        tokio::spawn(accept(listener, way.clone()));
        Self { port, way }
    }

    /// What the broker has to tell of itself, so that everybody comes this way.
    pub fn advertised(&self) -> String {
        format!("PLAINTEXT://127.0.0.1:{}", self.port)
    }

    /// Where the way leads to: `host:port` on the loopback.
    pub fn lead_to(&self, bootstrap: &str) {
        let port = bootstrap.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        self.way.broker.store(port, SeqCst);
    }

    /// How often a record was spoiled.
    pub fn spoiled(&self) -> usize {
        self.way.spoiled.load(SeqCst)
    }

    /// Waits until a dead letter is on its way.
    pub async fn letter(&self) {
        self.way.letters.subscribe().wait_for(|letters| *letters > 0).await.expect("the way is open");
    }

    /// Lets dead letters pass.
    pub fn release(&self) {
        self.way.held.send_replace(false);
    }
}

async fn accept(listener: TcpListener, way: Arc<Way>) {
    while let Ok((client, _)) = listener.accept().await {
        let way = way.clone();
        tokio::spawn(async move {
            let broker = TcpStream::connect(("127.0.0.1", way.broker.load(SeqCst))).await?;
            let ((from_client, mut to_client), (mut from_broker, to_broker)) =
                (client.into_split(), broker.into_split());
            tokio::select! {
                done = requests(from_client, to_broker, &way) => done,
                done = io::copy(&mut from_broker, &mut to_client) => done.map(drop),
            }
        });
    }
}

/// Each request is its length and so many bytes.
async fn requests(mut client: OwnedReadHalf, mut broker: OwnedWriteHalf, way: &Way) -> io::Result<()> {
    loop {
        let length = client.read_u32().await?;
        let mut request = vec![0; usize::try_from(length).expect("it fits")];
        client.read_exact(&mut request).await?;
        if !places(&request, LETTER).is_empty() {
            way.letters.send_modify(|letters| *letters += 1);
            let mut held = way.held.subscribe();
            held.wait_for(|held| !held).await.expect("the way is open");
        } else {
            for place in places(&request, POISON) {
                let batch = batch_around(&request, place).expect("it stands in a batch");
                take_key(&mut request[batch.clone()], place - batch.start);
                way.spoiled.fetch_add(1, SeqCst);
            }
        }
        broker.write_u32(length).await?;
        broker.write_all(&request).await?;
    }
}

/// Where these words stand.
fn places(bytes: &[u8], words: &str) -> Vec<usize> {
    let there = |(_, window): &(usize, &[u8])| *window == words.as_bytes();
    bytes.windows(words.len()).enumerate().filter(there).map(|(place, _)| place).collect()
}

/// The batch that holds a place: eight bytes of offset, four of length, four of epoch, the format.
fn batch_around(request: &[u8], place: usize) -> Option<Range<usize>> {
    let batch = |start: usize| {
        let head = &request[start..];
        let length = u32::from_be_bytes(head[LENGTH..BODY].try_into().expect("four bytes"));
        let end = start + BODY + usize::try_from(length).expect("it fits");
        let is_one = head[..LENGTH] == [0; LENGTH] && head[FORMAT] == 2 && place < end && end <= request.len();
        is_one.then_some(start..end)
    };
    (0..place.saturating_sub(RECORDS)).rev().find_map(batch)
}

/// Takes the key from the record that holds a place. Its bytes become the beginning of the value, so that nothing gets
/// longer or shorter.
fn take_key(batch: &mut [u8], place: usize) {
    let mut next = RECORDS;
    let key = loop {
        let (length, start) = number(batch, next);
        next = start + usize::try_from(length).expect("a length");
        if next > place {
            // Behind the attributes stand the time, the offset and the length of the key.
            break number(batch, number(batch, start + 1).1).1;
        }
    };
    let (length, start) = number(batch, key);
    let length = usize::try_from(length).expect("a key");
    let (value, rest) = number(batch, start + length);
    let (grown, room) = (usize::try_from(value).expect("a value") + length, rest - start - length);
    assert!(start == key + 1 && room == 2 && grown < 1 << 13, "a short key and a value of some hundred bytes");
    batch.copy_within(start..start + length, start + room);
    // No key is the length -1. Numbers are zigzag, seven bits a byte, the lowest first.
    batch[key] = 1;
    let grown = u16::try_from(2 * grown).expect("small");
    batch[start..start + room].copy_from_slice(&[(grown & 0x7f) as u8 | 0x80, (grown >> 7) as u8]);
    let sum = checksum(&batch[CHECKED..]);
    batch[CHECKSUM..CHECKED].copy_from_slice(&sum.to_be_bytes());
}

/// A number, and where it ends.
fn number(bytes: &[u8], mut at: usize) -> (i64, usize) {
    let (mut zigzag, mut shift) = (0_u64, 0);
    loop {
        zigzag |= u64::from(bytes[at] & 0x7f) << shift;
        (at, shift) = (at + 1, shift + 7);
        if bytes[at - 1] < 0x80 {
            return ((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed(), at);
        }
    }
}

/// CRC-32C.
fn checksum(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}
