//! A client that says exactly what the test says, and a portal to say it to.

use b24kafka::sim::{Limits, Options, Portal, Sim};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

pub struct Site {
    pub sim: Sim,
    pub portal: Portal,
    pub http: reqwest::Client,
}

impl Site {
    pub async fn new() -> Self {
        Self::with(Limits::UNLIMITED).await
    }

    pub async fn with(limits: Limits) -> Self {
        let sim = Sim::start(Options { limits, ..Options::default() }).await.expect("a simulator");
        let portal = sim.portal(0).expect("a portal");
        Self { sim, portal, http: reqwest::Client::new() }
    }

    /// A row of a deal in a queue.
    pub fn deal(&self, id: u32, connector: &str) -> u64 {
        self.portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), connector)
    }

    /// Rows of the deals 1 to `most` in the plain queue.
    pub fn deals(&self, most: u32) {
        for id in 1..=most {
            self.deal(id, "");
        }
    }

    /// Status and body of a call with the portal's access token.
    pub async fn call(&self, method: &str, mut params: Value) -> (u16, Value) {
        if params.get("auth").is_none() {
            params["auth"] = json!(self.portal.access_token().expose_secret());
        }
        let url = format!("{}{method}", self.portal.endpoint());
        let answer = self.http.post(url).json(&params).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// The result of a call that works.
    pub async fn ok(&self, method: &str, params: Value) -> Value {
        let (status, body) = self.call(method, params).await;
        assert_eq!(status, 200, "{method}: {body}");
        body["result"].clone()
    }

    /// Status and code of a call that is refused.
    pub async fn refused(&self, method: &str, params: Value) -> (u16, String) {
        let (status, body) = self.call(method, params).await;
        (status, body["error"].as_str().unwrap_or_else(|| panic!("{method} was not refused: {body}")).to_owned())
    }

    /// Reserves rows; the reservation and their ids.
    pub async fn reserve(&self, more: Value) -> (String, Vec<u64>) {
        let mut params = json!({ "clear": 0, "order": { "ID": "ASC" } });
        for (key, value) in more.as_object().expect("an object") {
            params[key] = value.clone();
        }
        let result = self.ok("event.offline.get", params).await;
        (result["process_id"].as_str().expect("a process_id").to_owned(), ids(&result["events"]))
    }
}

pub fn ids(rows: &Value) -> Vec<u64> {
    let id = |row: &Value| row["ID"].as_str().expect("ids are texts").parse().expect("a number");
    rows.as_array().expect("a list").iter().map(id).collect()
}
