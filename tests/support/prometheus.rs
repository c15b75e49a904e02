//! A real Prometheus with a configuration and a directory of its own, on a port of the loopback.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{port, process::Guarded, rules};

/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it scrapes and evaluates.
const INTERVAL: &str = "1s";

/// Prometheus, which scrapes one bridge by the name of a job.
pub struct Prometheus {
    dir: TempDir,
    port: u16,
    _process: Guarded,
}

impl Prometheus {
    /// Starts it with the alerts that the chart ships, all times sixty times shorter.
    pub fn start(target: &str) -> Self {
        let dir = TempDir::with_prefix("b24kafka-prometheus-").expect("a temporary directory");
        let port = port::free();
        fs::write(dir.path().join("rules.yaml"), hurried(&rules::text())).expect("written");
        let config = format!(
            "global: {{ scrape_interval: {INTERVAL}, evaluation_interval: {INTERVAL} }}\nrule_files: [rules.yaml]\n\
             scrape_configs:\n  - job_name: b24kafka\n    static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        fs::write(dir.path().join("prometheus.yml"), config).expect("written");
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log);
        let process = Guarded::spawn(&mut command);
        Self { dir, port, _process: process }
    }

    /// Its own words, for a failing test.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// What its API answers; `None` while it does not.
    async fn ask(&self, path: &str) -> Option<Value> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}/api/v1/{path}", self.port)).await.ok()?;
        let answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        Some(answer["data"].clone())
    }

    /// The alerts that fire.
    pub async fn firing(&self) -> Vec<String> {
        let answer = self.ask("alerts").await.unwrap_or_default();
        let alerts = answer["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().expect("a name").to_owned()).collect()
    }

    /// Waits until the alerts that fire are as wanted, and tells how long that took.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Duration {
        let begun = Instant::now();
        loop {
            let firing = self.firing().await;
            if self.ask("rules").await.is_some() && wanted(&firing) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "{what} never came, there is {firing:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The value of an expression that has one series.
    pub async fn value(&self, expr: &str) -> Option<f64> {
        let encoded: String = url::form_urlencoded::byte_serialize(expr.as_bytes()).collect();
        let answer = self.ask(&format!("query?query={encoded}")).await?;
        answer["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Waits until it has scraped its target so often.
    pub async fn scraped(&self, times: f64) {
        let begun = Instant::now();
        while self.value("sum(count_over_time(up[1h]))").await.is_none_or(|count| count < times) {
            assert!(begun.elapsed() < PATIENCE, "it does not scrape:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Rules in which a minute is a second.
fn hurried(rules: &str) -> String {
    let mut hurried = String::new();
    for line in rules.lines() {
        let comment = line.trim_start().starts_with('#');
        let text = ["description:", "Prometheus has", "For "].iter().any(|word| line.contains(word));
        hurried.push_str(&if comment || text { line.to_owned() } else { hurry(line) });
        hurried.push('\n');
    }
    hurried
}

/// One line: `5m` is `5s`, `1h` is `60s`, `1d` is `1440s`, and a bound of whole minutes behind `>` shrinks as well.
fn hurry(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = start + rest[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - start);
        let number: u64 = rest[start..end].parse().expect("a number");
        let word = rest[..start].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
        let minutes = match rest[end..].chars().next() {
            Some('m') => Some(number),
            Some('h') => Some(number * 60),
            Some('d') => Some(number * 1440),
            _ => None,
        };
        out.push_str(&rest[..start]);
        match minutes {
            Some(minutes) if !word => {
                out.push_str(&format!("{minutes}s"));
                rest = &rest[end + 1..];
            }
            _ => {
                let bound = rest[..start].trim_end().ends_with('>') && number >= 60;
                out.push_str(&if bound { (number / 60).to_string() } else { rest[start..end].to_owned() });
                rest = &rest[end..];
            }
        }
    }
    out + rest
}

#[test]
fn a_minute_becomes_a_second() {
    assert_eq!(hurry("        for: 20m"), "        for: 20s");
    assert_eq!(
        hurry("increase(b24kafka_x_total[1h]) > 0 unless y offset 1h"),
        "increase(b24kafka_x_total[60s]) > 0 unless y offset 60s"
    );
    assert_eq!(
        hurry("time() - b24kafka_x > 600 and last_over_time(x[1d])"),
        "time() - b24kafka_x > 10 and last_over_time(x[1440s])"
    );
    assert_eq!(hurry("histogram_quantile(0.99, rate(x[10m])) > 300"), "histogram_quantile(0.99, rate(x[10s])) > 5");
}
