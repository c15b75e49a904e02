//! The invariants by name, for the model, the property tests, the replay of traces, and debug builds of the runner.
//!
//! Some cannot be broken because what would break them cannot be written down: a clear without ids (I2) is not a
//! [`Clear`](super::exchange::Clear), and a scan that meets a reservation of ours (I8) is not believed. I3 and I5 speak of
//! more than one queue's state: the model checks I3, [`token`](super::token) holds I5.

use super::{
    exchange::Delete,
    ledger::Ledger,
    queue::{Action, Queue},
};

/// A broken invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A row is cleared only after an acknowledgement for that very row.
    I1ClearedBeforeAcknowledgement,
    /// No clear without an explicit, non-empty list of ids.
    I2EmptyClear,
    /// Once faults stop, every row is published and cleared.
    I3Hidden,
    /// At most one awaited request, so at most one awaited `get`, per queue.
    I4TwoRequests,
    /// At most one refresh per portal, and tokens stored before use.
    I5Refresh,
    /// Rows held never exceed the limit.
    I6TooManyHeld,
    /// First deliveries of an entity in the order of the ids; nothing cleared past a failed row of its entity.
    I7Order,
    /// Recovery never touches a reservation that is in flight here.
    I8OwnReservation,
    /// Received = acknowledged + dead-lettered + held.
    I9Conservation,
    /// A row became a dead letter although nothing is wrong with it: its reader gets less than there was.
    UndeservedDeadLetter,
}

/// Checks one step: the state after it, and the actions that it has asked for.
///
/// # Errors
/// The first invariant that is broken.
pub fn check(queue: &Queue, actions: &[Action]) -> Result<(), Violation> {
    let ledger = queue.ledger();
    let mut exchanges = 0;
    let mut publishes = false;
    for action in actions {
        match action {
            Action::Exchange(exchange) => {
                exchanges += 1;
                for id in exchange.clears.iter().flat_map(|clear| clear.ids.as_slice()) {
                    if !ledger.is_settled(*id) {
                        return Err(Violation::I1ClearedBeforeAcknowledgement);
                    }
                    if ledger.is_behind_failure(*id) {
                        return Err(Violation::I7Order);
                    }
                }
                if exchange.clears.iter().any(|clear| clear.ids.as_slice().is_empty()) {
                    return Err(Violation::I2EmptyClear);
                }
                if let Some(delete) = &exchange.delete {
                    check_delete(ledger, delete)?;
                }
            }
            Action::Publish(_) => publishes = true,
            Action::Note(_) | Action::Drained => {}
        }
    }
    if exchanges > 1 || (exchanges == 1 && publishes) {
        return Err(Violation::I4TwoRequests);
    }
    if ledger.held() > queue.held_limit() as u64 {
        return Err(Violation::I6TooManyHeld);
    }
    let (received, acknowledged, dead_lettered) = ledger.sums();
    if received != acknowledged + dead_lettered + ledger.held() {
        return Err(Violation::I9Conservation);
    }
    Ok(())
}

/// A deletion names a range, so everything that was listed has to be settled.
fn check_delete(ledger: &Ledger, delete: &Delete) -> Result<(), Violation> {
    if delete.limit == 0 || delete.first > delete.last {
        return Err(Violation::I2EmptyClear);
    }
    for id in ledger.ids().filter(|id| ledger.is_listed(*id)) {
        if !ledger.is_settled(id) {
            return Err(Violation::I1ClearedBeforeAcknowledgement);
        }
        if ledger.is_behind_failure(id) {
            return Err(Violation::I7Order);
        }
    }
    Ok(())
}
