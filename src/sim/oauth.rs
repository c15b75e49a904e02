//! The OAuth server: it exchanges refresh tokens, which it rotates, and the codes that an authorization by hand brings
//! (protocol reference section 4).

use super::{
    failure::Failure,
    php::{Php, quote},
    portal::Shared,
    state::State,
    tokens::{Pair, Presented},
};

/// The application, as the OAuth server knows it.
#[derive(Clone, Debug)]
pub struct Application {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: String,
}

/// What is exchanged for a pair of tokens.
#[derive(Clone, Debug)]
pub enum Grant {
    /// A refresh token.
    Refresh(String),
    /// The code that the browser of an administrator was sent on with.
    Code(String),
}

impl Grant {
    /// The token or the code; both begin with the number of their portal.
    pub fn text(&self) -> &str {
        let (Self::Refresh(text) | Self::Code(text)) = self;
        text
    }
}

/// Checks all but the grant itself.
pub fn check(application: &Application, params: &Php) -> Result<Grant, Failure> {
    let text = |name: &str| params.get(name).and_then(Php::text).unwrap_or_default();
    let grant = match text("grant_type") {
        "refresh_token" => Grant::Refresh(text("refresh_token").to_owned()),
        "authorization_code" => Grant::Code(text("code").to_owned()),
        _ => return Err(Failure::by_code("invalid_request")),
    };
    if grant.text().is_empty() {
        return Err(Failure::by_code("invalid_request"));
    }
    if text("client_id") != application.id || text("client_secret") != application.secret {
        return Err(Failure::by_code("invalid_client"));
    }
    Ok(grant)
}

/// Exchanges a grant. A rotated refresh token is refused, unless the server is told to be lenient with the last one; a
/// code is good once, and for some seconds only.
pub fn exchange(shared: &Shared, grant: &Grant) -> Result<String, Failure> {
    let now = shared.clock.now();
    let mut state = shared.lock();
    match grant {
        Grant::Refresh(token) => match state.tokens.presented(token) {
            Presented::Current => {}
            Presented::Employee => {
                let State { tokens, rng, .. } = &mut *state;
                let pair = tokens.issue_employee(now, rng);
                let life = tokens.life.as_secs();
                return Ok(answer(&pair, life, shared, &state.member_id));
            }
            Presented::Rotated => {
                state.misuse.old_refreshes += 1;
                if !(state.tokens.lenient && state.tokens.is_last_rotated(token)) {
                    return Err(Failure::by_code("invalid_grant"));
                }
            }
            Presented::Unknown => return Err(Failure::by_code("invalid_grant")),
        },
        Grant::Code(code) => {
            if !state.tokens.take_code(code, now) {
                return Err(Failure::by_code("invalid_grant"));
            }
        }
    }
    let State { tokens, rng, .. } = &mut *state;
    let pair = tokens.issue(now, rng);
    let life = tokens.life.as_secs();
    Ok(answer(&pair, life, shared, &state.member_id))
}

/// Like the real server's, `domain` is the OAuth server's own name and not the portal's.
fn answer(pair: &Pair, life: u64, shared: &Shared, member_id: &str) -> String {
    format!(
        r#"{{"access_token":{},"expires":{},"expires_in":{life},"scope":"app","domain":"oauth.bitrix.info","server_endpoint":"https://oauth.bitrix.info/rest/","status":"L","client_endpoint":{},"member_id":{},"user_id":1,"refresh_token":{}}}"#,
        quote(&pair.access),
        pair.expires,
        quote(&shared.endpoint),
        quote(member_id),
        quote(&pair.refresh),
    )
}
