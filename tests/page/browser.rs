//! A real Chromium without a window, driven over WebDriver, on the loopback only.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder};
use serde_json::json;

use super::support::{port, process::Guarded};

/// Only there to stop hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// So that nothing of the browser's own leaves this machine, and that it runs as any user.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// A browser and its driver; both end with this.
pub struct Browser {
    pub client: Client,
    _driver: Guarded,
}

impl Browser {
    /// With a window of this size.
    pub async fn open(width: u32, height: u32) -> Self {
        let port = port::free();
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Guarded::spawn(&mut driver);
        let size = format!("--window-size={width},{height}");
        let args: Vec<&str> = FLAGS.into_iter().chain([size.as_str()]).collect();
        let wanted = json!({ "goog:chromeOptions": { "args": args } });
        let wanted = wanted.as_object().expect("an object").clone();
        let begun = Instant::now();
        loop {
            let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            match builder.capabilities(wanted.clone()).connect(&format!("http://127.0.0.1:{port}")).await {
                Ok(client) => return Self { client, _driver: driver },
                Err(error) => assert!(begun.elapsed() < PATIENCE, "no browser (chromium, chromium-driver): {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Opens a page.
    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.expect("a page");
    }

    /// What a piece of JavaScript returns.
    pub async fn js(&self, script: &str) -> serde_json::Value {
        self.client.execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Everything that is written on the page.
    pub async fn text(&self) -> String {
        self.js("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says this.
    pub async fn says(&self, wanted: &str) {
        let begun = Instant::now();
        loop {
            let text = self.text().await;
            if text.contains(wanted) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the page does not say {wanted:?}:\n{text}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Keeps a picture of what is seen, for people.
    pub async fn picture(&self, name: &str) {
        let png = self.client.screenshot().await.expect("a picture");
        std::fs::write(pictures().join(name), png).expect("written");
    }

    pub async fn close(self) {
        self.client.close().await.expect("closed");
    }
}

/// Where the pictures are.
pub fn pictures() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// What the browser complains of while it loads a page on its own, as `light` or `dark`; keeps a picture.
pub fn complaints(url: &str, dark: bool, name: &str) -> String {
    let profile = tempfile::tempdir().expect("a directory");
    let output = Command::new("chromium")
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--enable-logging=stderr", "--window-size=1200,1600", "--virtual-time-budget=3000"])
        .arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }))
        .arg(format!("--screenshot={}", pictures().join(name).display()))
        .arg(url)
        .output()
        .expect("chromium runs");
    String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.contains("CONSOLE")).collect()
}
