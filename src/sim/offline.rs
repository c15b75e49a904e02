//! `event.offline.*` (protocol reference section 2).

use rand::Rng;

use super::{
    failure::Failure,
    filter::{Field, Filter, Order},
    ledger::Fate,
    methods::{Answer, admin},
    php::Php,
    queue::{Chosen, Get, PAGE, Source},
    row::Hex,
    state::{Caller, State},
};

/// Rows that a `get` without `limit` returns.
const DEFAULT_LIMIT: usize = 50;

/// A `get` between its two steps: chosen, but not marked yet.
#[derive(Clone, Debug)]
pub struct Selected {
    get: Get,
    clear: bool,
    ids: Vec<u64>,
}

/// The first step of `event.offline.get`.
pub fn select(state: &mut State, caller: &Caller, params: &Php) -> Result<Selected, Failure> {
    admin(state, caller)?;
    let clear = params.get("clear").is_none_or(|clear| clear.int() != 0);
    let process = params.get("process_id").and_then(Php::text).filter(|p| !p.is_empty());
    let limit = match params.get("limit") {
        None | Some(Php::Null) => DEFAULT_LIMIT,
        Some(limit) => usize::try_from(limit.int())
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| Failure::argument("Value must be greater than 0: limit"))?,
    };
    if !clear && !state.has("rest_offline_extended") {
        return Err(Failure::license());
    }
    let get = Get {
        source: process.map_or(Source::Free, |p| Source::Reservation(Hex::parse(p))),
        filter: filter(state, params, false)?,
        order: Order::parse(params.get("order"), Field::ChangedAt, false)?,
        limit,
        error: params.get("error").is_some_and(|e| e.int() != 0),
    };
    state.misuse.careless_rereads += u64::from(process.is_some() && params.get("clear").is_none());
    let ids = state.queue(&caller.connector).select(&get);
    let known = process.is_none() && get.filter.is_bounded() && state.ledger.has_shown(&ids);
    state.misuse.destructive_gets += u64::from(clear && !known);
    Ok(Selected { get, clear, ids })
}

/// The second step: marks or deletes, and shows the rows.
pub fn finish(state: &mut State, caller: &Caller, selected: Selected) -> Answer {
    let Selected { get, clear, ids } = selected;
    let (process, ids) = match get.source {
        Source::Reservation(process) => (process.unwrap_or(Hex([0; 16])), ids),
        Source::Free => {
            let process = Hex(state.rng.random());
            let marked = if clear { ids } else { state.queue(&caller.connector).mark(&ids, process) };
            if !clear {
                state.ledger.settle(&marked, Fate::Reserved(process));
            }
            (process, marked)
        }
    };
    let events = state.render(&caller.connector, &ids, false);
    let rows = ids.len();
    if clear {
        let queue = state.queue(&caller.connector);
        // A re-read that clears deletes the whole reservation, also what did not fit into the limit.
        let doomed = match get.source {
            Source::Reservation(process) => queue.chosen(process, &Chosen::All),
            Source::Free => ids,
        };
        let gone = queue.delete(&doomed);
        state.ledger.settle(&gone, Fate::Got);
    }
    let process = if clear { "null".to_owned() } else { format!("\"{process}\"") };
    Answer { rows, ..Answer::new(format!(r#"{{"process_id":{process},"events":{events}}}"#)) }
}

fn filter(state: &State, params: &Php, full: bool) -> Result<Filter, Failure> {
    let filter = Filter::parse(params.get("filter"), &state.zone, full)?;
    Ok(if state.deaf { filter.without_messages() } else { filter })
}

/// `event.offline.list`.
pub fn list(state: &mut State, caller: &Caller, params: &Php) -> Result<Answer, Failure> {
    admin(state, caller)?;
    let filter = filter(state, params, true)?;
    let order = Order::parse(params.get("order"), Field::Id, true)?;
    let start = params.get("start").map_or(0, Php::int);
    let start = usize::try_from(start).unwrap_or(0);
    let (ids, total) = state.queue(&caller.connector).list(&filter, &order, start);
    let next = (start + PAGE < total).then_some(start + PAGE);
    state.ledger.show(&ids);
    Ok(Answer { json: state.render(&caller.connector, &ids, true), total: Some(total), next, rows: ids.len() })
}

/// `event.offline.clear`. `message_id` is looked at before `id`, whatever the documentation says.
pub fn clear(state: &mut State, caller: &Caller, params: &Php) -> Result<Answer, Failure> {
    admin(state, caller)?;
    let process = required_process(params)?;
    let (messages, ids) = (params.get("message_id"), params.get("id"));
    let is_empty =
        |list: Option<&Php>| list.is_some_and(|l| l.entries().is_empty() && l.text().is_none_or(str::is_empty));
    let listed = |list: Option<&Php>| list.is_some() && !is_empty(list);
    let chosen = if listed(messages) {
        Chosen::Messages(message_ids(messages)?)
    } else if listed(ids) {
        Chosen::Ids(row_ids(ids)?)
    } else {
        if is_empty(messages) || is_empty(ids) {
            state.misuse.empty_clears += 1;
        } else {
            state.misuse.listless_clears += 1;
        }
        Chosen::All
    };
    let queue = state.queue(&caller.connector);
    let ids = queue.chosen(process, &chosen);
    let gone = queue.delete(&ids);
    if let Some(process) = process {
        state.ledger.settle(&gone, Fate::Cleared(process));
    }
    Ok(Answer { rows: gone.len(), ..Answer::new("true") })
}

/// `event.offline.error`.
pub fn error(state: &mut State, caller: &Caller, params: &Php) -> Result<Answer, Failure> {
    admin(state, caller)?;
    let process = required_process(params)?;
    let messages = message_ids(params.get("message_id"))?;
    state.misuse.error_calls += 1;
    if messages.is_empty() {
        return Ok(Answer::new("true"));
    }
    let queue = state.queue(&caller.connector);
    let ids = queue.chosen(process, &Chosen::Messages(messages));
    let (errors, twins) = queue.error(&ids);
    state.ledger.settle(&errors, Fate::Error);
    state.ledger.settle(&twins, Fate::TwinDeleted);
    Ok(Answer::new("true"))
}

/// The reservation; an id that the portal cannot have given names none.
fn required_process(params: &Php) -> Result<Option<Hex>, Failure> {
    match params.get("process_id").and_then(Php::text) {
        None | Some("") => Err(Failure::argument("Argument 'process_id' is null or empty")),
        Some(process) => Ok(Hex::parse(process)),
    }
}

/// The entries of a list; a scalar is a list of one.
fn items(list: Option<&Php>) -> Vec<&Php> {
    match list {
        Some(Php::Map(entries)) => entries.iter().map(|(_, value)| value).collect(),
        Some(Php::Null) | None => Vec::new(),
        Some(scalar) => vec![scalar],
    }
}

fn message_ids(list: Option<&Php>) -> Result<Vec<Option<Hex>>, Failure> {
    let check = |item: &Php| match item.text() {
        Some(text) if text.len() == 32 => Ok(Hex::parse(text)),
        _ => Err(Failure::argument("Value must be a string of 32 characters: message_id")),
    };
    items(list).into_iter().map(check).collect()
}

fn row_ids(list: Option<&Php>) -> Result<Vec<u64>, Failure> {
    let check = |item: &Php| match u64::try_from(item.int()) {
        Ok(id) if id > 0 && item.text().is_some() => Ok(id),
        _ => Err(Failure::argument("Value must be a positive integer: id")),
    };
    items(list).into_iter().map(check).collect()
}
