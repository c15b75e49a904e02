//! The broker's half of the world: what it says of a batch, and what is in the log.

use super::{Report, Setup, Step, World, Written};
use crate::core::protocol::{
    invariants::Violation,
    ledger::Publication,
    queue::Input,
    types::{Delivery, Hindrance, Refusal, RowId},
};

impl World {
    pub(super) fn report(&mut self, setup: &Setup, report: Report) -> Step {
        if report != Report::AllWell {
            self.budget.produce_failures -= 1;
        }
        let pending = std::mem::take(&mut self.pending);
        let message = |row: RowId| self.payload.get(&row).map(|(_, message)| *message);
        let is_poison =
            |p: &Publication| p.refused.is_none() && setup.poison.is_some() && setup.poison == message(p.row);
        let refused = pending.iter().any(is_poison);
        let barred = report == Report::Barred;
        let mut reports = Vec::new();
        for (index, publication) in pending.iter().enumerate() {
            let row = publication.row;
            let (version, _) = self.payload.get(&row).copied().unwrap_or_default();
            let failed = match report {
                Report::AllWell | Report::RefusedForAnother | Report::Barred => None,
                Report::AllFailed => Some(Written::No),
                Report::OneFailed { index: at, written } => (at == index).then_some(written),
            };
            let refused = refused || (report == Report::RefusedForAnother && !publication.alone);
            let heavy = setup.heavy && publication.refused.is_some_and(|reason| reason != Refusal::TooLarge);
            let delivery = match failed {
                None if heavy => Delivery::Refused(Refusal::TooLarge),
                None if barred => Delivery::Failed(Hindrance::Route),
                None if refused && publication.refused.is_none() => Delivery::Refused(Refusal::InvalidRecord),
                None => {
                    self.write(setup, publication)?;
                    self.acknowledged.insert((row, version));
                    self.portal.settle(row, version);
                    Delivery::Acknowledged
                }
                Some(written) => {
                    match written {
                        Written::No => {}
                        Written::Yes if refused || heavy => {}
                        Written::Yes => self.write(setup, publication)?,
                        Written::Later => self.ghosts.push((row, version)),
                    }
                    Delivery::Failed(Hindrance::Passing)
                }
            };
            reports.push((row, delivery));
        }
        self.ghosts.sort_unstable();
        self.feed(Input::Delivered(reports))
    }

    /// A record reaches the log. Its order matters for the first delivery only, and for what does not say that it is late.
    pub(super) fn write(&mut self, setup: &Setup, publication: &Publication) -> Step {
        let row = publication.row;
        let message = self.payload.get(&row).map(|(_, message)| *message);
        if publication.refused.is_some() && ![setup.poison, setup.malformed].contains(&message) {
            return Err(Violation::UndeservedDeadLetter);
        }
        let first = self.delivered.insert(row);
        let entity = |id: &RowId| self.payload.get(id).map(|(_, message)| setup.entities[*message]);
        let overtaken = self.delivered.range(row..).any(|later| *later != row && entity(later) == entity(&row));
        if first && overtaken && !publication.late && publication.refused.is_none() {
            return Err(Violation::I7Order);
        }
        // Over all lives of the bridge: whoever reads the topic knows nothing of restarts.
        if let Some(entity) = entity(&row)
            && !self.history.contains_key(&row)
            && self.history.range(row..).any(|(_, later)| *later == entity)
            && !(publication.late || publication.redelivery || publication.refused.is_some())
        {
            return Err(Violation::I7Order);
        }
        self.remember(setup, row);
        Ok(())
    }

    /// The row is in the log, for everybody to see.
    pub(super) fn remember(&mut self, setup: &Setup, row: RowId) {
        if let Some((_, message)) = self.payload.get(&row).filter(|_| self.lasting) {
            self.history.insert(row, setup.entities[*message]);
        }
    }
}
