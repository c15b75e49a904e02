//! `batch`: up to 50 calls in one request (protocol reference section 2).

use std::collections::HashMap;

use serde_json::Value;

use super::{
    failure::Failure,
    methods::Answer,
    php::{Php, parse_query, write_map},
};

/// Commands in one batch; the rest is refused one by one.
pub const MOST: usize = 50;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its key in `cmd`.
    pub key: String,
    /// The method in lower case.
    pub method: String,
    /// The query, not yet parsed: it may refer to earlier results.
    pub query: String,
}

/// The commands of a `batch` in their order.
pub fn commands(params: &Php) -> Vec<Command> {
    let entries = params.get("cmd").map(Php::entries).unwrap_or_default();
    let command = |(key, value): &(String, Php)| {
        let text = value.text().unwrap_or_default();
        let (method, query) = text.split_once('?').unwrap_or((text, ""));
        Command { key: key.clone(), method: normal(method), query: query.to_owned() }
    };
    entries.iter().map(command).collect()
}

/// A method's name as it is looked up: lower case, without the format.
pub fn normal(method: &str) -> String {
    let method = method.trim().trim_matches('/').to_ascii_lowercase();
    method.strip_suffix(".json").map(str::to_owned).unwrap_or(method)
}

/// What has come of the commands so far.
#[derive(Debug, Default)]
pub struct Results {
    results: Vec<(String, String)>,
    errors: Vec<(String, String)>,
    totals: Vec<(String, String)>,
    nexts: Vec<(String, String)>,
    times: Vec<(String, String)>,
    parsed: HashMap<String, Value>,
}

impl Results {
    /// The parameters of a command, references to earlier results replaced.
    pub fn params(&mut self, command: &Command) -> Php {
        let mut params = parse_query(&command.query);
        if command.query.contains("$result") || command.query.contains("%24result") {
            self.resolve(&mut params);
        }
        params
    }

    fn resolve(&mut self, value: &mut Php) {
        match value {
            Php::Map(entries) => entries.iter_mut().for_each(|(_, value)| self.resolve(value)),
            Php::Text(text) => {
                let Some(at) = text.find("$result[") else { return };
                let (path, rest) = brackets(&text[at + "$result".len()..]);
                let found = self.find(&path);
                *value = if at == 0 && rest.is_empty() {
                    found
                } else {
                    Php::Text(format!("{}{}{rest}", &text[..at], found.text().unwrap_or_default()))
                };
            }
            Php::Null | Php::Bool(_) => {}
        }
    }

    fn find(&mut self, path: &[&str]) -> Php {
        let Some((key, path)) = path.split_first() else { return Php::Null };
        if !self.parsed.contains_key(*key) {
            let json = self.results.iter().find(|(k, _)| k == key).map_or("null", |(_, json)| json);
            self.parsed.insert((*key).to_owned(), serde_json::from_str(json).unwrap_or(Value::Null));
        }
        let mut value = &self.parsed[*key];
        for step in path {
            let inner = match value {
                Value::Array(items) => step.parse::<usize>().ok().and_then(|n| items.get(n)),
                Value::Object(map) => map.get(*step),
                _ => None,
            };
            let Some(inner) = inner else { return Php::Null };
            value = inner;
        }
        serde_json::from_value(value.clone()).unwrap_or(Php::Null)
    }

    /// Notes what came of a command; `time` is its `time` block.
    pub fn add(&mut self, key: &str, answer: Result<Answer, Failure>, time: Option<String>) {
        let key = key.to_owned();
        match answer {
            Ok(Answer { json, total, next, .. }) => {
                self.results.push((key.clone(), json));
                self.totals.extend(total.map(|n| (key.clone(), n.to_string())));
                self.nexts.extend(next.map(|n| (key.clone(), n.to_string())));
                self.times.extend(time.map(|t| (key, t)));
            }
            Err(failure) => self.errors.push((key, failure.json())),
        }
    }

    /// The `result` of the batch.
    pub fn json(&self) -> String {
        let size: usize = self.results.iter().map(|(_, json)| json.len()).sum();
        let mut out = String::with_capacity(size + 4096);
        let parts = [
            ("{\"result\":", &self.results),
            (",\"result_error\":", &self.errors),
            (",\"result_total\":", &self.totals),
            (",\"result_next\":", &self.nexts),
            (",\"result_time\":", &self.times),
        ];
        for (name, entries) in parts {
            out.push_str(name);
            write_map(&mut out, entries);
        }
        out.push('}');
        out
    }
}

/// Reads `[a][b]rest`.
fn brackets(mut text: &str) -> (Vec<&str>, &str) {
    let mut path = Vec::new();
    while let Some(inner) = text.strip_prefix('[')
        && let Some(end) = inner.find(']')
    {
        path.push(&inner[..end]);
        text = &inner[end + 1..];
    }
    (path, text)
}

/// Why a command may not run at all: too many of them, or a batch in a batch.
pub fn forbidden(index: usize, command: &Command) -> Option<Failure> {
    if index >= MOST {
        return Some(Failure::new(400, "ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded"));
    }
    (command.method == "batch")
        .then(|| Failure::new(400, "ERROR_BATCH_METHOD_NOT_ALLOWED", "Method is not allowed for batch usage"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Command {
        commands(&Php::Map(vec![("cmd".into(), Php::Map(vec![("k".into(), Php::Text(text.into()))]))])).remove(0)
    }

    #[test]
    fn commands_keep_their_order_and_lists_get_numbers() {
        let params: Php = serde_json::from_str(r#"{"cmd":{"z":"a.b?x=1","a":"Event.GET.json"}}"#).unwrap();
        let read: Vec<_> = commands(&params).into_iter().map(|c| (c.key, c.method, c.query)).collect();
        let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(read, [row("z", "a.b", "x=1"), row("a", "event.get", "")]);
        let list: Php = serde_json::from_str(r#"{"cmd":["a","b"]}"#).unwrap();
        assert_eq!(commands(&list).iter().map(|c| c.key.as_str()).collect::<Vec<_>>(), ["0", "1"]);
        assert_eq!(commands(&Php::empty()), []);
    }

    #[test]
    fn a_command_can_use_an_earlier_result() {
        let mut results = Results::default();
        results.add("get", Ok(Answer::new(r#"{"process_id":"p","events":[{"ID":"5"},{"ID":"6"}]}"#)), None);
        let params = results.params(&command("m?process_id=$result[get][process_id]&id[]=$result[get][events][1][ID]&t=x-$result[get][process_id]!&n=$result[nothing][x]&all=%24result[get][events][0]"));
        let want: Php =
            serde_json::from_str(r#"{"process_id":"p","id":["6"],"t":"x-p!","n":null,"all":{"ID":"5"}}"#).unwrap();
        assert_eq!(params, want);
    }

    #[test]
    fn empty_maps_are_lists() {
        let mut results = Results::default();
        let empty = r#"{"result":[],"result_error":[],"result_total":[],"result_next":[],"result_time":[]}"#;
        assert_eq!(results.json(), empty);
        results.add("a", Ok(Answer { total: Some(3), ..Answer::new("true") }), Some("{}".into()));
        results.add("b", Err(Failure::argument("no")), None);
        let value: Value = serde_json::from_str(&results.json()).unwrap();
        assert_eq!(value["result"]["a"], true);
        assert_eq!(value["result_error"]["b"]["error"], "ERROR_ARGUMENT");
        assert_eq!((&value["result_total"]["a"], &value["result_next"]), (&3.into(), &serde_json::json!([])));
    }
}
