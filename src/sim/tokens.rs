//! The tokens of the application at one portal (protocol reference section 4).

use std::{collections::VecDeque, fmt::Write as _, time::Duration};

use rand::{Rng, rngs::SmallRng};

use super::failure::Failure;

/// Access tokens that are remembered per portal; older ones are unknown.
const REMEMBERED: usize = 8;
/// Pairs that were issued last and can be told; a test that looks for them everywhere issues fewer.
const TOLD: usize = 1024;

/// How long a code of an authorization by hand is good for, in milliseconds.
const CODE_LIFE: i64 = 30_000;

/// A pair as OAuth hands it out.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The access token.
    pub access: String,
    /// The refresh token; it replaces the one that was presented.
    pub refresh: String,
    /// When the access token expires, unix seconds.
    pub expires: i64,
}

/// What is known of a portal's tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    portal: usize,
    access: VecDeque<(String, i64)>,
    refresh: Option<String>,
    rotated: VecDeque<String>,
    issued: VecDeque<Pair>,
    /// A code that nobody has exchanged yet, and when it was issued.
    code: Option<(String, i64)>,
    /// The newest pair of an ordinary employee, who has a chain of his own.
    employee: Option<Pair>,
    /// How long an access token lives.
    pub life: Duration,
    /// Whether the token before the last one is still taken: what a lenient OAuth server does.
    pub lenient: bool,
}

/// What is wrong with a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The current one.
    Current,
    /// The current one of an ordinary employee.
    Employee,
    /// One that was replaced.
    Rotated,
    /// Never seen, or revoked.
    Unknown,
}

impl Tokens {
    /// Tokens of portal number `portal` that live an hour; none is issued yet.
    pub fn new(portal: usize) -> Self {
        let life = Duration::from_secs(3600);
        let (access, rotated, issued) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { portal, access, refresh: None, rotated, issued, code: None, employee: None, life, lenient: false }
    }

    /// The number of the portal that a refresh token belongs to.
    pub fn portal_of(token: &str) -> Option<usize> {
        usize::from_str_radix(token.get(..8)?, 16).ok()
    }

    /// Issues a new pair; the old refresh token is rotated, old access tokens live on until they expire.
    pub fn issue(&mut self, now: i64, rng: &mut SmallRng) -> Pair {
        let life = i64::try_from(self.life.as_millis()).unwrap_or(i64::MAX / 2);
        let (access, refresh) = (self.token(rng), self.token(rng));
        self.access.push_front((access.clone(), now + life));
        self.access.truncate(REMEMBERED);
        if let Some(old) = self.refresh.replace(refresh.clone()) {
            self.rotated.push_front(old);
            self.rotated.truncate(REMEMBERED);
        }
        let pair = Pair { access, refresh, expires: (now + life) / 1000 };
        if self.issued.len() == TOLD {
            self.issued.pop_front();
        }
        self.issued.push_back(pair.clone());
        pair
    }

    /// Issues a new pair for an ordinary employee; the administrator's lives on.
    pub fn issue_employee(&mut self, now: i64, rng: &mut SmallRng) -> Pair {
        let life = i64::try_from(self.life.as_millis()).unwrap_or(i64::MAX / 2);
        let pair = Pair { access: self.token(rng), refresh: self.token(rng), expires: (now + life) / 1000 };
        self.employee = Some(pair.clone());
        pair
    }

    /// Whether this is an access token of an ordinary employee.
    pub fn is_employee(&self, token: Option<&str>) -> bool {
        self.employee.as_ref().is_some_and(|pair| token == Some(pair.access.as_str()))
    }

    /// The pairs that were issued, the oldest first.
    pub fn issued(&self) -> impl Iterator<Item = &Pair> {
        self.issued.iter()
    }

    /// A fresh access token beside the current refresh token: what a wake-up carries. It rotates nothing, so a wake-up
    /// that gets lost does no harm.
    pub fn issue_access(&mut self, now: i64, rng: &mut SmallRng) -> Pair {
        let current = self.refresh.take();
        let mut pair = self.issue(now, rng);
        if let Some(current) = current {
            self.refresh = Some(current.clone());
            pair.refresh = current;
        }
        pair
    }

    /// A code as it comes with an authorization by hand; it takes the place of an earlier one.
    pub fn issue_code(&mut self, now: i64, rng: &mut SmallRng) -> &str {
        let code = self.token(rng);
        &self.code.insert((code, now)).0
    }

    /// Whether the code may be exchanged now; it may not another time.
    pub fn take_code(&mut self, code: &str, now: i64) -> bool {
        self.code.take_if(|(known, _)| known == code).is_some_and(|(_, at)| now < at + CODE_LIFE)
    }

    fn token(&self, rng: &mut SmallRng) -> String {
        let mut token = format!("{:08x}", self.portal);
        for _ in 0..4 {
            let _ = write!(token, "{:016x}", rng.random::<u64>());
        }
        token
    }

    /// Checks the token of a call.
    pub fn check(&self, token: Option<&str>, now: i64) -> Result<(), Failure> {
        let Some(token) = token.filter(|t| !t.is_empty()) else { return Err(Failure::by_code("NO_AUTH_FOUND")) };
        if self.employee.as_ref().is_some_and(|pair| pair.access == token && now / 1000 < pair.expires) {
            return Ok(());
        }
        match self.access.iter().find(|(known, _)| known == token) {
            Some((_, expires)) if now < *expires => Ok(()),
            Some(_) => Err(Failure::by_code("expired_token")),
            None => Err(Failure::by_code("invalid_token")),
        }
    }

    /// Looks at a refresh token.
    pub fn presented(&self, token: &str) -> Presented {
        match &self.refresh {
            Some(current) if current == token => Presented::Current,
            _ if self.employee.as_ref().is_some_and(|pair| pair.refresh == token) => Presented::Employee,
            _ if self.rotated.iter().any(|old| old == token) => Presented::Rotated,
            _ => Presented::Unknown,
        }
    }

    /// Whether the token was current until the last refresh.
    pub fn is_last_rotated(&self, token: &str) -> bool {
        self.rotated.front().is_some_and(|old| old == token)
    }

    /// Lets all access tokens expire.
    pub fn expire(&mut self, now: i64) {
        self.access.iter_mut().for_each(|(_, expires)| *expires = now.min(*expires));
        self.employee.iter_mut().for_each(|pair| pair.expires = pair.expires.min(now / 1000));
    }

    /// Forgets all tokens: the application was removed, or its rights were.
    pub fn revoke(&mut self) {
        (self.refresh, self.access, self.rotated) = (None, VecDeque::new(), VecDeque::new());
        self.employee = None;
    }

    /// The newest access token.
    pub fn access(&self) -> &str {
        self.access.front().map_or("", |(token, _)| token)
    }

    /// The current refresh token.
    pub fn refresh(&self) -> &str {
        self.refresh.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_pair_is_rotated_and_an_old_access_token_lives_on() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut tokens = Tokens::new(300);
        let first = tokens.issue(0, &mut rng);
        let second = tokens.issue(1000, &mut rng);
        assert_eq!(tokens.presented(&first.refresh), Presented::Rotated);
        assert_eq!(tokens.presented(&second.refresh), Presented::Current);
        assert_eq!(tokens.presented("x"), Presented::Unknown);
        let issued: Vec<&str> = tokens.issued().map(|pair| pair.refresh.as_str()).collect();
        assert_eq!(issued, [&first.refresh, &second.refresh]);
        assert_eq!(Tokens::portal_of(&second.refresh), Some(300));
        assert!(tokens.is_last_rotated(&first.refresh));
        assert!(tokens.check(Some(&first.access), 3_599_999).is_ok());
        let code = |token, now| tokens.check(token, now).unwrap_err().code;
        assert_eq!(code(Some(&first.access), 3_600_000), "expired_token");
        assert_eq!(code(Some("x"), 0), "invalid_token");
        assert_eq!((code(None, 0), code(Some(""), 0)), ("NO_AUTH_FOUND".into(), "NO_AUTH_FOUND".into()));
        let code = tokens.issue_code(0, &mut rng).to_owned();
        assert!(!tokens.take_code("x", 0) && tokens.take_code(&code, 29_999) && !tokens.take_code(&code, 29_999));
        let late = tokens.issue_code(0, &mut rng).to_owned();
        assert!(!tokens.take_code(&late, 30_000));
        let employee = tokens.issue_employee(1000, &mut rng);
        assert_eq!(tokens.presented(&employee.refresh), Presented::Employee);
        assert_eq!(tokens.presented(&second.refresh), Presented::Current, "the administrator's lives on");
        assert!(tokens.check(Some(&employee.access), 1000).is_ok() && tokens.is_employee(Some(&employee.access)));
        assert!(!tokens.is_employee(Some(&second.access)) && !tokens.is_employee(None));
        tokens.expire(5);
        assert!(tokens.check(Some(&employee.access), 1000).is_err());
        assert!(tokens.check(Some(&second.access), 5).is_err());
        tokens.revoke();
        assert_eq!(tokens.presented(&second.refresh), Presented::Unknown);
    }
}
