//! What the answer to an exchange changes.

use super::{
    super::{
        conditional::{Listing, Taken},
        exchange::{Answer, Clear, Cleared, Deleted, Read, ReadAnswer},
        ledger::Place,
        seeded::Bug,
        types::{Millis, PortalTime},
    },
    Action, Fact, Queue, Received,
};

/// What is known of the confirmations of one exchange.
#[derive(Clone, Copy)]
struct Confirmed {
    /// Every clear is done: no reservation of ours is left at the portal.
    clears: bool,
    /// Nothing was to be deleted, or the deletion is done.
    deletion: bool,
}

impl Queue {
    pub(super) fn exchanged(&mut self, now: Millis, answer: Answer<Received>, out: &mut Vec<Action>) {
        let Some(exchange) = self.on_its_way.take() else {
            // Nobody asked. If it holds a reservation, a scan will find it.
            self.recovery.unknown_get(now, true);
            return;
        };
        if let Some(time) = answer.time {
            self.conditional.heard(now, time);
        }
        let (cleared, mut hint) = self.cleared(&exchange.clears, &answer.clears, out);
        let rests = matches!(answer.deleted, Deleted::Refused { rests: true, .. });
        if let Deleted::Refused { retry_after, rests: false } = answer.deleted {
            hint = hint.max(retry_after);
        }
        let deleted = exchange.delete.is_none() || self.deleted(now, answer.deleted, out);
        let confirmed = Confirmed { clears: cleared, deletion: deleted };
        let (of_read, read_rests) = match &answer.read {
            ReadAnswer::Refused { retry_after, smaller } => (*retry_after, *smaller),
            _ => (None, false),
        };
        let read_well = self.read(now, exchange.read, (answer.read, answer.time), confirmed, out);
        let method = match exchange.read {
            Some(Read::Reserve { .. }) => Some(&mut self.get),
            Some(Read::Scan { .. } | Read::List { .. }) => Some(&mut self.list),
            None => None,
        };
        if let Some(method) = method {
            if read_well {
                method.reset();
            } else {
                method.failed(now, of_read);
            }
        }
        // A method that has to rest says nothing about the others.
        if cleared && (deleted || rests) && (read_well || read_rests) {
            self.portal.reset();
        } else {
            self.portal.failed(now, hint.max(if read_rests { None } else { of_read }));
        }
    }

    /// Takes in what became of the clears. Returns whether all are done, and a hint when to come back.
    fn cleared(&mut self, asked: &[Clear], said: &[Cleared], out: &mut Vec<Action>) -> (bool, Option<Millis>) {
        let (mut all_done, mut hint) = (true, None);
        let before = self.ledger.len();
        for (index, clear) in asked.iter().enumerate() {
            let outcome = said.get(index).copied().unwrap_or(Cleared::Unknown);
            all_done &= outcome == Cleared::Done;
            if let Cleared::Refused { retry_after } = outcome {
                hint = hint.max(retry_after);
            }
            self.ledger.cleared(clear, outcome);
        }
        let cleared = before - self.ledger.len();
        if cleared > 0 {
            out.push(Action::Note(Fact::Cleared(cleared)));
        }
        (all_done, hint)
    }

    /// Takes in what became of the deletion. Returns whether the portal did what it was asked.
    fn deleted(&mut self, now: Millis, answer: Deleted<Received>, out: &mut Vec<Action>) -> bool {
        match answer {
            Deleted::Done { rows } => {
                let strangers = self.ledger.deleted(&rows);
                if !rows.is_empty() {
                    out.push(Action::Note(Fact::Cleared(rows.len())));
                }
                for row in strangers {
                    if self.seeded.has(Bug::IgnoreStrangers) {
                        continue;
                    }
                    // As it was when it was deleted nobody has published it, and the portal has it no more.
                    self.receive(Place::Gone, row, false, false, out);
                    out.push(Action::Note(Fact::OnlyHere(row.id)));
                }
                let well = self.conditional.deleted(rows.len());
                if well {
                    self.get.reset();
                } else {
                    self.get.failed(now, None);
                }
                well
            }
            Deleted::Refused { retry_after, .. } => {
                self.get.failed(now, retry_after);
                false
            }
            Deleted::Unknown | Deleted::NotAsked => {
                self.conditional.uncertain();
                self.get.failed(now, None);
                false
            }
        }
    }

    /// Nobody knows what became of the read: less is asked for, and what a `get` may have reserved is looked for.
    fn unknown_read(&mut self, now: Millis, read: Read, out: &mut Vec<Action>) {
        match read {
            Read::Scan { .. } => self.scan_pages.lower(),
            Read::List { .. } => self.list_pages.lower(),
            Read::Reserve { .. } => {
                self.limit.lower();
                self.unknown_get(now, out);
            }
        }
    }

    /// Takes in what the read has brought. Returns whether the portal did what it was asked.
    fn read(
        &mut self,
        now: Millis,
        asked: Option<Read>,
        (answer, time): (ReadAnswer<Received>, Option<PortalTime>),
        confirmed: Confirmed,
        out: &mut Vec<Action>,
    ) -> bool {
        match (asked, answer) {
            (None, _) => true,
            (Some(Read::Reserve { limit }), ReadAnswer::Reserved { process, rows, took }) => {
                self.limit.answered(rows.len(), took);
                let all = rows.len() < limit as usize;
                if rows.is_empty() {
                    self.conditional.close();
                    self.idle.idle(now);
                    return true;
                }
                let Some(process) = process else {
                    self.unknown_get(now, out);
                    return false;
                };
                self.idle.busy(now);
                self.recovery.postpone_sweep(now);
                for row in rows {
                    let redelivery = self.conditional.may_repeat(&row);
                    self.receive(Place::Reserved(process.clone()), row, redelivery, false, out);
                }
                if all {
                    self.conditional.close();
                }
                true
            }
            (Some(Read::Scan { .. }), ReadAnswer::Listed { rows, more }) => {
                if !confirmed.clears && !self.seeded.has(Bug::BelieveScanDespiteUnknownClear) {
                    return false;
                }
                self.scan_pages.answered();
                self.recovery.advance(now, rows.last().map(|(_, row)| row.id), more);
                if !rows.is_empty() {
                    // Gets do work, only their answers are lost: this is progress.
                    self.get.reset();
                }
                for (process, row) in rows {
                    self.receive(Place::Reserved(process), row, true, true, out);
                }
                true
            }
            (Some(Read::List { before, .. }), ReadAnswer::Free { rows, more, young, took }) => {
                self.list_pages.answered(more, took);
                if !confirmed.deletion || self.ledger.has_unpublished() {
                    // Rows may be in it that are still to be deleted, or others that have to be published first.
                    return true;
                }
                let Some(time) = time.filter(|_| self.conditional.believes(before, time)) else {
                    out.push(Action::Note(Fact::Disbelieved));
                    return false;
                };
                let listing = Listing { before, time, rows: &rows, more, young: &young };
                self.listed(now, &listing, out);
                true
            }
            (Some(read), ReadAnswer::Refused { smaller, .. }) => {
                match read {
                    Read::Reserve { .. } if smaller => self.limit.lower(),
                    Read::Scan { .. } if smaller => self.scan_pages.lower(),
                    Read::List { .. } if smaller => self.list_pages.lower(),
                    _ => {}
                }
                false
            }
            (Some(read), _) => {
                self.unknown_read(now, read, out);
                false
            }
        }
    }

    fn unknown_get(&mut self, now: Millis, out: &mut Vec<Action>) {
        out.push(Action::Note(Fact::UnknownGet));
        if !self.seeded.has(Bug::NoScanAfterUnknownGet) {
            self.recovery.unknown_get(now, !self.seeded.has(Bug::NoLateScanAfterUnknownGet));
        }
    }

    fn listed(&mut self, now: Millis, listing: &Listing<'_>, out: &mut Vec<Action>) {
        let (taken, due) = self.conditional.listed(now, listing);
        match due {
            _ if !taken.is_empty() || listing.more => {
                self.idle.busy(now);
                self.recovery.postpone_sweep(now);
            }
            Some(due) => self.idle.later(now, due),
            None => self.idle.idle(now),
        }
        for Taken { row, place, redelivery } in taken {
            self.receive(place, row, redelivery, false, out);
        }
    }

    fn receive(&mut self, place: Place, row: Received, redelivery: bool, recovered: bool, out: &mut Vec<Action>) {
        let again = !self.ledger.receive(place, row, redelivery);
        out.push(Action::Note(Fact::Received { row: row.id, recovered, again }));
    }
}
