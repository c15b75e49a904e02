//! A server that answers by script, for tests of the Bitrix24 edge.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::header,
    response::Response,
};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

/// One answer.
pub enum Reply {
    /// A whole answer: status, content type, body.
    Text(u16, String, String),
    /// JSON that is no UTF-8.
    Bytes(Vec<u8>),
    /// To another address of the same server, where an unexpected call would be seen.
    Redirect(String),
    /// The connection breaks off after this text, short of what the headers announce.
    Cut(String),
    /// An answer that announces so many bytes.
    Announce(u64),
    /// An answer of unknown length that never ends.
    Endless,
    /// No answer.
    Hang,
}

impl Reply {
    pub fn text(status: u16, content_type: &str, body: &str) -> Self {
        Self::Text(status, content_type.to_owned(), body.to_owned())
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", &body.to_string())
    }
}

/// What the server was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub uri: String,
    pub content_type: String,
    pub body: String,
}

#[derive(Clone, Default)]
struct Script {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

pub struct Server {
    script: Script,
    base: Url,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens on a free port of the loopback.
    pub async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("free port");
        let address = listener.local_addr().expect("address");
        let script = Script { replies: Arc::new(Mutex::new(replies.into())), ..Script::default() };
        let router = Router::new().fallback(answer).with_state(script.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serve") });
        Self { script, base: format!("http://{address}").parse().expect("url"), task }
    }

    pub fn url(&self, path: &str) -> Url {
        self.base.join(path).expect("path")
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().expect("lock").clone()
    }

    /// Closes the port.
    pub async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 16 << 20).await.expect("body");
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    script.asked.lock().expect("lock").push(Asked {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        content_type: content_type.to_owned(),
        body: String::from_utf8(body.to_vec()).expect("utf-8"),
    });
    let reply = script.replies.lock().expect("lock").pop_front();
    let reply = reply.unwrap_or_else(|| Reply::text(418, "text/plain", "a call too many"));
    let (status, kind, length, body) = match reply {
        Reply::Text(status, kind, body) => (status, kind, None, Body::from(body)),
        Reply::Bytes(body) => (200, "application/json".to_owned(), None, Body::from(body)),
        Reply::Redirect(to) => {
            return Response::builder().status(302).header(header::LOCATION, to).body(Body::empty()).expect("answer");
        }
        Reply::Cut(body) => {
            let length = body.len() as u64 + 1000;
            (200, "application/json".to_owned(), Some(length), broken_after(body))
        }
        Reply::Announce(length) => (200, "application/json".to_owned(), Some(length), endless()),
        Reply::Endless => (200, "application/json".to_owned(), None, endless()),
        Reply::Hang => std::future::pending().await,
    };
    let mut response = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
    if let Some(length) = length {
        response = response.header(header::CONTENT_LENGTH, length);
    }
    response.body(body).expect("answer")
}

fn broken_after(text: String) -> Body {
    Body::from_stream(stream::iter([Ok(Bytes::from(text)), Err(std::io::Error::other("cut"))]))
}

fn endless() -> Body {
    let chunk = Bytes::from(vec![b' '; 1 << 20]);
    Body::from_stream(stream::repeat(chunk).map(Ok::<_, Infallible>))
}

/// A command of a batch, taken apart as PHP does.
pub struct Command {
    pub method: String,
    pub parameters: Vec<(String, String)>,
}

impl Command {
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }
}

pub fn command(command: &Value) -> Command {
    let command = command.as_str().expect("a command");
    let (method, query) = command.split_once('?').expect("a query");
    let parameters = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    Command { method: method.to_owned(), parameters }
}
