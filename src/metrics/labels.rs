//! The closed sets of label values. A label is never made from foreign text.

macro_rules! labels {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $vdoc:literal])+ $variant:ident = $text:literal,)+ })+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $vdoc])+ $variant,)+
        }

        impl $name {
            /// Every value: each series is exported from the start.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Every word with what it means, for the documentation.
            pub const VALUES: &[(&str, &str)] = &[$(($text, concat!($($vdoc),+))),+];

            /// The word in the exposition.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    )+};
}

labels! {
    /// A kind of request to a portal or to its OAuth server.
    Call {
        /// Confirmations and the next read, in one `batch`.
        Exchange = "exchange",
        /// `feature.get`
        Feature = "feature",
        /// `app.info`
        AppInfo = "app_info",
        /// `profile`
        Profile = "profile",
        /// `event.get`
        Bindings = "bindings",
        /// `event.bind`
        Bind = "bind",
        /// `event.offline.list` and `event.offline.get` of error rows.
        Errors = "errors",
        /// A token refresh.
        Oauth = "oauth",
    }
    /// How a request ended.
    CallOutcome {
        /// Answered.
        Done = "done",
        /// Answered with an error: certainly not carried out.
        Refused = "refused",
        /// Refused for a limit.
        Limited = "limited",
        /// Refused for its token.
        Unauthorized = "unauthorized",
        /// Nobody knows whether it was carried out.
        Unknown = "unknown",
    }
    /// What kept a request waiting.
    Limit {
        /// Our own budget of requests.
        Budget = "budget",
        /// The portal said `QUERY_LIMIT_EXCEEDED`.
        Query = "query_limit",
        /// The portal said `OPERATION_TIME_LIMIT`.
        OperationTime = "operation_time",
        /// `fetch.concurrency`: so many requests are on their way already.
        Concurrency = "concurrency",
    }
    /// How a token refresh ended.
    Refresh {
        /// A new pair, stored and in use.
        Granted = "granted",
        /// The refresh token is dead: the portal has to be installed again.
        Rejected = "rejected",
        /// Refused for another reason.
        Refused = "refused",
        /// Nobody knows.
        Unknown = "unknown",
        /// The pair, or the intent, could not be stored.
        NotStored = "not_stored",
    }
    /// Why Kafka did not acknowledge.
    ProduceFailure {
        /// For now: time-out, transport, too few replicas.
        Passing = "passing",
        /// Unknown topic or no right.
        Route = "route",
        /// The record itself.
        Record = "record",
        /// The producer was lost and built anew.
        Fatal = "fatal",
    }
    /// The state of a portal.
    PortalState {
        /// Not exchanged yet.
        Starting = "starting",
        /// Served.
        Active = "active",
        /// Not to be served until something outside changes.
        Parked = "parked",
        /// Uninstalled.
        Removed = "removed",
    }
    /// Why a portal is parked.
    ParkedReason {
        /// Its tokens are dead.
        NeedsReinstall = "needs_reinstall",
        /// The application, its user or its secret lacks a right.
        Forbidden = "forbidden",
        /// Its plan lacks what is needed.
        Unlicensed = "unlicensed",
        /// Its subscription is not paid.
        Unpaid = "unpaid",
        /// It is closed.
        Deleted = "deleted",
        /// Its calls are blocked by Bitrix24's support.
        Blocked = "blocked",
        /// An operator has parked it.
        Operator = "operator",
    }
    /// The mode of a queue.
    Mode {
        /// With `rest_offline_extended`.
        Reserve = "reserve",
        /// Without it.
        Conditional = "conditional",
    }
    /// A stage on the way of a row.
    Stage {
        /// A portal answered an exchange.
        Fetch = "fetch",
        /// Kafka acknowledged.
        Produce = "produce",
        /// A portal confirmed a clear.
        Clear = "clear",
    }
    /// A kind of call from Bitrix24.
    Callback {
        /// `ONOFFLINEEVENT`
        Wake = "wake",
        /// `ONAPPINSTALL` or the install page.
        Install = "install",
        /// `ONAPPUNINSTALL`
        Uninstall = "uninstall",
        /// Anything else.
        Other = "other",
    }
    /// What was answered to a call from Bitrix24.
    CallbackOutcome {
        /// Taken.
        Taken = "taken",
        /// It cannot be read.
        Malformed = "malformed",
        /// It is not from whom it says.
        Forged = "forged",
        /// Its user is no administrator of the portal.
        NoAdmin = "no_admin",
        /// It is too large.
        TooLarge = "too_large",
        /// There is no room for it now.
        Busy = "busy",
    }
    /// Why a row became a dead letter.
    DeadLetter {
        /// Larger than the producer or the topic allows.
        TooLarge = "too_large",
        /// Refused by the broker.
        InvalidRecord = "invalid_record",
        /// The portal's row cannot be read.
        MalformedRow = "malformed_row",
    }
}
