//! What is told of one portal.

use crate::{
    fleet::portal::{Portal, Queue},
    http::admin::portal::{
        BudgetView, ErrorRowsView, ExchangeView, LimitsView, MethodView, NextView, PortalView, QueueView, TroubleView,
        UnboundView,
    },
    metrics::labels::PortalState,
    runner::{
        limits::Left,
        standing::Reason,
        status::{Next, Step},
    },
};

/// The portal at this moment. Holds no secret.
pub(super) fn of(portal: &Portal) -> PortalView {
    let (session, standing) = (portal.session(), portal.session().standing());
    let seen = standing.snapshot();
    let queues: Vec<QueueView> = portal.queues().iter().map(|queue| show(queue, portal.is_served())).collect();
    let unbound = portal.missing().get().into_iter().map(|unbound| UnboundView {
        connector: unbound.connector.as_str().to_owned(),
        event: unbound.event,
        code: unbound.code,
    });
    let troubles = standing.troubles().into_iter();
    PortalView {
        member_id: portal.id().to_string(),
        domain: portal.domain().to_string(),
        state: seen.state.as_str(),
        reason: seen.reason.map(Reason::as_str),
        advice: seen.reason.map(Reason::advice),
        mode: session.licence().mode().as_str(),
        last_error: seen.last_error,
        last_errors: troubles.map(|t| TroubleView { at: t.at, error: t.error, times: t.times }).collect(),
        last_success: seen.last_success,
        next: next(seen.state, seen.reason, session.tried_at(), &queues),
        limits: limits(session.limits()),
        unbound: unbound.collect(),
        rows_unreadable: session.rows_unreadable(),
        rows_stuck: portal.queues().iter().map(|queue| queue.status().stuck()).sum(),
        queues,
    }
}

fn next(state: PortalState, reason: Option<Reason>, tried_at: Option<f64>, queues: &[QueueView]) -> NextView {
    let now = |action| NextView { action, at: None };
    match (state, reason) {
        (PortalState::Removed, _) => now("nothing, until the application is installed again"),
        (_, Some(Reason::Operator)) => now("nothing, until an operator resumes it"),
        (PortalState::Parked, _) => NextView { action: "it is tried again", at: tried_at },
        (PortalState::Starting, _) => now("it is asked what it can do"),
        (PortalState::Active, _) => {
            let due = |queue: &&QueueView| queue.next.at.is_some();
            let busy = queues.iter().find(|queue| !due(queue));
            let soonest =
                queues.iter().filter(due).min_by(|a, b| a.next.at.unwrap_or(0.0).total_cmp(&b.next.at.unwrap_or(0.0)));
            busy.or(soonest).map_or(now("nothing"), |queue| queue.next.clone())
        }
    }
}

fn show(queue: &Queue, is_served: bool) -> QueueView {
    let status = queue.status();
    let read = status.last_read();
    let Next { step, at } = if is_served { status.next() } else { Next::default() };
    let action = match step {
        Step::None => "nothing yet",
        Step::Answer => "the portal's answer is awaited",
        Step::Acknowledgements => "Kafka's acknowledgements are awaited",
        Step::Produce => "what Kafka has not taken is produced again",
        Step::Confirm => "what Kafka has acknowledged is cleared",
        Step::Read => "it is asked for rows",
    };
    QueueView {
        connector: queue.connector().as_str().to_owned(),
        held: status.held(),
        unconfirmed: status.unconfirmed(),
        limit: status.limit(),
        barred: status.is_barred(),
        more: read.is_some_and(|read| read.full),
        last_exchange: read.map(|read| ExchangeView { at: read.at, rows: read.rows, seconds: read.took }),
        wake_ups: status.wake_ups().as_str(),
        next: NextView { action, at },
        error_rows: status.error_rows().map(|rows| ErrorRowsView { rows: rows.rows, counted_at: rows.counted_at }),
    }
}

fn limits(left: Left) -> LimitsView {
    let budget = left.budget.map(|budget| BudgetView {
        spent: budget.spent,
        ceiling: budget.ceiling,
        per_second: budget.per_second,
        held_until: budget.held_until,
    });
    let methods = left.methods.into_iter();
    let methods = methods.map(|m| MethodView { method: m.method, seconds: m.seconds, reset_at: m.reset_at });
    LimitsView { budget, methods: methods.collect(), rests_until: left.rests_until }
}
