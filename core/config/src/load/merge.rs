//! Later sources over earlier ones.

use std::collections::HashMap;

use crate::document::{Map, Node, Value};

/// Lays `over` over `base`: maps are merged level by level, everything else is replaced, also by null.
pub(super) fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over) {
        (Value::Map(base), Node { value: Value::Map(over), .. }) => merge_maps(base, over),
        (_, over) => *base = over,
    }
}

fn merge_maps(base: &mut Map, over: Map) {
    let entries = base.entries_mut();
    let places: HashMap<String, usize> =
        entries.iter().enumerate().map(|(place, entry)| (entry.key.text.clone(), place)).collect();
    for entry in over.into_entries() {
        match places.get(&entry.key.text) {
            None => entries.push(entry),
            Some(&place) => {
                let there = &mut entries[place];
                let both_maps = there.value.as_map().is_some() && entry.value.as_map().is_some();
                if !both_maps {
                    there.key = entry.key;
                }
                merge(&mut there.value, entry.value);
            }
        }
    }
}
