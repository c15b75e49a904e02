//! What the admin API can do to portals, in the words of the API.

use super::view::Portals;
use crate::{
    chain::chain,
    config::portals,
    fleet::{
        portal::Portal,
        roster::{Grant, Installed, Removed, Resumed, Roster, RosterError, Swept},
    },
    http::admin::{
        portal::{Addition, Change, Changed, Changing, Kind, RowsView},
        refusal::Refusal,
    },
    metrics::labels::PortalState,
    protocol::types::PortalId,
    runner::standing::{Reason, Snapshot},
};

/// The changes.
#[derive(Clone)]
pub(super) struct Changes {
    portals: Portals,
    allow_http: bool,
}

impl Changes {
    /// Of these portals.
    pub fn new(portals: Portals, allow_http: bool) -> Self {
        Self { portals, allow_http }
    }

    /// Does one.
    pub fn perform(self, change: Change) -> Changing {
        Box::pin(async move {
            let Some(roster) = self.portals.roster() else {
                return Err(Refusal::unavailable("starting", "the bridge is being started; try again"));
            };
            match change {
                Change::Add(addition) => self.add(roster, addition).await,
                Change::Remove(member_id) => remove(roster, &known(roster, &member_id)?).await,
                Change::Park(member_id) => park(roster, &known(roster, &member_id)?).await,
                Change::Resume(member_id) => resume(roster, &known(roster, &member_id)?).await,
                Change::Poll(member_id) => poll(roster, &known(roster, &member_id)?),
                Change::SweepErrors(member_id) => sweep(roster, &known(roster, &member_id)?).await,
            }
        })
    }

    async fn add(&self, roster: &Roster, addition: Addition) -> Result<Changed, Refusal> {
        let id = PortalId::new(&addition.member_id)
            .ok_or_else(|| Refusal::malformed("member_id is none: it has 1 to 64 letters and digits"))?;
        let endpoint = portals::endpoint(&addition.endpoint, self.allow_http)
            .map_err(|wrong| Refusal::malformed(format!("the endpoint {wrong}")))?;
        let grant = Grant {
            member_id: id.clone(),
            endpoint,
            access_token: addition.access_token,
            refresh_token: addition.refresh_token,
            application_token: addition.application_token,
            user_id: None,
            scope: None,
            status: None,
        };
        let (message, kind) = match roster.install(grant).await.map_err(|error| refusal(&error))? {
            Installed::Added => ("it is taken in and being started", Kind::Created),
            Installed::Revived => ("it is taken in again and being started", Kind::Created),
            Installed::Renewed => ("it was known: its tokens are renewed, and it is tried now", Kind::Done),
            Installed::Held => ("it was known: its tokens are renewed, and it stays parked", Kind::Done),
        };
        Ok(changed(roster, &id, message, kind))
    }
}

async fn remove(roster: &Roster, id: &PortalId) -> Result<Changed, Refusal> {
    let left = roster.remove(id).await.map_err(|error| refusal(&error))?;
    let message = format!("it is forgotten, and so are its tokens; its events stay bound at the portal{}", rest(left));
    Ok(Changed {
        member_id: id.to_string(),
        state: PortalState::Removed.as_str(),
        reason: None,
        message,
        rows: Some(rows(left)),
        kind: Kind::Done,
    })
}

async fn park(roster: &Roster, id: &PortalId) -> Result<Changed, Refusal> {
    let left = roster.park(id).await.map_err(|error| refusal(&error))?;
    let message = format!("it is parked until it is resumed, over restarts too{}", rest(left));
    Ok(Changed { rows: Some(rows(left)), ..changed(roster, id, &message, Kind::Done) })
}

async fn resume(roster: &Roster, id: &PortalId) -> Result<Changed, Refusal> {
    let message = match roster.resume(id).await.map_err(|error| refusal(&error))? {
        Resumed::Released => "it is served again and being started",
        Resumed::Tried => "no operator had it parked; it is tried now",
    };
    Ok(changed(roster, id, message, Kind::Done))
}

fn poll(roster: &Roster, id: &PortalId) -> Result<Changed, Refusal> {
    let portal = roster.get(id).ok_or_else(Refusal::unknown_portal)?;
    let before = standing(&portal);
    let message = match (before.state, before.reason) {
        (PortalState::Removed, _) => return Err(refusal(&RosterError::Uninstalled)),
        (_, Some(Reason::Operator)) => {
            return Err(Refusal::conflict("parked", "an operator has it parked; resume it first"));
        }
        (PortalState::Parked, _) => "it was parked; it is tried again now",
        (PortalState::Starting, _) => "it is being started; that is tried now",
        (PortalState::Active, _) => "its queues are polled now",
    };
    portal.resume();
    Ok(said(id, &before, message, Kind::Begun))
}

async fn sweep(roster: &Roster, id: &PortalId) -> Result<Changed, Refusal> {
    let Swept { swept, held, unconfirmed, left, trouble } = roster.sweep(id).await.map_err(|error| refusal(&error))?;
    let message = match (trouble, left) {
        (Some(trouble), _) => {
            format!("{swept} error rows were swept, then it stopped: {trouble}; nothing is lost, sweep again")
        }
        (None, Some(0)) => format!("{swept} error rows were swept; none is left"),
        (None, _) => format!("{swept} error rows were swept; sweep again for the rest"),
    };
    let rows = RowsView { swept, held, unconfirmed, hiding: None, left };
    Ok(Changed { rows: Some(rows), ..changed(roster, id, &message, Kind::Done) })
}

fn known(roster: &Roster, member_id: &str) -> Result<PortalId, Refusal> {
    let id = PortalId::new(member_id).ok_or_else(Refusal::unknown_portal)?;
    roster.get(&id).map(|_| id).ok_or_else(Refusal::unknown_portal)
}

fn standing(portal: &Portal) -> Snapshot {
    portal.session().standing().snapshot()
}

/// What was done, with the portal's state after it.
fn changed(roster: &Roster, id: &PortalId, message: &str, kind: Kind) -> Changed {
    match roster.get(id) {
        Some(portal) => said(id, &standing(&portal), message, kind),
        None => Changed {
            member_id: id.to_string(),
            state: PortalState::Removed.as_str(),
            reason: None,
            message: message.to_owned(),
            rows: None,
            kind,
        },
    }
}

fn said(id: &PortalId, seen: &Snapshot, message: &str, kind: Kind) -> Changed {
    Changed {
        member_id: id.to_string(),
        state: seen.state.as_str(),
        reason: seen.reason.map(Reason::as_str),
        message: message.to_owned(),
        rows: None,
        kind,
    }
}

fn rows(left: Removed) -> RowsView {
    let hiding = u64::try_from(left.hiding).ok();
    RowsView { held: left.held, unconfirmed: left.unconfirmed, hiding, ..RowsView::default() }
}

/// What to say of rows that were left.
fn rest(left: Removed) -> String {
    let Removed { at_rest, held, unconfirmed, hiding } = left;
    let mut told = String::new();
    if !at_rest {
        told = format!(
            "; it did not come to rest: {held} rows that Kafka has not acknowledged and {unconfirmed} that it has stay \
             reserved at the portal, and whoever serves it next finds them"
        );
    }
    if hiding > 0 {
        told += &format!(
            "; in {hiding} of its queues a request whose outcome is not known may have reserved rows, or may still: \
             whoever serves it next finds those too"
        );
    }
    told
}

fn refusal(error: &RosterError) -> Refusal {
    let message = chain(error);
    match error {
        RosterError::Unknown => Refusal::unknown_portal(),
        RosterError::Uninstalled => Refusal::conflict("removed", message),
        RosterError::Configured => Refusal::conflict("configured", message),
        RosterError::NotServed => Refusal::conflict("not_served", message),
        RosterError::NoReservations => Refusal::conflict("unlicensed", message),
        RosterError::Restless => Refusal::unavailable("restless", message),
        RosterError::Registry(_) | RosterError::Left(_) => Refusal::unavailable("registry", message),
        RosterError::Stopping => Refusal::unavailable("stopping", message),
        RosterError::Broken(_) => Refusal::unavailable("broken", message),
    }
}
