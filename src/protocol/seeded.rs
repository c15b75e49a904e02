//! Bugs that tests can switch on, to prove that the model would catch them.
//!
//! Outside tests [`Seeded`] is empty and [`Seeded::has`] is constantly false: there is no switch to find.

/// One deliberate fault in the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A row counts as acknowledged as soon as it has been handed to the producer.
    ClearBeforeAcknowledgement,
    /// An unknown `get` is taken for one that did nothing.
    NoScanAfterUnknownGet,
    /// The scan after an unknown `get` runs at once, but not again when the old request must be dead.
    NoLateScanAfterUnknownGet,
    /// Taking over scans at once, but not again when requests of the former owner must be dead.
    NoLateScanAfterTakeOver,
    /// A row is cleared although an earlier row of its entity has failed.
    ClearPastFailedRow,
    /// A scan's rows are published although clears of the same exchange are not known to be done.
    BelieveScanDespiteUnknownClear,
    /// A deletion takes whatever is in its range, changed or not.
    DeleteWhateverChanged,
    /// Rows count as old enough at once: no margin for clocks that differ.
    NoMargin,
    /// A deletion takes what has not changed for long enough *now*, instead of when it was listed.
    DeleteByTheTimeOfNow,
    /// What a deletion brings is not looked at.
    IgnoreStrangers,
    /// A pair of tokens that was granted is used before it is stored.
    UseTokensBeforeStored,
    /// A pair of tokens that was granted and could not be stored is forgotten, and the dead one is presented again.
    ForgetGrantedTokens,
    /// A queue whose token is refused while a refresh is under way begins another.
    RefreshTwiceAtOnce,
}

/// Which bug is switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seeded {
    /// The bug, if any.
    #[cfg(test)]
    pub bug: Option<Bug>,
}

impl Seeded {
    /// Whether this bug is switched on.
    #[cfg(test)]
    pub fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether this bug is switched on: never.
    #[cfg(not(test))]
    pub const fn has(self, _: Bug) -> bool {
        false
    }
}
