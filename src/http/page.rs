//! The status page: what the admin listener knows, for people. Rendered here, without anything from elsewhere.
//!
//! It shows and changes nothing. Every text from outside (domains, event names, error words) is escaped by the template
//! language; styles and script are files of their own, so that the content security policy can refuse everything inline.

mod chart;
mod overview;
mod portal;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use super::admin::View;

/// What a browser may do with the page: load what comes from here and talk to here, nothing else, inline parts included.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Where the page gets what it shows.
pub struct Facts {
    /// What the rest of the listener answers from.
    pub view: Arc<View>,
    /// The sums at this moment.
    pub sums: Box<dyn Fn() -> Sums + Send + Sync>,
    /// The sums of the last hour, oldest first.
    pub history: Box<dyn Fn() -> Vec<Sums> + Send + Sync>,
    /// The span between two samples of the history.
    pub every: Duration,
    /// How the registry is doing.
    pub registry: Box<dyn Fn() -> Place + Send + Sync>,
    /// The last dead letters, newest first.
    pub dead_letters: Box<dyn Fn() -> Vec<DeadLetter> + Send + Sync>,
    /// The topic of dead letters.
    pub dead_letter_topic: String,
}

/// Sums since the start of the process, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Rows taken in.
    pub received: u64,
    /// Rows whose record is acknowledged.
    pub acknowledged: u64,
    /// Rows whose removal a portal has confirmed.
    pub cleared: u64,
    /// Dead letters.
    pub dead: u64,
    /// Requests to portals and OAuth servers.
    pub requests: u64,
    /// Rows that are held at this moment.
    pub held: u64,
}

/// How the registry is doing.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// What it is and where, in words.
    pub name: String,
    /// What the last write ended with, if not well.
    pub trouble: Option<String>,
}

/// A row that went to the dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// When, in seconds since 1970.
    pub at: f64,
    /// Whose row.
    pub member_id: String,
    /// Which row; `None` if it came without a usable `ID`.
    pub row: Option<u64>,
    /// What it was about, if that could be read.
    pub event: Option<String>,
    /// Why.
    pub reason: &'static str,
}

/// What somebody looks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// A part of a domain or of a `member_id`.
    pub q: String,
    /// A state.
    pub state: String,
    /// The page, from 1.
    pub page: usize,
}

/// The routes of the page.
pub fn router(facts: Arc<Facts>) -> Router {
    Router::new()
        .route("/", get(overview_page))
        .route("/portals/{member_id}", get(portal_page))
        .route("/page.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/page.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .with_state(facts)
}

async fn overview_page(State(facts): State<Arc<Facts>>, Query(wanted): Query<Wanted>) -> Response {
    let health = (facts.view.health)();
    let title = if health.healthy { "all is well" } else { "something is wrong" };
    whole(StatusCode::OK, title, &overview::search(&wanted), &overview::live(&facts, &health, &wanted))
}

async fn portal_page(State(facts): State<Arc<Facts>>, Path(member_id): Path<String>) -> Response {
    match (facts.view.portal)(&member_id) {
        Some(found) => {
            let letters: Vec<DeadLetter> =
                (facts.dead_letters)().into_iter().filter(|letter| letter.member_id == member_id).collect();
            whole(StatusCode::OK, &found.domain, &html! {}, &portal::live(&found, &letters, &facts.dead_letter_topic))
        }
        None => whole(StatusCode::NOT_FOUND, "no such portal", &html! {}, &portal::unknown(&member_id)),
    }
}

/// A whole page: `live` is replaced while it is looked at, `still` is not.
fn whole(status: StatusCode, title: &str, still: &Markup, live: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " - b24kafka" }
                link rel="stylesheet" href="/page.css";
                noscript { meta http-equiv="refresh" content="15"; }
                script src="/page.js" defer {}
            }
            body {
                a.skip href="#main" { "To the content" }
                header {
                    a.name href="/" { "b24kafka" }
                    span.version { (env!("CARGO_PKG_VERSION")) }
                    span #link role="status" { "loads anew every 15 seconds" }
                }
                main #main tabindex="-1" {
                    div #live { (live) }
                    (still)
                }
                footer {
                    "Also here: " a href="/health" { "/health" } ", " a href="/metrics" { "/metrics" } ", "
                    a href="/api/portals" { "/api/portals" } ". This page shows and changes nothing; to act, use "
                    code { "b24kafka portals" } "."
                }
            }
        }
    };
    (status, guards("text/html; charset=utf-8"), page.into_string()).into_response()
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    (guards(kind), text).into_response()
}

fn guards(kind: &'static str) -> [(HeaderName, &'static str); 5] {
    [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ]
}

/// A state, in words and never in colour alone.
fn state(state: &str) -> Markup {
    let (class, words) = match state {
        "active" => ("good", "active: its queues are worked"),
        "starting" => ("quiet", "starting: not called yet, or not answered yet"),
        "parked" => ("bad", "parked: it cannot be served until something changes"),
        "removed" => ("quiet", "removed: the application was uninstalled"),
        other => ("", other),
    };
    html! { span class=(class) { (words) } }
}

/// How long ago something was, for people.
fn ago(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a span that was made not negative")]
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..=1 => "just now".to_owned(),
        2..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The table of dead letters.
fn letters(letters: &[DeadLetter], topic: &str) -> Markup {
    html! {
        @if letters.is_empty() {
            p.quiet { "None since the start of this process." }
        } @else {
            div.table { table {
                caption { "The last ones, newest first. They are in the topic " code { (topic) } "." }
                thead { tr { th scope="col" { "When" } th scope="col" { "Portal" } th.number scope="col" { "Row" } th scope="col" { "Event" } th scope="col" { "Reason" } } }
                tbody {
                    @for letter in letters {
                        tr {
                            td { (ago(now() - letter.at)) }
                            td { a href={ "/portals/" (letter.member_id) } { (letter.member_id) } }
                            td.number { @match letter.row { Some(row) => (row), None => "without an ID" } }
                            td { (letter.event.as_deref().unwrap_or("cannot be read")) }
                            td { (reason(letter.reason)) }
                        }
                    }
                }
            } }
        }
    }
}

fn reason(reason: &str) -> String {
    let words = match reason {
        "too_large" => "larger than Kafka takes",
        "invalid_record" => "refused as invalid",
        "malformed_row" => "the portal's row cannot be read",
        _ => return reason.to_owned(),
    };
    format!("{words} ({reason})")
}
