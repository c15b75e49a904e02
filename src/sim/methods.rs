//! Which method does what. A call is executed at once and whole.

use super::{
    changes,
    failure::Failure,
    offline,
    php::{Php, quote},
    state::{Caller, State},
};

/// The result of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// `result` as JSON.
    pub json: String,
    /// `total` of a list.
    pub total: Option<usize>,
    /// `next` of a list.
    pub next: Option<usize>,
    /// Rows in it, for the cost of the call.
    pub rows: usize,
}

impl Answer {
    /// An answer that is only a result.
    pub fn new(json: impl Into<String>) -> Self {
        Self { json: json.into(), ..Self::default() }
    }
}

/// Executes one call. `batch` is not a call of its own: see `batch`.
pub fn call(state: &mut State, now: i64, caller: &Caller, method: &str, params: &Php) -> Result<Answer, Failure> {
    match method {
        "event.offline.get" => {
            let selected = offline::select(state, caller, params)?;
            Ok(offline::finish(state, caller, selected))
        }
        "event.offline.list" => offline::list(state, caller, params),
        "event.offline.clear" => offline::clear(state, caller, params),
        "event.offline.error" => offline::error(state, caller, params),
        "event.bind" => {
            let licensed = state.has("rest_auth_connector");
            admin(state, caller)?;
            state.handlers.bind(params, &caller.connector, licensed)
        }
        "event.unbind" => {
            admin(state, caller)?;
            state.handlers.unbind(params, &caller.connector)
        }
        "event.get" => Ok(Answer::new(state.handlers.json())),
        "events" => Ok(Answer::new(super::handlers::names_json())),
        "feature.get" => {
            let code = params.get("CODE").or_else(|| params.get("code")).and_then(Php::text).unwrap_or_default();
            let value = if state.has(code) { "Y" } else { "N" };
            Ok(Answer::new(format!(r#"{{"value":"{value}"}}"#)))
        }
        "app.info" => Ok(Answer::new(app_info(state))),
        "server.time" => Ok(Answer::new(quote(state.zone.format(now / 1000)))),
        "profile" => {
            let admin = state.admin && !caller.employee;
            Ok(Answer::new(format!(r#"{{"ID":"1","ADMIN":{admin},"NAME":"Sim","LAST_NAME":"Portal"}}"#)))
        }
        _ => changes::call(state, now, caller, method, params)
            .unwrap_or_else(|| Err(Failure::new(404, "ERROR_METHOD_NOT_FOUND", "Method not found!"))),
    }
}

/// Offline events and bindings need the application's authorization by an administrator.
pub fn admin(state: &State, caller: &Caller) -> Result<(), Failure> {
    if caller.webhook {
        return Err(Failure::new(403, "WRONG_AUTH_TYPE", "Current authorization type is denied for this method"));
    }
    if state.admin && !caller.employee { Ok(()) } else { Err(Failure::denied()) }
}

fn app_info(state: &State) -> String {
    let family = quote(&state.license);
    let license = quote(&format!("en_{}", state.license));
    format!(
        r#"{{"ID":"1","CODE":"local.sim","VERSION":"1","STATUS":"L","INSTALLED":true,"PAYMENT_EXPIRED":"N","DAYS":null,"LANGUAGE_ID":"en","LICENSE":{license},"LICENSE_PREVIOUS":"","LICENSE_TYPE":{family},"LICENSE_FAMILY":{family}}}"#
    )
}
