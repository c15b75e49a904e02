//! One REST request: faults, limits, authorization, execution, and the `time` block.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use hyper::{Response, StatusCode};
use tokio::time::{Instant, sleep};

use super::{
    batch::{self, Results},
    failure::Failure,
    faults::{Level, Trouble},
    methods::{self, Answer},
    offline,
    php::Php,
    portal::Shared,
    server::{Cut, Reply, World, detached, json, page, truncated},
    state::{Caller, State},
};

/// How long the end of an abandoned request may take to be noticed.
const GRACE: Duration = Duration::from_millis(200);

/// A request, read.
#[derive(Debug)]
struct Call {
    method: String,
    params: Php,
    caller: Caller,
    /// By which much the work takes longer than it should.
    slow: Duration,
}

/// Answers a request to a portal, unless a fault says otherwise.
pub(super) async fn answer(
    world: &Arc<World>,
    portal: &Arc<Shared>,
    tail: &str,
    params: Php,
) -> Result<Response<Body>, Cut> {
    let tail = tail.trim_matches('/');
    let (hook, method) = tail.rsplit_once('/').map_or((None, tail), |(hook, method)| (Some(hook), method));
    let connector = params.get("auth_connector").and_then(Php::text).unwrap_or_default().to_owned();
    let caller = Caller { connector, webhook: hook.is_some(), employee: false };
    let mut call = Call { method: batch::normal(method), params, caller, slow: Duration::ZERO };
    let commands = if call.method == "batch" { batch::commands(&call.params) } else { Vec::new() };
    let mut methods = vec![call.method.as_str()];
    methods.extend(commands.iter().map(|c| c.method.as_str()));
    let gets = methods.contains(&"event.offline.get");
    let (trouble, cap) = {
        let mut state = portal.lock();
        state.requests.http += 1;
        (state.strike(&methods, Level::Request), state.limits.request_cap)
    };
    let mut awaited = gets.then(|| Awaited::new(portal, &call.caller.connector));
    if let Some(Trouble::Slow(by)) = &trouble {
        call.slow = *by;
    }
    let work = perform(portal.clone(), call, cap);
    let reply = match trouble {
        None | Some(Trouble::Slow(_) | Trouble::Split(_)) => detached(world, work).await.map(json),
        Some(Trouble::LostRequest) => Err(Cut),
        Some(Trouble::LostAnswer) => detached(world, work).await.and(Err(Cut)),
        Some(Trouble::Late(after)) => {
            let late = detached(world, async move {
                sleep(after.min(cap)).await;
                work.await
            });
            // The proxy gives up when the request must be dead; the work is detached and needs nobody to wait for it.
            let (_, ()) = tokio::join!(late, sleep(cap));
            Ok(page(StatusCode::GATEWAY_TIMEOUT))
        }
        Some(Trouble::Status { status, executed }) => {
            if executed {
                detached(world, work).await?;
            }
            Ok(page(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)))
        }
        Some(Trouble::Truncated) => detached(world, work).await.map(truncated),
        Some(Trouble::Without(member)) => detached(world, work).await.map(|reply| json(without(reply, member))),
        Some(Trouble::ExpireTokens) => {
            let now = portal.clock.now();
            portal.lock().tokens.expire(now);
            detached(world, work).await.map(json)
        }
        Some(Trouble::Refuse(failure)) => Ok(json(Reply::failure(&failure))),
    };
    if let Some(awaited) = &mut awaited {
        awaited.answered = true;
    }
    reply
}

/// The answer with another name for a member.
fn without(reply: Reply, member: &str) -> Reply {
    Reply { body: reply.body.replace(&format!("\"{member}\":"), &format!("\"NO_{member}\":")), ..reply }
}

/// Executes a request. It may take as long as the limits say that it costs, but never longer than the cap.
async fn perform(portal: Arc<Shared>, mut call: Call, cap: Duration) -> Reply {
    let start = portal.clock.now();
    let begun = {
        let mut state = portal.lock();
        state.purge(start, false);
        let token = call.params.get("auth").or_else(|| call.params.get("access_token")).and_then(Php::text);
        call.caller.employee = state.tokens.is_employee(token);
        state.admit(start).and_then(|()| if call.caller.webhook { Ok(()) } else { state.tokens.check(token, start) })
    };
    if let Err(failure) = begun {
        return Reply::failure(&failure);
    }
    let (answer, took) = if call.method == "batch" {
        run_batch(&portal, &call).await
    } else {
        run(&portal, &call.caller, &call.method, &call.params, call.slow).await
    };
    let took = if call.method == "batch" { took } else { took + call.slow };
    portal.changed.notify_waiters();
    if took > cap {
        sleep(cap).await;
        let failure = Failure::new(504, "GATEWAY_TIMEOUT", "The request ran too long");
        return Reply::failure(&failure);
    }
    if !took.is_zero() {
        sleep(took).await;
    }
    match answer {
        Ok(answer) => {
            let time = time(&mut portal.lock(), &call.method, start, took);
            let mut body = format!(r#"{{"result":{}"#, answer.json);
            for (name, number) in [("total", answer.total), ("next", answer.next)] {
                if let Some(number) = number {
                    body.push_str(&format!(r#","{name}":{number}"#));
                }
            }
            body.push_str(",\"time\":");
            body.push_str(&time);
            body.push('}');
            Reply { status: 200, body }
        }
        Err(failure) => Reply::failure(&failure),
    }
}

async fn run_batch(portal: &Arc<Shared>, call: &Call) -> (Result<Answer, Failure>, Duration) {
    let halt = call.params.get("halt").is_some_and(|halt| halt.int() != 0);
    let (mut results, mut took, mut rows) = (Results::default(), call.slow, 0);
    for (index, command) in batch::commands(&call.params).iter().enumerate() {
        let start = portal.clock.now();
        let slow = if command.method == "event.offline.get" { call.slow } else { Duration::ZERO };
        let (answer, each) = match batch::forbidden(index, command) {
            Some(failure) => (Err(failure), Duration::ZERO),
            None => {
                let params = results.params(command);
                run(portal, &call.caller, &command.method, &params, slow).await
            }
        };
        took += each;
        rows += answer.as_ref().map_or(0, |a| a.rows);
        let time = answer.is_ok().then(|| time(&mut portal.lock(), &command.method, start, each + slow));
        let failed = answer.is_err();
        results.add(&command.key, answer, time);
        if failed && halt {
            break;
        }
    }
    (Ok(Answer { rows, ..Answer::new(results.json()) }), took)
}

/// Executes one call: at once, unless a fault splits a `get` into its two steps. Tells how long it took.
async fn run(
    portal: &Arc<Shared>,
    caller: &Caller,
    method: &str,
    params: &Php,
    slow: Duration,
) -> (Result<Answer, Failure>, Duration) {
    let now = portal.clock.now();
    let (selected, gap) = {
        let mut state = portal.lock();
        *count(&mut state, method) += 1;
        let limits = state.limits.clone();
        if !state.usage.may_operate(&limits, method, now) {
            return (Err(Failure::by_code("OPERATION_TIME_LIMIT")), Duration::ZERO);
        }
        match state.strike(&[method], Level::Call) {
            Some(Trouble::Refuse(failure)) => return (Err(failure), Duration::ZERO),
            Some(Trouble::Split(gap)) if method == "event.offline.get" => {
                (offline::select(&mut state, caller, params), gap)
            }
            _ => {
                let answer = methods::call(&mut state, now, caller, method, params);
                let took = state.charge(method, now, slow, &answer);
                let unheard = std::mem::take(&mut state.unheard);
                drop(state);
                portal.ring(unheard);
                return (answer, took);
            }
        }
    };
    let selected = match selected {
        Ok(selected) => selected,
        Err(failure) => return (Err(failure), Duration::ZERO),
    };
    sleep(gap).await;
    let mut state = portal.lock();
    let answer = Ok(offline::finish(&mut state, caller, selected));
    let took = state.charge(method, now, slow, &answer);
    (answer, took)
}

fn count<'a>(state: &'a mut State, method: &str) -> &'a mut u64 {
    if !state.requests.calls.contains_key(method) {
        state.requests.calls.insert(method.to_owned(), 0);
    }
    state.requests.calls.entry(method.to_owned()).or_default()
}

/// The `time` block.
fn time(state: &mut State, method: &str, start: i64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let finish = start + i64::try_from(took.as_millis()).unwrap_or(0);
    let (operating, reset) = state.usage.operating(method, start);
    let date_start = state.zone.format(start.div_euclid(1000)).to_owned();
    let date_finish = state.zone.format(finish.div_euclid(1000));
    let (from, from_ms) = (start.div_euclid(1000), start.rem_euclid(1000));
    let (to, to_ms) = (finish.div_euclid(1000), finish.rem_euclid(1000));
    format!(
        r#"{{"start":{from}.{from_ms:03},"finish":{to}.{to_ms:03},"duration":{seconds},"processing":{seconds},"date_start":"{date_start}","date_finish":"{date_finish}","operating_reset_at":{reset},"operating":{operating}}}"#
    )
}

/// A `get` that somebody waits for. A second one on the same queue is misuse, unless the first was abandoned and the
/// server only had not noticed yet; so the first decides, when it ends.
#[derive(Debug)]
struct Awaited {
    portal: Arc<Shared>,
    connector: String,
    number: u64,
    answered: bool,
}

impl Awaited {
    fn new(portal: &Arc<Shared>, connector: &str) -> Self {
        let mut state = portal.lock();
        state.awaited_so_far += 1;
        let number = state.awaited_so_far;
        let others = state.awaited.entry(connector.to_owned()).or_default();
        for contested in others.values_mut() {
            contested.get_or_insert_with(Instant::now);
        }
        others.insert(number, None);
        drop(state);
        Self { portal: portal.clone(), connector: connector.to_owned(), number, answered: false }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut state = self.portal.lock();
        let contested = state.awaited.get_mut(&self.connector).and_then(|others| others.remove(&self.number)).flatten();
        if contested.is_some_and(|since| self.answered || since.elapsed() > GRACE) {
            state.misuse.parallel_gets += 1;
        }
    }
}

/// A refresh that somebody waits for.
#[derive(Debug)]
pub(super) struct Refreshing(Arc<Shared>);

impl Refreshing {
    pub(super) fn new(portal: &Arc<Shared>) -> Self {
        let mut state = portal.lock();
        state.refreshing += 1;
        state.misuse.parallel_refreshes += u64::from(state.refreshing > 1);
        drop(state);
        Self(portal.clone())
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.lock().refreshing -= 1;
    }
}
