//! The loader as a whole: layers, defaults, faults and the example file.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;
use secrecy::ExposeSecret;
use url::Url;

use super::*;

const MINIMAL: &str = "[app]\nclient_id = \"local.1\"\nclient_secret = \"s3cr3t\"\n";
const EXAMPLE: &str = include_str!("../../config/b24kafka.example.toml");

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, Faults> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(Path::new("c.toml"), text, env)
}

fn faults(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    load(text, env).expect_err("faults").as_slice().iter().map(Fault::to_string).collect()
}

/// The one fault of a minimal configuration with more text behind it, which begins on line 4.
fn fault(more: &str) -> String {
    let faults = faults(&format!("{MINIMAL}{more}"), &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults.concat()
}

#[test]
fn a_minimal_file_gives_the_documented_defaults() {
    let config = load(MINIMAL, &[]).expect("no fault");
    assert_eq!(config.app.oauth_url.as_str(), "https://oauth.bitrix.info/oauth/token/");
    assert!(config.app.allowed_hosts.contains(&".bitrix24.de".into()) && !config.app.allow_http);
    assert_eq!(config.queues.len(), 1);
    assert_eq!(config.queues[0].connector.as_str(), "");
    assert!(config.queues[0].events.is_empty() && config.portals.is_empty());
    assert_eq!((config.fetch.limit_min, config.fetch.limit_max), (50, 1000));
    assert_eq!((config.fetch.poll_min, config.fetch.poll_max), (Duration::from_secs(1), Duration::from_secs(60)));
    assert_eq!(config.fetch.request_timeout, Duration::from_secs(70));
    assert_eq!(config.kafka.topic, "bitrix24.{entity}");
    assert_eq!(config.kafka.key, "{member_id}:{entity}:{id}");
    assert_eq!((config.kafka.partitions, config.kafka.replication_factor), (6, -1));
    let registry::Registry::File { path } = &config.registry;
    assert_eq!(path, Path::new("data"));
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9464");
    assert!(config.admin.token.is_none());
    assert_eq!(config.shutdown.grace, Duration::from_secs(30));
    assert!(!format!("{config:?}").contains("s3cr3t"));
}

#[test]
fn variables_override_the_file() {
    let text = format!("{MINIMAL}[fetch]\nlimit_max = 99\n[kafka]\ntombstones = false\n");
    let env = [
        ("B24KAFKA__APP__CLIENT_ID", "12345"),
        ("B24KAFKA__FETCH__LIMIT_MAX", "500"),
        ("B24KAFKA__KAFKA__TOMBSTONES", "true"),
        ("B24KAFKA__KAFKA__SECURITY__PROTOCOL", "ssl"),
        ("B24KAFKA__KAFKA__OPTIONS", "{ linger.ms = 20, \"ssl.key.password\" = \"s3cr3t\" }"),
        ("B24KAFKA__HTTP__PUBLIC_URL", "https://a.b/c"),
        ("B24KAFKA__APP__ALLOWED_HOSTS", "[\"a.b\"]"),
        ("B24KAFKA__QUEUES", "[{ connector = \"x\", events = [\"crm.deal\"] }]"),
    ];
    let config = load(&text, &env).expect("no fault");
    assert_eq!(config.app.client_id, "12345");
    assert_eq!(config.fetch.limit_max, 500);
    assert!(config.kafka.tombstones);
    assert_eq!(config.kafka.security.protocol.as_deref(), Some("ssl"));
    assert_eq!(config.kafka.options["linger.ms"], "20");
    assert!(!format!("{config:?}").contains("s3cr3t"));
    assert_eq!(config.http.public_url.as_ref().map(Url::as_str), Some("https://a.b/c/"));
    let single = load(MINIMAL, &[("B24KAFKA__KAFKA__OPTIONS__LINGER__MS", "5")]).expect("no fault");
    assert_eq!(single.kafka.options["linger.ms"], "5");
    assert_eq!(config.app.allowed_hosts, ["a.b"]);
    assert_eq!(config.queues[0].connector.as_str(), "x");
    assert!(config.queues[0].events.contains(&"ONCRMDEALUPDATE".into()));
}

#[test]
fn every_fault_is_reported_with_its_place() {
    let text = "[app]\nclient_id = 5\n\n[fetch]\nlimit_mni = 1\nlimit_max = \"many\"\n\
        [[queues]]\nevents = [\n\"crm.deal\",\n\"crm.dael\"]\n";
    let env = [
        ("B24KAFKA__FETCH__POLL_MIN", "soon"),
        ("B24KAFKA__KAFKA__ACKS", "0"),
        ("B24KAFKA__PORTALS", "[{ member_id = \"../x\" }]"),
    ];
    let found = faults(text, &env);
    let begins = [
        "c.toml:1: app.client_secret is missing; give it here, or a file that holds it as client_secret_file",
        "c.toml:2: app.client_id is a whole number; give a text",
        "c.toml:5: fetch.limit_mni is not known; the nearest known name is limit_min",
        "c.toml:6: fetch.limit_max is a text; give a whole number from 1 to 10000",
        "c.toml:10: queues[0].events[1] is \"crm.dael\", which selects no event (the nearest known name is crm.deal)",
        "B24KAFKA__FETCH__POLL_MIN: fetch.poll_min is \"soon\"; give a duration",
        "B24KAFKA__KAFKA__ACKS: kafka.acks is not known; known here are",
        "B24KAFKA__PORTALS: portals[0].endpoint is missing; give an",
        "B24KAFKA__PORTALS: portals[0].member_id is \"../x\"; give a member_id",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begin) in found.iter().zip(begins) {
        assert!(found.starts_with(begin), "{found}\n{begin}");
    }
}

#[test]
fn keys_have_to_agree() {
    let portal = "[[portals]]\nmember_id = \"a\"\nendpoint = \"https://a.b/rest/\"\n";
    for (more, begin) in [
        ("[fetch]\nlimit_min = 10\nlimit_max = 9\n", "c.toml:5: fetch.limit_min is 10, above"),
        ("[fetch]\npoll_min = \"61s\"\n", "c.toml:5: fetch.poll_min is above"),
        ("[[queues]]\n[[queues]]\n", "c.toml:5: queues[1].connector is \"\", as in queues[0]"),
        (&format!("{portal}{portal}"), "c.toml:8: portals[1].member_id is \"a\", as in"),
        ("[registry]\nkind = \"kafka\"\nseal_key_file = \"x\"\n", "c.toml:5: registry.kind is \"kafka\", which"),
        ("[admin]\nlisten = \"0.0.0.0:8080\"\n", "c.toml:5: admin.listen is the address of http.listen"),
        ("[http]\nwake_min = \"1500ms\"\n", "c.toml:5: http.wake_min has a fraction"),
        ("[kafka]\nreplication_factor = 0\n", "c.toml:5: kafka.replication_factor is 0"),
        ("[kafka.options]\nacks = 1\n", "c.toml:5: kafka.options.acks is refused: "),
        ("[kafka]\noptions.sasl.password = \"x\"\n", "c.toml:5: kafka.options.sasl.password is refused: it has a key"),
        ("[kafka.security]\nprotocol = \"sasl_ssl\"\n", "c.toml:4: kafka.security.sasl_mechanism is missing"),
        (
            "[kafka.security]\nsasl_mechanism = \"PLAIN\"\nusername = \"u\"\npassword = \"p\"\n",
            "c.toml:5: kafka.security.sasl_mechanism has no use",
        ),
        (
            "[kafka.security]\nprotocol = \"ssl\"\nca_file = \"/none\"\n",
            "c.toml:6: kafka.security.ca_file names /none, which",
        ),
        ("[kafka]\nkey = \"{di}\"\n", "c.toml:5: kafka.key is \"{di}\": there is no placeholder {di} here"),
        ("fetch = 1\n", "c.toml:4: app.fetch is not known"),
        ("[logs]\n", "c.toml:4: logs is not known; the nearest known name is log"),
        (
            "[[portals]]\nmember_id = \"a\"\nendpoint = \"http://a.b/rest/\"\n",
            "c.toml:6: portals[0].endpoint is plain http",
        ),
        (
            "[[portals]]\nmember_id = \"a\"\nendpoint = \"https://a.b/rest/1/token/\"\n",
            "c.toml:6: portals[0].endpoint does not end",
        ),
        ("[portals]\nmember_id = \"a\"\n", "c.toml:4: portals is a table; give sections [[portals]]"),
    ] {
        let found = fault(more);
        assert!(found.starts_with(begin), "{found}\n{begin}");
    }
    for (value, wrong) in [("[", "holds no valid TOML"), ("[1]", "is a list of something"), ("1", "is a text")] {
        let found = faults(MINIMAL, &[("B24KAFKA__PORTALS", value)]);
        assert!(found.len() == 1 && found[0].starts_with(&format!("B24KAFKA__PORTALS: portals {wrong}")), "{found:?}");
    }
    let sections = faults("fetch = 1\n[app]\nclient_id = \"a\"\nclient_secret = \"b\"\n", &[]);
    assert_eq!(sections, ["c.toml:1: fetch is a whole number; give a section [fetch] with keys"]);
}

#[test]
fn an_endpoint_gets_its_slash_and_http_needs_leave() {
    let text = "[app]\nclient_id = \"a\"\nclient_secret = \"b\"\nallow_http = true\n\
        [[portals]]\nmember_id = \"A1\"\nendpoint = \"http://127.0.0.1:80/x/rest\"\nplan = \"unlimited\"";
    let config = load(text, &[]).expect("no fault");
    assert_eq!(config.portals[0].endpoint.as_str(), "http://127.0.0.1/x/rest/");
    assert_eq!(config.portals[0].plan, portals::Plan::Unlimited);
}

#[test]
fn a_secret_is_given_once_and_never_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, "t0ken\n").expect("written");
    let path = file.to_str().expect("UTF-8");
    let config = load(MINIMAL, &[("B24KAFKA__ADMIN__TOKEN_FILE", path)]).expect("no fault");
    assert_eq!(config.admin.token.expect("a token").expose_secret(), "t0ken");
    let both = faults(MINIMAL, &[("B24KAFKA__APP__CLIENT_SECRET_FILE", path)]);
    let begin =
        "B24KAFKA__APP__CLIENT_SECRET_FILE: app.client_secret_file is given together with client_secret (c.toml:3)";
    assert!(both.len() == 1 && both[0].starts_with(begin), "{both:?}");
    let none = fault("[admin]\ntoken_file = \"/none/token\"\n");
    assert!(none.starts_with("c.toml:5: admin.token_file names /none/token, which cannot be read"), "{none}");
    for text in [
        "[app]\nclient_id = \"a\"\nclient_secret = [\"s3cr3t\"]\n",
        "[app]\nclient_id=\"a\"\nclient_secrt = \"s3cr3t\"\n",
    ] {
        let found = faults(text, &[]).concat();
        assert!(!found.contains("s3cr3t"), "{found}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("c.toml");
    let load = || Config::load(&file, std::iter::empty()).expect_err("a fault").to_string();
    assert!(load().contains("create it or give another path"), "{}", load());
    std::fs::write(&file, b"[app]\n\nclient_id = \"\xff\"").expect("written");
    assert!(load().contains("c.toml:3: the file is not UTF-8"), "{}", load());
    std::fs::write(&file, vec![b'\n'; 2 << 20]).expect("written");
    assert!(load().contains("larger than"), "{}", load());
    assert!(Config::load(dir.path(), std::iter::empty()).is_err());
}

/// The example's keys: section, name, value; lines `#key = value` are keys that have no default.
fn example() -> Vec<(String, String, bool)> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in EXAMPLE.lines() {
        let (commented, line) = line.strip_prefix('#').map_or((false, line), |line| (true, line));
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_start_matches('[').split(']').next().expect("a name").to_owned();
        } else if let Some((name, value)) = line.split_once(" = ")
            && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            keys.push((format!("{section}.{name}"), value.to_owned(), commented));
        }
    }
    keys
}

#[test]
fn the_example_holds_every_key_with_its_default() {
    let known: BTreeSet<String> = Config::keys().into_iter().map(|key| key.path).collect();
    let mut shown: BTreeSet<String> = example().into_iter().map(|(key, ..)| key).collect();
    // The section itself stands for its free keys.
    assert!(EXAMPLE.contains("[kafka.options]"));
    shown.retain(|key| !key.starts_with("kafka.options."));
    shown.insert("kafka.options".into());
    assert_eq!(shown, known);
    let plain = |text: &str| {
        source::parse_value(text)
            .map(|value| format!("{:?}", form::Given { value: &value, variable: false }.structured()))
    };
    for key in Config::keys() {
        let (_, value, commented) = example().into_iter().find(|(path, ..)| *path == key.path).unwrap_or_default();
        if let (Some(default), false) = (&key.default, key.path == "kafka.options") {
            assert_eq!(plain(&value), plain(default), "{}", key.path);
        }
        assert!(!key.required || !commented || key.path.starts_with("portals."), "{} has to be given", key.path);
    }
}

#[test]
fn the_example_loads() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("secret");
    std::fs::write(&file, "x").expect("written");
    let path = file.to_str().expect("UTF-8");
    let env = [("B24KAFKA__APP__CLIENT_SECRET_FILE", path), ("B24KAFKA__PORTALS", "[]")];
    load(EXAMPLE, &env).expect("no fault");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_text_makes_the_loader_panic(text in ".{0,200}", value in ".{0,40}") {
        let _ = load(&text, &[("B24KAFKA__QUEUES", &value), ("B24KAFKA__FETCH__POLL_MIN", &value)]);
    }

    #[test]
    fn no_value_makes_the_loader_panic(key in 0_usize..200, value in "[-0-9a-z\"{}\\[\\],. =:/\u{e9}]{0,30}") {
        let keys = Config::keys();
        let path = &keys[key % keys.len()].path;
        let name = format!("{}{}", source::PREFIX, path.replace('.', "__").to_uppercase());
        let _ = load(MINIMAL, &[(&name, &value)]);
        let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
        let list = matches!(section, "queues" | "portals");
        let header = if list { format!("[[{section}]]") } else { format!("[{section}]") };
        let _ = load(&format!("{header}\n{key} = {value}\n"), &[]);
    }

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("c.toml");
        std::fs::write(&file, bytes).expect("written");
        let _ = Config::load(&file, std::iter::empty());
    }
}
