//! A server that knows as much of HTTP as is needed to break its rules: it reads a request and answers with given bytes.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use url::Url;

/// What every request gets.
#[derive(Clone)]
pub enum Reply {
    /// A well-formed answer of JSON, so it says, on a connection that stays.
    Body(u16, Vec<u8>),
    /// Anything at all, one piece after the other; then the connection is closed.
    Raw(Vec<Piece>),
}

/// A part of an answer.
#[derive(Clone)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, so many times.
    Repeat(Vec<u8>, usize),
    /// These bytes, one at a time, with a pause before each.
    Drip(Vec<u8>, Duration),
    /// Nothing more, on a connection that stays open.
    Hang,
}

#[derive(Clone)]
struct Script {
    reply: Arc<Mutex<Reply>>,
    asked: Arc<AtomicUsize>,
}

/// The server. It ends with its runtime.
pub struct Wire {
    address: SocketAddr,
    script: Script,
    _task: JoinHandle<()>,
}

impl Wire {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let script = Script { reply: Arc::new(Mutex::new(Reply::Raw(Vec::new()))), asked: Arc::default() };
        let served = script.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = served.clone();
                // A client that goes away is nothing to report.
                tokio::spawn(async move { serve(stream, &script).await.ok() });
            }
        });
        Self { address, script, _task: task }
    }

    pub fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().expect("a URL")
    }

    /// What every request gets from here on.
    pub fn reply(&self, reply: Reply) {
        *self.script.reply.lock().expect("lock") = reply;
    }

    /// How many requests have come.
    pub fn asked(&self) -> usize {
        self.script.asked.load(Ordering::SeqCst)
    }
}

async fn serve(stream: TcpStream, script: &Script) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        if !read_request(&mut stream).await? {
            return Ok(());
        }
        script.asked.fetch_add(1, Ordering::SeqCst);
        let reply = script.reply.lock().expect("lock").clone();
        match reply {
            Reply::Body(status, body) => {
                let head = format!(
                    "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(&[head.as_bytes(), &body].concat()).await?;
            }
            Reply::Raw(pieces) => {
                for piece in pieces {
                    write(&mut stream, piece).await?;
                }
                return stream.shutdown().await;
            }
        }
    }
}

async fn write(stream: &mut BufReader<TcpStream>, piece: Piece) -> io::Result<()> {
    match piece {
        Piece::Bytes(bytes) => stream.write_all(&bytes).await,
        Piece::Repeat(bytes, times) => {
            for _ in 0..times {
                stream.write_all(&bytes).await?;
            }
            Ok(())
        }
        Piece::Drip(bytes, pause) => {
            for byte in bytes {
                tokio::time::sleep(pause).await;
                stream.write_all(&[byte]).await?;
            }
            Ok(())
        }
        // Ends when the client closes, or with the runtime.
        Piece::Hang => stream.read_u8().await.map(drop),
    }
}

/// Whether a request came; `false` at the end of the connection.
async fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<bool> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(true)
}
