//! A socket before the engine's own, for engines that are older than the client.
//!
//! The client's addresses begin with the version of the interface that it knows, and it takes what an older engine offers
//! only if somebody says so; testcontainers does not. So each request goes on with the version that both know.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, body::Bytes, body::Incoming, client, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use testcontainers::bollard::API_DEFAULT_VERSION;
use tokio::net::{UnixListener, UnixStream};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Where the client connects to; gone when it is dropped.
pub struct Socket(TempDir);

impl Socket {
    pub fn path(&self) -> PathBuf {
        self.0.path().join("relay.sock")
    }
}

/// Listens for as long as the runtime lives.
pub async fn start(engine: &Path) -> Socket {
    let socket = Socket(TempDir::with_prefix("b24kafka-relay-").expect("a directory"));
    let listener = UnixListener::bind(socket.path()).expect("a socket");
    let version = common_version(engine).await.expect("the engine's version");
    let engine = engine.to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (engine, version) = (engine.clone(), version.clone());
            let service = service_fn(move |request| forward(request, engine.clone(), version.clone()));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    socket
}

async fn forward(
    mut request: Request<Incoming>,
    engine: PathBuf,
    version: String,
) -> Result<Response<Incoming>, Failed> {
    let asked = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let ours = format!("/v{API_DEFAULT_VERSION}/");
    if let Some(rest) = asked.strip_prefix(&ours) {
        *request.uri_mut() = format!("/v{version}/{rest}").parse()?;
    }
    send(request, &engine).await
}

async fn send<B>(request: Request<B>, engine: &Path) -> Result<Response<Incoming>, Failed>
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Failed>,
{
    let stream = UnixStream::connect(engine).await?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// The newest version that both know.
async fn common_version(engine: &Path) -> Result<String, Failed> {
    let request = Request::get("/version").header("host", "engine").body(Empty::<Bytes>::new())?;
    let body = send(request, engine).await?.into_body().collect().await?.to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    let theirs = answer["ApiVersion"].as_str().ok_or("no ApiVersion")?;
    let minor = |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    let ours = API_DEFAULT_VERSION.to_string();
    Ok(if minor(theirs) < minor(&ours) { theirs.to_owned() } else { ours })
}
