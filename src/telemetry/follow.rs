//! What is logged: a level or filter for everything, and single portals at debug level on top.
//!
//! A portal is followed by the field `portal` of our own lines; every line that concerns one portal has it.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};
use tracing_subscriber::{EnvFilter, Layer, layer::Context};

/// Whose lines can be those of a portal.
const OURS: &str = env!("CARGO_PKG_NAME");
/// The field that says which portal.
const PORTAL: &str = "portal";

/// The filter.
#[derive(Debug)]
pub(super) struct Follow {
    /// For everything.
    pub base: EnvFilter,
    /// Whose lines are logged down to debug, whatever the base says.
    pub portals: BTreeSet<String>,
}

impl Follow {
    pub fn new(base: EnvFilter, portals: impl Iterator<Item = String>) -> Self {
        Self { base, portals: portals.collect() }
    }

    /// Whether a line from here may be one of a portal that is followed.
    fn may_follow(&self, metadata: &Metadata<'_>) -> bool {
        !self.portals.is_empty()
            && metadata.is_event()
            && *metadata.level() <= Level::DEBUG
            && metadata.target().starts_with(OURS)
            && metadata.fields().field(PORTAL).is_some()
    }
}

impl<S: Subscriber> Layer<S> for Follow {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let base = Layer::<S>::register_callsite(&self.base, metadata);
        if base.is_never() && self.may_follow(metadata) { Interest::sometimes() } else { base }
    }

    fn enabled(&self, metadata: &Metadata<'_>, ctx: Context<'_, S>) -> bool {
        self.base.enabled(metadata, ctx) || self.may_follow(metadata)
    }

    fn event_enabled(&self, event: &Event<'_>, ctx: Context<'_, S>) -> bool {
        self.base.enabled(event.metadata(), ctx)
            || self.may_follow(event.metadata()) && PortalOf::read(event).is_some_and(|id| self.portals.contains(&id))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let base = self.base.max_level_hint()?;
        Some(if self.portals.is_empty() { base } else { base.max(LevelFilter::DEBUG) })
    }

    // A filter may name spans; it has to see them.
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        self.base.on_new_span(attributes, id, ctx);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        self.base.on_record(id, values, ctx);
    }

    fn on_enter(&self, id: &span::Id, ctx: Context<'_, S>) {
        self.base.on_enter(id, ctx);
    }

    fn on_exit(&self, id: &span::Id, ctx: Context<'_, S>) {
        self.base.on_exit(id, ctx);
    }

    fn on_close(&self, id: span::Id, ctx: Context<'_, S>) {
        self.base.on_close(id, ctx);
    }
}

/// Reads the portal of a line.
#[derive(Default)]
struct PortalOf(Option<String>);

impl PortalOf {
    fn read(event: &Event<'_>) -> Option<String> {
        let mut portal = Self::default();
        event.record(&mut portal);
        portal.0
    }
}

impl Visit for PortalOf {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == PORTAL {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == PORTAL {
            let mut text = String::new();
            // Writing into a string does not fail unless the value itself does.
            self.0 = write!(text, "{value:?}").is_ok().then_some(text);
        }
    }
}
