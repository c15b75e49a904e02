//! Which events an operator means: names, entities, and groups of entities.

use thiserror::Error;

use super::{entities, entries, find};

/// How similar a known name must be to be offered instead of an unknown one; 1 is the same.
const SIMILAR: f64 = 0.7;

/// Text that names no offline event, entity or group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no offline event, entity or group of entities has this name")]
pub struct UnknownSelector {
    /// The name that is most like it, if any is.
    pub nearest: Option<String>,
}

/// The names of the offline events that `selector` means, upper case, each once, in alphabetical order.
///
/// `crm.deal` is an entity, `crm.*` every entity below `crm`, `ONTASKADD` one event, all of it in any case.
/// An event of one type of items is named with its number (`ONCRMDYNAMICITEMADD_147`): which types exist is the
/// portal's affair, so no entity or group means it.
///
/// # Errors
/// [`UnknownSelector`] if nothing bears the name, or only events that cannot be bound as offline events.
pub fn expand(selector: &str) -> Result<Vec<&'static str>, UnknownSelector> {
    let selector = selector.trim();
    let upper = selector.to_ascii_uppercase();
    if let Some(entry) = find(&upper).filter(|entry| entry.offline) {
        // Leaked: a few names from the configuration, for the life of the process.
        let name = if entry.pattern { Box::leak(upper.into_boxed_str()) } else { entry.event };
        return Ok(vec![name]);
    }
    let lower = selector.to_ascii_lowercase();
    let group = lower.strip_suffix(".*");
    let wanted = |entity: &str| match group {
        Some(group) => entity.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        None => entity == lower,
    };
    let found: Vec<_> =
        entries().iter().filter(|e| e.offline && !e.pattern && wanted(e.entity)).map(|e| e.event).collect();
    if found.is_empty() { Err(UnknownSelector { nearest: nearest(&lower) }) } else { Ok(found) }
}

fn nearest(lower: &str) -> Option<String> {
    let bindable = || entries().iter().filter(|e| e.offline && !e.pattern);
    let names = bindable().map(|entry| entry.event.to_owned());
    let known = entities().iter().filter(|entity| bindable().any(|entry| entry.entity == **entity));
    let groups = known.clone().filter_map(|entity| entity.split_once('.')).map(|(group, _)| format!("{group}.*"));
    names
        .chain(known.map(|entity| (*entity).to_owned()))
        .chain(groups)
        .map(|name| (strsim::jaro_winkler(lower, &name.to_ascii_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_entities_and_groups() {
        assert_eq!(expand("OnTaskAdd"), Ok(vec!["ONTASKADD"]));
        assert_eq!(
            expand("crm.deal"),
            Ok(vec!["ONCRMDEALADD", "ONCRMDEALDELETE", "ONCRMDEALMOVETOCATEGORY", "ONCRMDEALUPDATE"])
        );
        let crm = expand("CRM.*").expect("group");
        assert!(crm.contains(&"ONCRMDEALUSERFIELDADD") && crm.contains(&"ONCRMLEADADD") && !crm.contains(&"ONTASKADD"));
        assert!(crm.iter().all(|name| !name.ends_with('_')));
        let deal = expand("crm.deal.*").expect("group");
        assert!(deal.contains(&"ONCRMDEALADD") && deal.contains(&"ONCRMDEALUSERFIELDADD"));
        assert_eq!(expand("oncrmdynamicitemadd_147"), Ok(vec!["ONCRMDYNAMICITEMADD_147"]));
        assert_eq!(expand("task.*").map(|found| found.contains(&"ONTASKCOMMENTADD")), Ok(true));
    }

    #[test]
    fn the_unknown_is_refused_with_the_nearest_name() {
        let nearest = |text: &str| expand(text).expect_err(text).nearest;
        assert_eq!(nearest("crm.deel").as_deref(), Some("crm.deal"));
        assert_eq!(nearest("ONTASKAD").as_deref(), Some("ONTASKADD"));
        assert_eq!(nearest("crn.*").as_deref(), Some("crm.*"));
        for text in ["", "*", ".*", "ONCRMDYNAMICITEMADD_", "%%%"] {
            assert!(expand(text).is_err(), "{text}");
        }
        assert!(expand("ONAPPINSTALL").is_err() && expand("app").is_err(), "cannot be bound offline");
    }
}
