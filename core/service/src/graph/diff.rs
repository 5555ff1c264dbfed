//! What a new configuration leaves as it is.

use std::collections::BTreeSet;

use spanbridge_component::{Kind, Role};

use super::layout::{Layout, Nodes};
use super::plan::Plan;
use super::{Key, Node};
use crate::config::Config;

/// The components of `old` that `new` leaves as they are.
///
/// A component stays when its effective configuration is the same, defaults filled in and secrets included; every extension
/// that it names stays; and it can serve its new uses: an exporter or connector was made for all the signals it now has,
/// a connector feeds the same pipelines. A receiver can serve any signals.
pub(super) fn unchanged(old: &Layout, new: &Config, plan: &Plan) -> Nodes {
    let same = |key: &&Key| {
        old.nodes.get(*key).is_some_and(|node| serves(node, key, plan))
            && old.config.is_same(new, key.kind, &key.id)
    };
    let mut kept: BTreeSet<&Key> = plan.keys().filter(same).collect();
    // Extensions may name extensions: go on until nothing falls any more.
    loop {
        let falls = |key: &&Key| {
            let named = new.components.references(key.kind, &key.id);
            named.iter().any(|reference| !kept.contains(&Key::of(Kind::Extension, &reference.id)))
        };
        let fallen: Vec<&Key> = kept.iter().copied().filter(falls).collect();
        if fallen.is_empty() {
            break;
        }
        kept.retain(|key| !fallen.contains(key));
    }
    kept.into_iter().filter_map(|key| Some((key.clone(), old.nodes.get(key)?.clone()))).collect()
}

/// Whether a component as it was made can serve what `plan` uses it for.
fn serves(node: &Node, key: &Key, plan: &Plan) -> bool {
    let Some(used) = plan.get(key) else { return false };
    match key.kind {
        Kind::Receiver | Kind::Processor | Kind::Extension => true,
        Kind::Exporter => used.signals.iter().all(|signal| node.signals.contains(signal)),
        Kind::Connector => {
            used.signals.iter().all(|signal| node.signals.contains(signal))
                && node.feeds().eq(used.feeds.iter().collect::<BTreeSet<_>>())
        }
    }
}

/// The components of `old` that cannot run beside what comes in their place, and so stop before it starts: extensions
/// (they hold directories and ports), those who use such an extension, those who are replaced under the same id and name
/// an extension that is no authenticator (a storage lends each log once), and whatever leads to one of these and goes as well.
///
/// Receivers are not among them: those that go always stop before others start.
pub(super) fn exclusive(old: &Layout, new: &Layout) -> BTreeSet<Key> {
    let goes = |key: &Key| !is_in_both(old, new, key);
    let names = |config: &Config, key: &Key| config.components.references(key.kind, &key.id);
    let is_exclusive = |key: &&Key| {
        let before = names(&old.config, key);
        let loses_extension = before.iter().any(|r| goes(&Key::of(Kind::Extension, &r.id)));
        let is_replaced = new.nodes.contains_key(*key);
        let after = if is_replaced { names(&new.config, key) } else { Vec::new() };
        // Authenticators serve anybody; of what else an extension may be, only one user a name can be assumed.
        let shares = is_replaced && before.iter().chain(&after).any(|r| r.role == Role::Any);
        key.kind == Kind::Extension || loses_extension || shares
    };
    let gone: BTreeSet<Key> = old.nodes.keys().filter(|key| goes(key)).cloned().collect();
    let first = gone.iter().filter(is_exclusive).cloned().collect();
    let with_upstream = super::plan::with_upstream(first, &super::plan::edges(&old.config));
    with_upstream.into_iter().filter(|key| gone.contains(key) && key.kind != Kind::Receiver).collect()
}

/// Whether two configurations share a component.
pub(super) fn is_in_both(one: &Layout, other: &Layout, key: &Key) -> bool {
    match (one.nodes.get(key), other.nodes.get(key)) {
        (Some(one), Some(other)) => std::sync::Arc::ptr_eq(one, other),
        _ => false,
    }
}
