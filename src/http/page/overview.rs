//! The first page: verdict, broker, registry, sums, charts, portals, dead letters.

use std::time::Duration;

use maud::{Markup, html};

use super::{
    Facts, Sums, Wanted, ago,
    chart::{Chart, whole},
    letters, now, state,
};
use crate::http::admin::{Health, portal::PortalView};

/// Portals on one page.
const PAGE: usize = 50;

/// What is replaced while it is looked at.
pub(super) fn live(facts: &Facts, health: &Health, wanted: &Wanted) -> Markup {
    let history = (facts.history)();
    html! {
        h1 { "State of the bridge" }
        (verdict(health))
        (tiles(facts, health, (facts.sums)()))
        h2 { "The last hour" }
        (charts(&history, facts.every))
        h2 #portals { "Portals" }
        (portals((facts.view.portals)(), health, wanted))
        h2 { "Dead letters" }
        (letters(&(facts.dead_letters)(), &facts.dead_letter_topic))
    }
}

/// The search, which keeps its text while the rest is replaced.
pub(super) fn search(wanted: &Wanted) -> Markup {
    html! {
        h2 { "Find a portal" }
        form action="/#portals" method="get" role="search" {
            label { "Domain or member_id" input type="search" name="q" value=(wanted.q) maxlength="100"; }
            label { "State"
                select name="state" {
                    option value="" selected[wanted.state.is_empty()] { "any" }
                    @for state in ["active", "starting", "parked", "removed"] {
                        option value=(state) selected[wanted.state == state] { (state) }
                    }
                }
            }
            button type="submit" { "Find" }
        }
    }
}

fn verdict(health: &Health) -> Markup {
    let (class, words) = match (health.healthy, health.warnings.is_empty()) {
        (true, true) => ("verdict", "All is well."),
        (true, false) => ("verdict warned", "The bridge is working, and somebody should look at this:"),
        (false, _) => ("verdict ill", "Something is wrong:"),
    };
    html! {
        section class=(class) aria-label="Verdict" {
            p { (words) }
            @if !health.problems.is_empty() || !health.warnings.is_empty() {
                ul {
                    @for problem in &health.problems { li { strong { "Problem: " } (problem) } }
                    @for warning in &health.warnings { li { "Warning: " (warning) } }
                }
            }
        }
    }
}

fn tiles(facts: &Facts, health: &Health, sums: Sums) -> Markup {
    let broker = &health.broker;
    let (class, words) = match (broker.answering, broker.acknowledging) {
        (true, true) => ("good", "answers and acknowledges"),
        (true, false) => ("bad", "answers, but does not acknowledge"),
        (false, _) => ("bad", "does not answer"),
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let last = broker.last_acknowledgement_seconds.map_or_else(
        || "no record acknowledged yet".to_owned(),
        |seconds| format!("last record acknowledged {}", ago(seconds as f64)),
    );
    let registry = (facts.registry)();
    let tile = |name: &str, value: u64, note: &str| {
        html! { div.tile { dt { (name) } dd { (whole(value)) } dd.note { (note) } } }
    };
    html! {
        dl.tiles {
            div.tile { dt { "Kafka broker" } dd class=(class) { (words) } dd.note { (last) } }
            div.tile {
                dt { "Registry" }
                @match &registry.trouble {
                    None => { dd.good { "can be written" } dd.note { (registry.name) } }
                    Some(trouble) => { dd.bad { "cannot be written" } dd.note { (registry.name) ": " (trouble) } }
                }
            }
            (tile("Rows received", sums.received, "since the start of this process"))
            (tile("Rows acknowledged by Kafka", sums.acknowledged, "only these are cleared"))
            (tile("Rows cleared at portals", sums.cleared, "known to be gone from the queue"))
            (tile("Rows held", health.rows_held, "received and not acknowledged yet"))
            (tile("Dead letters", sums.dead, "rows that can never become a record"))
        }
    }
}

fn charts(history: &[Sums], every: Duration) -> Markup {
    let rate = |of: fn(&Sums) -> u64| -> Vec<Option<f64>> {
        #[expect(clippy::cast_precision_loss, reason = "differences of counts within half a minute")]
        let difference = |pair: &[Sums]| of(&pair[1]).checked_sub(of(&pair[0])).map(|n| n as f64 / every.as_secs_f64());
        history.windows(2).map(difference).collect()
    };
    #[expect(clippy::cast_precision_loss, reason = "rows that fit into memory")]
    let held: Vec<Option<f64>> = history.iter().map(|sums| Some(sums.held as f64)).collect();
    let minutes = history.len().saturating_sub(1) * usize::try_from(every.as_secs()).unwrap_or(1) / 60;
    let span = match minutes {
        0..=1 => "since the start".to_owned(),
        60.. => "last hour".to_owned(),
        minutes => format!("last {minutes} minutes"),
    };
    let draw = |title, unit, values: &[Option<f64>]| Chart { title, unit, values, span: &span }.draw();
    html! {
        div.charts {
            (draw("Rows received", "a second", &rate(|sums| sums.received)))
            (draw("Rows acknowledged", "a second", &rate(|sums| sums.acknowledged)))
            (draw("Rows held", "rows", &held))
            (draw("Requests to portals", "a second", &rate(|sums| sums.requests)))
        }
    }
}

/// Whether a portal is looked for. Capitals make no difference.
fn fits(wanted: &Wanted, portal: &PortalView) -> bool {
    let text = wanted.q.trim().to_lowercase();
    (wanted.state.is_empty() || portal.state == wanted.state)
        && [&portal.domain, &portal.member_id].iter().any(|name| name.to_lowercase().contains(&text))
}

fn portals(all: Vec<PortalView>, health: &Health, wanted: &Wanted) -> Markup {
    let total = all.len();
    let mut found: Vec<PortalView> = all.into_iter().filter(|portal| fits(wanted, portal)).collect();
    // What needs somebody comes first.
    let rank = |state: &str| ["parked", "starting", "active"].iter().position(|s| *s == state).unwrap_or(3);
    found.sort_by(|a, b| (rank(a.state), &a.domain).cmp(&(rank(b.state), &b.domain)));
    let pages = found.len().div_ceil(PAGE).max(1);
    let page = wanted.page.clamp(1, pages);
    let shown = found.iter().skip((page - 1) * PAGE).take(PAGE);
    let link = |page: usize| format!("/?{}", query(&wanted.q, &wanted.state, page));
    html! {
        p {
            @for (state, count) in &health.portals {
                a href={ "/?" (query("", state, 1)) "#portals" } { (state) ": " (whole(*count)) } " "
            }
        }
        @if total == 0 {
            p.quiet { "No portal is known yet. Install the application on one, or name it in the configuration." }
        } @else if found.is_empty() {
            p.quiet { "No portal fits. " a href="/#portals" { "Show all" } }
        } @else {
            div.table { table {
                caption { (whole(found.len() as u64)) " of " (whole(total as u64)) ", page " (page) " of " (pages) "; what needs somebody comes first" }
                thead { tr { th scope="col" { "Domain" } th scope="col" { "State" } th scope="col" { "Mode" } th.number scope="col" { "Held" } th scope="col" { "Last success" } } }
                tbody { @for portal in shown { (row(portal)) } }
            } }
            @if pages > 1 {
                nav.pages aria-label="Pages of portals" {
                    @if page > 1 { a href=(link(page - 1)) { "previous page" } }
                    @if page < pages { a href=(link(page + 1)) { "next page" } }
                }
            }
        }
    }
}

/// One line of the table.
fn row(portal: &PortalView) -> Markup {
    let held: u64 = portal.queues.iter().map(|queue| queue.held).sum();
    html! {
        tr {
            td { a href={ "/portals/" (portal.member_id) } { (portal.domain) } }
            td {
                (state(portal.state))
                @if let Some(reason) = portal.reason { " (" (reason) ")" }
            }
            td { (portal.mode) }
            td.number { (whole(held)) }
            td { (portal.last_success.map_or_else(|| "never".to_owned(), |at| ago(now() - at))) }
        }
    }
}

fn query(q: &str, state: &str, page: usize) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("q", q)
        .append_pair("state", state)
        .append_pair("page", &page.to_string())
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::portal::{LimitsView, NextView};

    #[test]
    fn a_portal_is_found_by_its_domain_and_its_member_id_whatever_their_capitals() {
        let portal = PortalView {
            member_id: "A223c6B3".to_owned(),
            domain: "Zoo.bitrix24.com".to_owned(),
            state: "active",
            reason: None,
            advice: None,
            mode: "reserve",
            last_error: None,
            last_errors: Vec::new(),
            last_success: None,
            next: NextView { action: "", at: None },
            limits: LimitsView { budget: None, methods: Vec::new(), rests_until: None },
            unbound: Vec::new(),
            rows_unreadable: 0,
            rows_stuck: 0,
            queues: Vec::new(),
        };
        let found = |q: &str, state: &str| fits(&Wanted { q: q.to_owned(), state: state.to_owned(), page: 1 }, &portal);
        for q in ["", "A223c6B3", "a223C6b3", " 23c6b ", "ZOO.", "zoo"] {
            assert!(found(q, "") && found(q, "active") && !found(q, "parked"), "{q}");
        }
        assert!(!found("a224", ""));
    }
}
