//! The metrics of a bridge that serves thousands of portals: well-formed, and no more of them than with one.

use std::{fmt::Write as _, path::Path, time::Duration};

use b24kafka::{app::App, config::Config, metrics::portals};
use rdkafka::mocking::MockCluster;

use super::support::{port, promtool};

/// What one scrape brings.
struct Scrape(String);

impl Scrape {
    /// Of a bridge with so many portals, none of which answers. Nothing but the loopback is called.
    async fn of(portals: usize, labels: usize) -> Self {
        let broker = MockCluster::new(1).expect("a mock broker");
        broker.create_topic("bitrix24.dead-letter", 1, 1).expect("a topic");
        let (dir, nobody) = (tempfile::tempdir().expect("a directory"), port::free());
        let mut text = format!(
            "[app]\nclient_id = \"local.1\"\nclient_secret = \"made-up\"\nallow_http = true\n\
             oauth_url = \"http://127.0.0.1:{nobody}/oauth/\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\nportal_labels = {labels}\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [registry]\npath = {:?}\n[kafka]\nbootstrap_servers = \"{}\"\n[shutdown]\ngrace = \"10s\"\n",
            dir.path().join("registry"),
            broker.bootstrap_servers(),
        );
        for number in 0..portals {
            let endpoint = format!("http://127.0.0.1:{nobody}/rest/");
            writeln!(
                text,
                "[[portals]]\nmember_id = \"m{number:05}\"\nendpoint = \"{endpoint}\"\naccess_token = \"a\""
            )
            .expect("a string");
        }
        let config = Config::parse(Path::new("test"), &text, std::iter::empty()).unwrap_or_else(|e| panic!("{e}"));
        let app = App::start(&config, None, std::future::pending()).await.expect("it starts").expect("not stopped");
        let admin = app.admin();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        let get = |path: &'static str| async move {
            let answer = reqwest::get(format!("http://{admin}{path}")).await.expect("an answer");
            answer.text().await.expect("a body")
        };
        // Some of them are called while this waits, so that labels of failures would be seen too.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let health: serde_json::Value = serde_json::from_str(&get("/health").await).expect("JSON");
        assert_eq!(health["portals"]["starting"], portals, "all of them are served: {health}");
        let scrape = Self(get("/metrics").await);
        let _ = stop.send(());
        running.await.expect("it does not break").expect("a clean stop");
        scrape
    }

    fn series(&self) -> usize {
        self.0.lines().filter(|line| !line.starts_with('#')).count()
    }

    fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{series} in\n{}", self.0))
    }
}

/// Portals of one bridge, as many as it is made for.
const MANY: usize = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_portals_are_no_more_series_than_one() {
    let one = Scrape::of(1, 0).await;
    let many = Scrape::of(MANY, 0).await;
    assert_eq!(many.series(), one.series(), "no portal has a series of its own");
    assert!(!many.0.contains("m00001") && !many.0.contains("portal="), "no label names a portal");
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let all = MANY as f64;
    assert!((many.value("b24kafka_portals{state=\"starting\"}") - all).abs() < 0.5);

    let labels = 10;
    let named = Scrape::of(MANY, labels).await;
    assert_eq!(named.series(), many.series() + (labels + 1) * portals::DESCRIPTIONS.len());
    assert!(named.0.contains("{portal=\"m00009\"}") && !named.0.contains("m00010"), "the first ones have their label");
    assert!((named.value("b24kafka_portal_rows_held{portal=\"_other\"}")).abs() < 0.5, "the rest share one");
    println!("{} series with {MANY} portals, {} with {labels} labels", many.series(), named.series());

    for scrape in [&many, &named] {
        let said = promtool::run(&["check", "metrics"], &scrape.0).unwrap_or_else(|said| panic!("{said}"));
        assert_eq!(said, "", "nothing to complain of");
    }
    let wrong = named.0.replace("b24kafka_rows_cleared_total", "b24kafka_rows_cleared_total_milliseconds");
    assert!(promtool::run(&["check", "metrics"], &wrong).is_err(), "it does complain of a wrong name");
}
