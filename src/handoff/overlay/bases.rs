//! Leaves that hold a registry, or the start of image names, and serve one name or many.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::oci::Repository;

use super::{
    Left,
    find::{FoundLeaves, Scope},
    moved::{Moved, base_of},
    names,
    path::{Path, Step},
};

/// A registry leaf that a name may belong to.
pub(super) struct Candidate {
    pub path: Path,
    /// Normalised, without a slash at the end.
    pub base: String,
    /// What may stand between it and the name.
    pub between: Vec<Option<String>>,
}

/// A name that was found to belong to a registry leaf.
#[derive(Debug)]
pub(super) struct Use {
    /// The registry leaf.
    pub base: Path,
    /// The leaf with the name.
    pub leaf: Path,
    /// What the leaf holds.
    pub text: String,
    /// The name behind the registry.
    pub rest: String,
    /// Whether the leaf holds all of `rest`.
    pub alone: bool,
    /// Tag and digest behind the name, as they are to be.
    pub suffix: String,
    /// Where the image is now.
    pub place: Repository,
}

const SEVERAL: &str = "the images that it stands for were moved to places with different starts";

/// The registries that a name in `scope` may be completed with: nearest first, those that stand
/// beside it, those above it, and those of `global` on every level.
pub(super) fn candidates(scope: &Scope<'_>, own_key: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    let between = between(scope.map, own_key);
    let mut add = |path: &Path, map: &Map<String, Value>| {
        for (key, value) in map {
            if !names::is_base_key(key) || path.key(key) == scope.path.key(own_key) {
                continue;
            }
            if let Some(base) = value.as_str().and_then(|text| names::base(key, text)) {
                found.push(Candidate {
                    path: path.key(key),
                    base,
                    between: between.clone(),
                });
            }
        }
    };
    let mut level = Some(scope);
    while let Some(at) = level {
        add(at.path, at.map);
        level = at.outer;
    }
    let mut level = Some(scope);
    while let Some(at) = level {
        if let Some(Value::Object(global)) = at.map.get("global") {
            let path = at.path.key("global");
            add(&path, global);
            for (key, value) in global {
                if let Value::Object(map) = value {
                    add(&path.key(key), map);
                }
            }
        }
        level = at.outer;
    }
    found
}

/// Nothing, or the namespace that stands beside the name.
fn between(map: &Map<String, Value>, own_key: &str) -> Vec<Option<String>> {
    let mut between = vec![None];
    for (key, value) in map {
        let Some(text) = value.as_str() else { continue };
        if key != own_key
            && names::is_namespace_key(key)
            && !text.is_empty()
            && !names::has_host(text)
        {
            between.push(Some(text.to_owned()));
        }
    }
    between
}

/// Whether a registry stands beside the key, which then is not Docker Hub by implication.
pub(super) fn has_other_registry(scope: &Scope<'_>, own_key: &str) -> bool {
    scope.map.iter().any(|(key, value)| {
        key != own_key
            && names::is_registry_key(key)
            && value.as_str().is_some_and(|text| !text.is_empty())
    })
}

/// The key beside this one that is for a registry and has none.
pub(super) fn empty_registry_key<'s>(scope: &'s Scope<'_>, own_key: &str) -> Option<&'s str> {
    let exact = |key: &&String| matches!(key.as_str(), "registry" | "imageRegistry" | "hub");
    let (key, _) = scope
        .map
        .iter()
        .filter(|(key, _)| key.as_str() != own_key && exact(key))
        .find(|(_, value)| value.is_null() || value.as_str() == Some(""))?;
    Some(key)
}

/// Rewrites the registry leaves: those that names were found for, and those whose every moved
/// image went to the same place.
pub(super) fn rewrite(values: &Value, moved: &Moved<'_>, uses: &[Use], found: &mut FoundLeaves) {
    let mut by_base: BTreeMap<&Path, Vec<&Use>> = BTreeMap::new();
    for usage in uses {
        by_base.entry(&usage.base).or_default().push(usage);
    }
    for (path, uses) in &by_base {
        rewrite_used(values, path, uses, found);
    }
    let mut leaves = Vec::new();
    base_leaves(values, &Path::default(), &mut leaves);
    for (path, key, text) in leaves {
        if by_base.contains_key(&path) || found.edits.contains_key(&path) {
            continue;
        }
        let Some(base) = names::base(key, text) else {
            continue;
        };
        let below = moved.below(&base);
        if below.is_empty() {
            continue;
        }
        if let Some(new) = common(below.iter().map(|(rest, place)| base_of(place, rest))) {
            put_base(found, &path, text, &new);
        } else if let Some((namespace, host, directory)) = with_namespace(values, &path, &below) {
            put_base(found, &path, text, &host);
            found.edits.insert(namespace, Value::String(directory));
        } else {
            found.left.push(Left {
                path: path.to_string(),
                value: text.to_owned(),
                reason: SEVERAL,
            });
        }
    }
}

/// Where a leaf beside a registry holds the next part of all names (`quay.io` and `jetstack`):
/// that leaf, the host that all images are at, and the path there that takes the leaf's place.
fn with_namespace(
    values: &Value,
    registry: &Path,
    below: &[(String, &Repository)],
) -> Option<(Path, String, String)> {
    let (_, map) = registry.0.split_last()?;
    let map = Path(map.to_vec());
    for (key, value) in map.find(values)?.as_object()? {
        let Some(namespace) = value.as_str().filter(|text| !text.is_empty()) else {
            continue;
        };
        if !names::is_namespace_key(key) {
            continue;
        }
        let parts = below.iter().map(|(rest, place)| {
            let name = rest.strip_prefix(namespace)?.strip_prefix('/')?;
            let (host, directory) = (place.host(), place.path().strip_suffix(name)?);
            Some(format!("{host}/{}", directory.strip_suffix('/')?))
        });
        if let Some(both) = common(parts) {
            let (host, directory) = both.split_once('/')?;
            return Some((map.key(key), host.to_owned(), directory.to_owned()));
        }
    }
    None
}

fn rewrite_used(values: &Value, path: &Path, uses: &[&Use], found: &mut FoundLeaves) {
    let Some(text) = path.find(values).and_then(Value::as_str) else {
        return;
    };
    if let Some(new) = common(uses.iter().map(|usage| base_of(&usage.place, &usage.rest))) {
        put_base(found, path, text, &new);
        for usage in uses {
            let (name, _) = names::split_name(&usage.text);
            let to = format!("{name}{}", usage.suffix);
            if to != usage.text {
                found.edits.insert(usage.leaf.clone(), Value::String(to));
            }
        }
        return;
    }
    // The names differ in more than their start: the host here, the whole path there.
    let host = common(uses.iter().map(|usage| Some(usage.place.host().to_owned())));
    match host {
        Some(host) if uses.iter().all(|usage| usage.alone) => {
            put_base(found, path, text, &host);
            for usage in uses {
                let to = format!("{}{}", usage.place.path(), usage.suffix);
                found.edits.insert(usage.leaf.clone(), Value::String(to));
            }
        }
        _ => found.left.push(Left {
            path: path.to_string(),
            value: text.to_owned(),
            reason: SEVERAL,
        }),
    }
}

fn put_base(found: &mut FoundLeaves, path: &Path, old: &str, new: &str) {
    let slash = if old.ends_with('/') { "/" } else { "" };
    let to = Value::String(format!("{new}{slash}"));
    found.edits.insert(path.clone(), to);
}

/// The one value that all are, if they are.
fn common(mut all: impl Iterator<Item = Option<String>>) -> Option<String> {
    let first = all.next()??;
    let rest: BTreeSet<Option<String>> = all.collect();
    rest.iter()
        .all(|other| other.as_deref() == Some(first.as_str()))
        .then_some(first)
}

/// All strings under keys for registries.
fn base_leaves<'v>(value: &'v Value, path: &Path, found: &mut Vec<(Path, &'v str, &'v str)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = path.key(key);
                match value {
                    Value::String(text) if names::is_base_key(key) => found.push((path, key, text)),
                    other => base_leaves(other, &path, found),
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                base_leaves(value, &path.step(Step::Index(index)), found);
            }
        }
        _ => {}
    }
}
