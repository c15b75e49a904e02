//! Scripted faults: what goes wrong, on which call, how often.
//!
//! The text form, for command lines, is a list separated by commas of `[METHOD:]KIND[@VALUE][=PROBABILITY][#COUNT]`:
//!
//! | kind | what happens | value |
//! | --- | --- | --- |
//! | `lost-request` | the connection closes, nothing is executed | |
//! | `lost-answer` | executed, then the connection closes | |
//! | `late` | no answer; executed after a while, whether or not somebody still waits | how late, `20s` |
//! | `5xx`, `5xx-after` | an error page; nothing is executed, or all of it is | status, `502` |
//! | `html` | a page with status 200, nothing is executed | |
//! | `truncated` | executed, the answer breaks off in the middle | |
//! | `no-time` | executed, the answer does not say what time it is at the portal | |
//! | `no-ids` | executed, the rows of the answer come without their `ID` | |
//! | `slow` | executed, the answer takes its time and says so | how long, `2s` |
//! | `split` | a `get` selects, waits, and only then marks | how long, `100ms` |
//! | `expired` | all access tokens expire before the call | |
//! | `query-limit`, `operation-limit`, `overload`, `denied`, `license`, `deleted`, `grant`, `payment` | refused with that code | |
//!
//! Without a method a fault strikes any REST request; with one, every request that is or holds such a call; `oauth`
//! is the token server. `lost-answer=0.05,late@20s=0.02,event.offline.get:slow@2s#3` is an example.

use std::time::Duration;

use rand::{Rng, rngs::SmallRng};

use super::failure::Failure;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection closes before anything is executed.
    LostRequest,
    /// Executed, then the connection closes.
    LostAnswer,
    /// Executed after this time (at most the request cap); there is never an answer.
    Late(Duration),
    /// An HTML page with this status.
    Status {
        /// The HTTP status.
        status: u16,
        /// Whether the request is executed first.
        executed: bool,
    },
    /// Executed, but half of the body is missing.
    Truncated,
    /// Executed, but members of this name are called otherwise everywhere in the answer.
    Without(&'static str),
    /// Executed; the answer comes after this time and says that the work took so long.
    Slow(Duration),
    /// A `get` selects its rows, waits, and marks them in a second step (protocol reference section 2).
    Split(Duration),
    /// All access tokens expire before the request is looked at.
    ExpireTokens,
    /// Refused. With a method only that call is refused, inside a `batch` too; without one the whole request.
    Refuse(Failure),
}

impl Trouble {
    /// A refusal with a code of the reference's table.
    pub fn code(code: &str) -> Self {
        Self::Refuse(Failure::by_code(code))
    }

    /// The word for it in the text form and in the ledger.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LostRequest => "lost-request",
            Self::LostAnswer => "lost-answer",
            Self::Late(_) => "late",
            Self::Status { status: 200, .. } => "html",
            Self::Status { executed: false, .. } => "5xx",
            Self::Status { executed: true, .. } => "5xx-after",
            Self::Truncated => "truncated",
            Self::Without(_) => "without",
            Self::Slow(_) => "slow",
            Self::Split(_) => "split",
            Self::ExpireTokens => "expired",
            Self::Refuse(_) => "refused",
        }
    }
}

/// A trouble and when it strikes. Built by chaining: `Fault::new(Trouble::LostAnswer).on("event.offline.get").times(1)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    trouble: Trouble,
    method: Option<String>,
    skip: u64,
    count: Option<u64>,
    probability: f64,
}

impl Fault {
    /// Strikes every REST request from now on.
    pub const fn new(trouble: Trouble) -> Self {
        Self { trouble, method: None, skip: 0, count: None, probability: 1.0 }
    }

    /// Strikes only requests that are or hold a call of this method; `oauth` is the token server.
    #[must_use]
    pub fn on(mut self, method: &str) -> Self {
        self.method = Some(method.to_ascii_lowercase());
        self
    }

    /// Lets the first `n` matching requests pass.
    #[must_use]
    pub const fn after(mut self, n: u64) -> Self {
        self.skip = n;
        self
    }

    /// Strikes at most `n` times.
    #[must_use]
    pub const fn times(mut self, n: u64) -> Self {
        self.count = Some(n);
        self
    }

    /// Strikes with this probability, by the portal's seeded dice.
    #[must_use]
    pub const fn with_probability(mut self, p: f64) -> Self {
        self.probability = p;
        self
    }

    fn matches(&self, methods: &[&str], level: Level) -> bool {
        let named = self.method.as_deref();
        let at = match (&self.trouble, named) {
            (_, Some("oauth")) => Level::OAuth,
            (Trouble::Split(_), _) => Level::Call,
            (Trouble::Refuse(_), Some(method)) if method != "batch" => Level::Call,
            _ => Level::Request,
        };
        at == level && (level == Level::OAuth || named.is_none_or(|m| methods.contains(&m)))
    }

    fn fires(&mut self, rng: &mut SmallRng) -> bool {
        if self.count == Some(0) || (self.probability < 1.0 && rng.random::<f64>() >= self.probability) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.count = self.count.map(|n| n - 1);
        true
    }
}

/// Where a fault can strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A whole HTTP request.
    Request,
    /// One call: a request of its own, or a command of a `batch`.
    Call,
    /// A request to the token server.
    OAuth,
}

/// The faults of a portal, in the order they were added: the first that fires wins.
#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one.
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What strikes a request or call, if anything.
    pub fn strike(&mut self, methods: &[&str], level: Level, rng: &mut SmallRng) -> Option<Trouble> {
        let fault = self.0.iter_mut().filter(|f| f.matches(methods, level)).find_map(|f| f.fires(rng).then_some(f))?;
        Some(fault.trouble.clone())
    }
}

/// The text form of faults cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fault \"{item}\" cannot be read: {what}")]
pub struct FaultError {
    item: String,
    what: &'static str,
}

/// Reads the text form (see the module).
pub fn parse(text: &str) -> Result<Vec<Fault>, FaultError> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| parse_one(item).map_err(|what| FaultError { item: item.to_owned(), what })).collect()
}

fn parse_one(item: &str) -> Result<Fault, &'static str> {
    let (rest, count) = match item.split_once('#') {
        Some((rest, n)) => (rest, Some(n.parse::<u64>().map_err(|_| "the count behind # is no number")?)),
        None => (item, None),
    };
    let (rest, probability) = match rest.split_once('=') {
        Some((rest, p)) => (rest, p.parse::<f64>().map_err(|_| "the probability is no number")?),
        None => (rest, 1.0),
    };
    if !(0.0..=1.0).contains(&probability) {
        return Err("the probability is not between 0 and 1");
    }
    let (rest, value) = rest.split_once('@').map_or((rest, None), |(rest, value)| (rest, Some(value)));
    let (method, kind) = rest.split_once(':').map_or((None, rest), |(method, kind)| (Some(method), kind));
    let mut fault = Fault::new(trouble(kind, value)?).with_probability(probability);
    fault.method = method.map(str::to_ascii_lowercase);
    fault.count = count;
    Ok(fault)
}

fn trouble(kind: &str, value: Option<&str>) -> Result<Trouble, &'static str> {
    let time = |default: u64| value.map_or(Ok(Duration::from_millis(default)), duration);
    let status = |default: u16| match value {
        Some(text) => text.parse::<u16>().ok().filter(|s| (400..600).contains(s)).ok_or("the status is not 400 to 599"),
        None => Ok(default),
    };
    Ok(match kind {
        "late" => Trouble::Late(time(5_000)?),
        "slow" => Trouble::Slow(time(2_000)?),
        "split" => Trouble::Split(time(100)?),
        "5xx" => Trouble::Status { status: status(502)?, executed: false },
        "5xx-after" => Trouble::Status { status: status(502)?, executed: true },
        _ if value.is_some() => return Err("it takes no value"),
        "lost-request" => Trouble::LostRequest,
        "lost-answer" => Trouble::LostAnswer,
        "html" => Trouble::Status { status: 200, executed: false },
        "truncated" => Trouble::Truncated,
        "no-time" => Trouble::Without("date_start"),
        "no-ids" => Trouble::Without("ID"),
        "expired" => Trouble::ExpireTokens,
        "query-limit" => Trouble::code("QUERY_LIMIT_EXCEEDED"),
        "operation-limit" => Trouble::code("OPERATION_TIME_LIMIT"),
        "overload" => Trouble::code("OVERLOAD_LIMIT"),
        "denied" => Trouble::code("ACCESS_DENIED"),
        "license" => Trouble::code("WRONG_LICENSE"),
        "deleted" => Trouble::code("PORTAL_DELETED"),
        "grant" => Trouble::code("invalid_grant"),
        "payment" => Trouble::code("PAYMENT_REQUIRED"),
        _ => return Err("there is no such kind"),
    })
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "a time is a number with ms, s or m behind it";
    let end = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(WRONG)?;
    let number: u64 = text[..end].parse().map_err(|_| WRONG)?;
    match &text[end..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(WRONG),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_text_form_is_read() {
        let faults =
            parse("lost-answer=0.05, late@20s=0.02,oauth:5xx@503#2,event.offline.get:operation-limit").unwrap();
        assert_eq!(
            faults,
            [
                Fault::new(Trouble::LostAnswer).with_probability(0.05),
                Fault::new(Trouble::Late(Duration::from_secs(20))).with_probability(0.02),
                Fault::new(Trouble::Status { status: 503, executed: false }).on("oauth").times(2),
                Fault::new(Trouble::code("OPERATION_TIME_LIMIT")).on("event.offline.get"),
            ]
        );
        assert_eq!(parse("").unwrap(), []);
        for bad in ["x", "late@soon", "late@5", "lost-answer=2", "lost-answer=x", "html@5", "5xx@200", "slow#x"] {
            let error = parse(bad).expect_err(bad);
            assert!(error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn faults_strike_where_and_as_often_as_told() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut faults = Faults::default();
        faults.add(Fault::new(Trouble::LostAnswer).on("a").after(1).times(2));
        let mut hits = |methods: &[&str], level| faults.strike(methods, level, &mut rng).is_some();
        assert!(!hits(&["b"], Level::Request));
        let struck: Vec<_> = (0..5).map(|_| hits(&["batch", "a"], Level::Request)).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(!hits(&["a"], Level::OAuth));
    }

    #[test]
    fn a_named_refusal_strikes_the_call_and_a_nameless_one_the_request() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut strikes = |fault: Fault, level| {
            let mut faults = Faults(vec![fault]);
            faults.strike(&["batch", "a"], level, &mut rng).is_some()
        };
        let refuse = Fault::new(Trouble::code("ACCESS_DENIED"));
        assert!(strikes(refuse.clone(), Level::Request) && !strikes(refuse.clone(), Level::Call));
        assert!(!strikes(refuse.clone().on("a"), Level::Request) && strikes(refuse.clone().on("a"), Level::Call));
        assert!(strikes(refuse.clone().on("batch"), Level::Request) && strikes(refuse.on("oauth"), Level::OAuth));
    }

    #[test]
    fn the_dice_are_seeded() {
        let strikes = |seed| {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut faults = Faults(vec![Fault::new(Trouble::LostAnswer).with_probability(0.3)]);
            (0..100).map(|_| faults.strike(&["a"], Level::Request, &mut rng).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(strikes(7), strikes(7));
        assert_ne!(strikes(7), strikes(8));
        assert!((15..45).contains(&strikes(7).iter().filter(|hit| **hit).count()));
    }
}
