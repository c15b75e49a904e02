//! Which portals are told, in which order, and how many at a time.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::{portal::PortalView, refusal::Refusal};

/// Portals on a page, if nothing else is asked for, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    state: Option<String>,
    reason: Option<String>,
    /// In lower case.
    text: Option<String>,
    sort: Sort,
    descending: bool,
    limit: usize,
    /// Where the page before has ended.
    after: Option<Place>,
}

/// What portals are sorted by; those that are equal in it by `member_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    MemberId,
    Domain,
    State,
    Held,
    LastSuccess,
}

/// What a portal is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Key {
    Number(u64),
    Text(String),
}

/// The place of a portal in an order. The next page begins behind it, whatever has come, gone or moved meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    sort: Sort,
    descending: bool,
    key: Key,
    member_id: String,
}

/// One page.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    portals: Vec<PortalView>,
    /// How many there are on all pages.
    total: usize,
    /// To be given as `next` for the page that follows; `null` if there is none.
    next: Option<String>,
}

impl Query {
    /// Reads the query of an address. What is not known is refused: a misspelt filter would tell too much.
    pub fn read(query: &str) -> Result<Self, Refusal> {
        let mut read = Self {
            state: None,
            reason: None,
            text: None,
            sort: Sort::MemberId,
            descending: false,
            limit: PAGE,
            after: None,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "state" => read.state = Some(one_of(&value, "state", &["starting", "active", "parked", "removed"])?),
                "reason" => read.reason = Some(value.into_owned()),
                "text" => read.text = Some(value.to_lowercase()),
                "sort" => (read.sort, read.descending) = Sort::read(&value)?,
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
                    let wrong = || Refusal::malformed(format!("limit is no number from 1 to {LARGEST_PAGE}"));
                    read.limit = limit.ok_or_else(wrong)?;
                }
                "next" => {
                    let wrong = || Refusal::malformed("next is not what an earlier page has told");
                    read.after = Some(Place::read(&value).ok_or_else(wrong)?);
                }
                _ => {
                    let message = "a parameter is not known; there are state, reason, text, sort, limit and next";
                    return Err(Refusal::malformed(message));
                }
            }
        }
        let same = |after: &Place| (after.sort, after.descending) == (read.sort, read.descending);
        if !read.after.as_ref().is_none_or(same) {
            return Err(Refusal::malformed("next comes from a page that was sorted in another way"));
        }
        Ok(read)
    }

    /// The page of these portals that was asked for.
    pub fn page(&self, portals: Vec<PortalView>) -> Page {
        let mut found: Vec<PortalView> = portals.into_iter().filter(|portal| self.wants(portal)).collect();
        let total = found.len();
        found.sort_by(|a, b| self.order((&self.sort.key(a), &a.member_id), (&self.sort.key(b), &b.member_id)));
        let passed = self.after.as_ref().map_or(0, |after| {
            found.partition_point(|portal| {
                let place = (&self.sort.key(portal), portal.member_id.as_str());
                self.order(place, (&after.key, &after.member_id)).is_le()
            })
        });
        let more = found.len() > passed + self.limit;
        let portals: Vec<PortalView> = found.into_iter().skip(passed).take(self.limit).collect();
        let next = portals.last().filter(|_| more).map(|last| self.place(last).write());
        Page { portals, total, next }
    }

    fn wants(&self, portal: &PortalView) -> bool {
        let text = |text: &String| {
            portal.member_id.to_lowercase().contains(text) || portal.domain.to_lowercase().contains(text)
        };
        self.state.as_ref().is_none_or(|state| state == portal.state)
            && self.reason.as_ref().is_none_or(|reason| portal.reason == Some(reason))
            && self.text.as_ref().is_none_or(text)
    }

    fn order(&self, a: (&Key, &str), b: (&Key, &str)) -> Ordering {
        let by_key = a.0.cmp(b.0);
        let by_key = if self.descending { by_key.reverse() } else { by_key };
        by_key.then_with(|| a.1.cmp(b.1))
    }

    fn place(&self, portal: &PortalView) -> Place {
        let member_id = portal.member_id.clone();
        Place { sort: self.sort, descending: self.descending, key: self.sort.key(portal), member_id }
    }
}

impl Sort {
    fn read(value: &str) -> Result<(Self, bool), Refusal> {
        let (name, descending) = value.strip_prefix('-').map_or((value, false), |name| (name, true));
        let sort = match name {
            "member_id" => Self::MemberId,
            "domain" => Self::Domain,
            "state" => Self::State,
            "held" => Self::Held,
            "last_success" => Self::LastSuccess,
            _ => {
                let message = "sort is none of member_id, domain, state, held and last_success, with - for descending";
                return Err(Refusal::malformed(message));
            }
        };
        Ok((sort, descending))
    }

    fn key(self, portal: &PortalView) -> Key {
        match self {
            Self::MemberId => Key::Text(portal.member_id.clone()),
            Self::Domain => Key::Text(portal.domain.clone()),
            Self::State => Key::Text(portal.state.to_owned()),
            Self::Held => Key::Number(portal.queues.iter().map(|queue| queue.held).sum()),
            // In microseconds; what never worked comes before what worked long ago.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a conversion saturates")]
            Self::LastSuccess => Key::Number((portal.last_success.unwrap_or_default() * 1e6) as u64),
        }
    }
}

impl Place {
    /// As hexadecimal digits, so that nobody has to escape it.
    fn write(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        json.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn read(text: &str) -> Option<Self> {
        let pairs = text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let json: Option<Vec<u8>> = pairs.map(byte).collect();
        serde_json::from_slice(&json?).ok()
    }
}

fn one_of(value: &str, name: &str, known: &[&str]) -> Result<String, Refusal> {
    let found = known.iter().find(|known| **known == value).map(|known| (*known).to_owned());
    found.ok_or_else(|| Refusal::malformed(format!("{name} is none of {}", known.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::{
        super::portal::{LimitsView, NextView, QueueView},
        *,
    };

    fn portal(number: u64) -> PortalView {
        let next = NextView { action: "", at: None };
        let queue = QueueView {
            connector: String::new(),
            held: number % 3,
            unconfirmed: 0,
            limit: 50,
            barred: false,
            more: false,
            last_exchange: None,
            wake_ups: "unused",
            next: next.clone(),
            error_rows: None,
        };
        PortalView {
            member_id: format!("m{number:03}"),
            domain: format!("{}.bitrix24.com", ["Zoo", "alpha", "beta"][usize::try_from(number % 3).expect("small")]),
            state: if number.is_multiple_of(5) { "parked" } else { "active" },
            reason: number.is_multiple_of(5).then_some("unpaid"),
            advice: None,
            mode: "reserve",
            last_error: None,
            last_errors: Vec::new(),
            last_success: None,
            next,
            limits: LimitsView { budget: None, methods: Vec::new(), rests_until: None },
            unbound: Vec::new(),
            rows_unreadable: 0,
            rows_stuck: 0,
            queues: vec![queue],
        }
    }

    fn all() -> Vec<PortalView> {
        (0..25).map(portal).collect()
    }

    fn ids(page: &Page) -> Vec<&str> {
        page.portals.iter().map(|portal| portal.member_id.as_str()).collect()
    }

    #[test]
    fn portals_are_filtered_and_counted() {
        let page = |query: &str| Query::read(query).expect("a query").page(all());
        assert_eq!(page("").portals.len(), 25);
        assert_eq!(ids(&page("state=parked&reason=unpaid")), ["m000", "m005", "m010", "m015", "m020"]);
        assert_eq!(page("reason=blocked").total, 0);
        assert_eq!(page("text=ZOO").total, 9);
        assert_eq!(ids(&page("text=M01&state=parked")), ["m010", "m015"]);
    }

    #[test]
    fn pages_follow_each_other_in_every_order() {
        for sort in ["member_id", "-member_id", "domain", "-domain", "state", "held", "-held", "last_success"] {
            let (mut told, mut next) = (Vec::new(), String::new());
            loop {
                let query = Query::read(&format!("sort={sort}&limit=7{next}")).expect("a query");
                let page = query.page(all());
                assert_eq!(page.total, 25);
                told.extend(ids(&page).into_iter().map(str::to_owned));
                let Some(following) = page.next else { break };
                next = format!("&next={following}");
            }
            let whole = Query::read(&format!("sort={sort}")).expect("a query").page(all());
            assert_eq!(told, ids(&whole), "{sort}");
        }
        let page = Query::read("sort=-held&limit=9").expect("a query").page(all());
        assert!(page.portals.iter().all(|portal| portal.queues[0].held == 2 || portal.member_id == "m001"));
    }

    #[test]
    fn a_page_goes_on_behind_the_last_one_though_portals_come_and_go() {
        let first = Query::read("limit=5").expect("a query").page(all());
        let changed: Vec<PortalView> = all().into_iter().filter(|p| p.member_id != "m004").collect();
        let next = first.next.expect("more");
        let second = Query::read(&format!("limit=5&next={next}")).expect("a query").page(changed);
        assert_eq!(ids(&second), ["m005", "m006", "m007", "m008", "m009"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let next = Query::read("limit=5").expect("a query").page(all()).next.expect("more");
        let other = format!("sort=domain&next={next}");
        for wrong in
            ["state=odd", "limit=0", "limit=1001", "limit=x", "sort=shoes", "next=zz", "next=7b7d", "stat=x", &other]
        {
            assert!(Query::read(wrong).is_err(), "{wrong}");
        }
    }
}
