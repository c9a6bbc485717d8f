//! What is to be different in the values, and the smallest values file that makes it so.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Change,
    path::{Path, Step},
};

/// Changes to values.
#[derive(Debug)]
pub(in crate::handoff) struct Edits<'v> {
    values: &'v Value,
    edits: BTreeMap<Path, Value>,
}

impl<'v> Edits<'v> {
    pub(super) fn new(values: &'v Value) -> Self {
        Self {
            values,
            edits: BTreeMap::new(),
        }
    }

    /// Sets a leaf; the last one that does counts. A list index must be that of an element or
    /// one behind the last; others are passed over.
    pub(in crate::handoff) fn put(&mut self, path: Path, to: Value) {
        self.edits.insert(path, to);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The values before the changes.
    pub(super) fn values(&self) -> &'v Value {
        self.values
    }

    /// The overlay and the list of changes.
    pub(super) fn finish(self) -> (Value, Vec<Change>) {
        let mut after = self.values.clone();
        let mut changed = Vec::new();
        let mut places = Vec::new();
        for (path, to) in self.edits {
            let from = path.find(self.values);
            if from == Some(&to) || !put(&mut after, &path.0, to.clone()) {
                continue;
            }
            changed.push(Change {
                path: path.to_string(),
                from: from.cloned(),
                to,
            });
            // All changes in one list stand together, and the list is given whole, once.
            let place = path.mergeable();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
        let mut overlay = Value::Object(Map::new());
        for place in places {
            if let Some(value) = place.find(&after) {
                put(&mut overlay, &place.0, value.clone());
            }
        }
        (overlay, changed)
    }
}

/// Puts a value at a place, making maps and list elements on the way. Whether that can be done:
/// a list grows by one element at a time.
pub(super) fn put(values: &mut Value, path: &[Step], to: Value) -> bool {
    let mut at = values;
    for step in path {
        at = match step {
            Step::Key(key) => {
                if !at.is_object() {
                    *at = Value::Object(Map::new());
                }
                let Value::Object(map) = at else { return false };
                map.entry(key.as_str()).or_insert(Value::Null)
            }
            Step::Index(index) => {
                if !at.is_array() {
                    *at = Value::Array(Vec::new());
                }
                let Value::Array(list) = at else { return false };
                if *index == list.len() {
                    list.push(Value::Null);
                }
                let Some(element) = list.get_mut(*index) else {
                    return false;
                };
                element
            }
        };
    }
    *at = to;
    true
}
