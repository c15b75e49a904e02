//! The ways of the network that operators choose: proxies and certificate authorities of their own, honoured by the real
//! binary.

mod support;

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpListener,
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Request lines that a server has seen.
type Seen = Arc<Mutex<Vec<String>>>;

/// Answers one request as a portal would that can do everything.
fn answer(stream: impl Read + Write, seen: &Seen) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    stream.read_exact(&mut vec![0; length])?;
    let body = if first.contains("feature.get") {
        r#"{"result":{"value":"Y"}}"#
    } else if first.contains("batch") {
        r#"{"result":{"result":{"page0":[]},"result_error":[],"result_total":{"page0":0},"result_next":[],"result_time":[]}}"#
    } else {
        r#"{"result":[]}"#
    };
    seen.lock().expect("lock").push(first.trim().to_owned());
    let stream = stream.get_mut();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()
}

/// `check --online` of one portal; the broker is away, which is none of this test's business.
fn check(endpoint: &str, allow_http: bool, env: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!(
        "[app]\nclient_id = \"local.1\"\nclient_secret = \"s3cr3t\"\nallow_http = {allow_http}\n\
         oauth_url = \"{}\"\n\
         [[portals]]\nmember_id = \"a1\"\nendpoint = \"{endpoint}\"\naccess_token = \"t0ken\"\n\
         [kafka]\nbootstrap_servers = \"127.0.0.1:1\"\n[registry]\npath = {:?}\n",
        endpoint.replace("/rest/", "/oauth/token/"),
        dir.path().join("registry"),
    );
    let config = dir.path().join("b24kafka.toml");
    std::fs::write(&config, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_b24kafka"));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.args(["check", "--online", "-c"]).arg(config).envs(env.iter().copied()).output().expect("it runs")
}

#[test]
fn a_proxy_of_the_surroundings_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Seen::default();
    let noted = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &noted);
        }
    });
    // Nobody answers to this name, so only the proxy can have.
    let ran = check("http://portal.invalid/rest/", true, &[("HTTP_PROXY", &proxy)]);
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(out.contains("token and reserve mode: usable"), "{out}");
    let seen = seen.lock().expect("lock");
    assert!(seen.iter().any(|line| line.starts_with("POST http://portal.invalid/rest/feature.get")), "{seen:?}");
}

#[test]
fn a_certificate_authority_of_ones_own_is_honoured_and_without_it_nothing_is_sent() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate and its key");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let seen = Seen::default();
    let noted = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).expect("a connection");
            let _ = answer(StreamOwned::new(connection, stream), &noted);
        }
    });
    let endpoint = format!("https://localhost:{port}/rest/");
    let ran = check(&endpoint, false, &[]);
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(out.contains("FAULT  portal a1 (localhost): token:"), "{out}");
    assert!(seen.lock().expect("lock").iter().all(String::is_empty), "nothing was sent to somebody without a name");

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), made.cert.pem()).expect("written");
    let ran = check(&endpoint, false, &[("SSL_CERT_FILE", file.path().to_str().expect("UTF-8"))]);
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(out.contains("token and reserve mode: usable"), "{out}");
}
