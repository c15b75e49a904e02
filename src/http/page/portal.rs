//! The page of one portal: its state in words, what to do about it, its queues, its dead letters.

use maud::{Markup, html};

use super::{
    DeadLetter, ago,
    chart::{figure, whole},
    letters, now, state,
};
use crate::http::admin::portal::{BudgetView, ExchangeView, NextView, PortalView};

/// What is replaced while it is looked at.
pub(super) fn live(portal: &PortalView, dead: &[DeadLetter], topic: &str) -> Markup {
    html! {
        p { a href="/" { "All portals" } }
        h1 { (portal.domain) }
        p { (state(portal.state)) @if let Some(reason) = portal.reason { " (" (reason) ")" } }
        @if let Some(advice) = portal.advice {
            p.todo { strong { "What to do: " } (advice) ". It is tried again from time to time, and at once by "
                code { "b24kafka portals resume " (portal.member_id) } "." }
        }
        dl.facts {
            dt { "member_id" } dd { code { (portal.member_id) } }
            dt { "Mode" } dd { (mode(portal.mode)) }
            dt { "Last success" } dd { (portal.last_success.map_or_else(|| "none yet".to_owned(), |at| ago(now() - at))) }
            dt { "Last error" } dd { (portal.last_error.as_deref().unwrap_or("none since the last success")) }
            dt { "Next" } dd { (next(&portal.next)) }
            dt { "Request budget" } dd { (portal.limits.budget.as_ref().map_or_else(|| "no limit".to_owned(), budget)) }
            @for method in &portal.limits.methods {
                dt { "Working time" } dd { code { (method.method) } ": " (figure(method.seconds)) " s within ten minutes" }
            }
            @if let Some(until) = portal.limits.rests_until.filter(|until| *until > now()) {
                dt { "Rests" } dd { "a method's working time is used up; it goes on " (ahead(until)) }
            }
        }
        @if !portal.last_errors.is_empty() {
            h2 { "Last errors" }
            ul { @for trouble in &portal.last_errors { li { (ago(now() - trouble.at)) ": " (trouble.error) @if trouble.times > 1 { " (" (trouble.times) " times)" } } } }
        }
        h2 { "Queues" }
        div.table { table {
            caption { "One queue for each connector of the configuration." }
            thead { tr {
                th scope="col" { "Connector" } th.number scope="col" { "Held" } th.number scope="col" { "Waiting to be cleared" }
                th.number scope="col" { "Rows asked for" } th scope="col" { "Last exchange" } th scope="col" { "Wake-ups" }
                th scope="col" { "Next" } th scope="col" { "Topic" }
            } }
            tbody {
                @for queue in &portal.queues {
                    tr {
                        td { @if queue.connector.is_empty() { "plain" } @else { (queue.connector) } }
                        td.number { (whole(queue.held)) }
                        td.number { (whole(queue.unconfirmed)) }
                        td.number { (queue.limit) }
                        td { (queue.last_exchange.as_ref().map_or_else(|| "none yet".to_owned(), exchange)) @if queue.more { "; there may be more" } }
                        td { (queue.wake_ups) }
                        td { (next(&queue.next)) }
                        td { @if queue.barred { span.bad { "cannot be written; the log names it" } } @else { "no trouble" } }
                    }
                }
            }
        } }
        (concerns(portal))
        h2 { "Dead letters" }
        (letters(dead, topic))
    }
}

/// Changes that nobody hears of, and why.
fn concerns(portal: &PortalView) -> Markup {
    html! {
        @for (queue, rows) in portal.queues.iter().filter_map(|queue| queue.error_rows.as_ref().map(|rows| (queue, rows))) {
            @if rows.rows > 0 {
                p.todo {
                    (whole(rows.rows)) " error rows in the " @if queue.connector.is_empty() { "plain queue" } @else { "queue " (queue.connector) }
                    ", left by somebody else, counted " (ago(now() - rows.counted_at)) ". Changes of those objects are not heard of until "
                    code { "b24kafka portals sweep-errors " (portal.member_id) } "."
                }
            }
        }
        @if portal.rows_unreadable > 0 {
            p.todo {
                "Rows have come " (whole(portal.rows_unreadable)) " times without a usable ID since the start of this process. "
                "Each goes to the dead letters. "
                @if portal.rows_stuck > 0 {
                    (whole(portal.rows_stuck)) " of them cannot be removed at the portal, since nothing else names them there: tell Bitrix24's support."
                }
            }
        }
        @if !portal.unbound.is_empty() {
            h2 { "Events that are not bound" }
            p { "Changes of these make no rows, so nobody hears of them." }
            ul { @for unbound in &portal.unbound { li { (unbound.event) @if !unbound.connector.is_empty() { " of " (unbound.connector) } ": " code { (unbound.code) } } } }
        }
    }
}

/// Nobody knows this portal.
pub(super) fn unknown(member_id: &str) -> Markup {
    html! {
        p { a href="/" { "All portals" } }
        h1 { "No such portal" }
        p { "No portal with the member_id " code { (member_id) } " is known here. It may have been removed." }
    }
}

fn next(next: &NextView) -> String {
    match next.at.filter(|at| *at > now()) {
        Some(at) => format!("{}, {}", next.action, ahead(at)),
        None => next.action.to_owned(),
    }
}

fn ahead(at: f64) -> String {
    let seconds = (at - now()).max(0.0).ceil();
    if seconds < 120.0 { format!("in {seconds} s") } else { format!("in {} min", (seconds / 60.0).round()) }
}

fn budget(budget: &BudgetView) -> String {
    let used = format!("{} of {} used, {} regained a second", budget.spent, budget.ceiling, budget.per_second);
    match budget.held_until.filter(|until| *until > now()) {
        Some(until) => format!("{used}; the portal said that the limit is reached, it goes on {}", ahead(until)),
        None => used,
    }
}

fn exchange(exchange: &ExchangeView) -> String {
    let rows = whole(exchange.rows as u64);
    format!("{}: {rows} rows in {} s", ago(now() - exchange.at), figure(exchange.seconds))
}

fn mode(mode: &str) -> String {
    match mode {
        "reserve" => "reserve: rows are reserved, published, then cleared".to_owned(),
        "conditional" => {
            "conditional: the plan has no reservations; rows are listed, published, then deleted if unchanged"
                .to_owned()
        }
        other => other.to_owned(),
    }
}
