//! What the simulator in a container says of itself: a bridge's configuration at its start, an account at its end.

use std::collections::BTreeMap;

/// The keys of one section, as TOML values.
type Section = BTreeMap<String, String>;

/// What it prints at its start.
pub struct Portal {
    app: Section,
    portal: Section,
}

/// What became of the rows.
#[derive(Debug)]
pub struct Account {
    pub cleared: u64,
    pub reserved: u64,
    pub errors: u64,
    pub lost: u64,
}

impl Portal {
    /// Reads its standard output.
    pub fn read(out: &str) -> Self {
        let section = |name: &str| -> Section {
            let lines = out.lines().skip_while(|line| *line != name).skip(1).take_while(|line| !line.starts_with('['));
            let keys = lines.filter_map(|line| line.split_once(" = "));
            keys.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        Self { app: section("[app]"), portal: section("[[portals]]") }
    }

    /// The application's secret, for a file.
    pub fn secret(&self) -> &str {
        self.app["client_secret"].trim_matches('"')
    }

    /// The rest as variables, above the chart's configuration.
    pub fn variables(&self) -> Vec<(String, String)> {
        let plain = self.app.iter().filter(|(key, _)| *key != "client_secret");
        let app = plain
            .map(|(key, value)| (format!("B24KAFKA__APP__{}", key.to_uppercase()), value.trim_matches('"').to_owned()));
        let keys: Vec<String> = self.portal.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        app.chain([("B24KAFKA__PORTALS".to_owned(), format!("[{{ {} }}]", keys.join(", ")))]).collect()
    }
}

impl Account {
    /// Reads the last line of its standard output.
    pub fn read(out: &str) -> Self {
        let line = out.lines().last().expect("an account");
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [rows, cleared, free, reserved, errors, lost] = numbers[..] else { panic!("no account: {line}") };
        assert_eq!(rows, cleared + free + reserved + errors + lost, "{line}");
        Self { cleared, reserved, errors, lost }
    }
}
