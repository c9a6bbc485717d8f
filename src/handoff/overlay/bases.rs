//! Leaves that hold a registry, or the start of image names, and serve one name or many.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::oci::Repository;

use super::{
    Left,
    find::FoundLeaves,
    moved::{Moved, base_of},
    names,
    path::{Path, Step},
};

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
    let mut below = BTreeMap::new();
    let mut namespaces = BTreeMap::new();
    for leaf in leaves {
        if by_base.contains_key(&leaf.path) || found.edits.contains_key(&leaf.path) {
            continue;
        }
        let Some(base) = names::base(leaf.key, leaf.text) else {
            continue;
        };
        if !moved.has_below(&base) {
            continue;
        }
        let below = below
            .entry(base.clone())
            .or_insert_with(|| Below::new(moved, &base));
        if let Some(new) = &below.base {
            put_base(found, &leaf.path, leaf.text, new);
            continue;
        }
        let parts: &mut Namespaces<'_> = namespaces
            .entry(std::ptr::from_ref(leaf.map))
            .or_insert_with(|| Namespaces::new(leaf.map));
        if let Some(part) = parts.of(&base, below) {
            put_base(found, &leaf.path, leaf.text, &part.host);
            let path = leaf.path.beside(part.key);
            let directory = Value::String(part.directory.clone());
            found.edits.insert(path, directory);
        } else {
            found.left.push(Left {
                path: leaf.path.to_string(),
                value: leaf.text.to_owned(),
                reason: SEVERAL,
            });
        }
    }
}

/// What was moved from below a registry.
struct Below<'m> {
    images: Vec<(&'m str, &'m Repository)>,
    /// What takes the place of the registry for all of them.
    base: Option<String>,
}

impl<'m> Below<'m> {
    fn new(moved: &'m Moved<'_>, base: &str) -> Self {
        let images: Vec<_> = moved.below(base).collect();
        let base = common(images.iter().map(|(rest, place)| base_of(place, rest)));
        Self { images, base }
    }
}

/// The leaves of a map that may hold the next part of all names behind a registry (`quay.io` and
/// `jetstack`).
struct Namespaces<'v> {
    /// Keys and texts, the first key of each text.
    leaves: Vec<(&'v str, &'v str)>,
    by_base: BTreeMap<String, Option<Namespace<'v>>>,
}

/// A namespace that changes with the registry beside it.
struct Namespace<'v> {
    key: &'v str,
    /// The host that all images are at.
    host: String,
    /// The path there that takes the leaf's place.
    directory: String,
}

impl<'v> Namespaces<'v> {
    fn new(map: &'v Map<String, Value>) -> Self {
        let mut texts = BTreeSet::new();
        let mut leaves = Vec::new();
        for (key, value) in map {
            let Some(text) = value.as_str().filter(|text| !text.is_empty()) else {
                continue;
            };
            if names::is_namespace_key(key) && texts.insert(text) {
                leaves.push((key.as_str(), text));
            }
        }
        Self {
            leaves,
            by_base: BTreeMap::new(),
        }
    }

    /// The leaf beside a registry that has `below` below it.
    fn of(&mut self, base: &str, below: &Below<'_>) -> Option<&Namespace<'v>> {
        let find = || {
            self.leaves.iter().find_map(|(key, text)| {
                let parts = below.images.iter().map(|(rest, place)| {
                    let name = rest.strip_prefix(text)?.strip_prefix('/')?;
                    let (host, directory) = (place.host(), place.path().strip_suffix(name)?);
                    Some(format!("{host}/{}", directory.strip_suffix('/')?))
                });
                let both = common(parts)?;
                let (host, directory) = both.split_once('/')?;
                Some(Namespace {
                    key,
                    host: host.to_owned(),
                    directory: directory.to_owned(),
                })
            })
        };
        self.by_base
            .entry(base.to_owned())
            .or_insert_with(find)
            .as_ref()
    }
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
    all.all(|other| other.as_deref() == Some(first.as_str()))
        .then_some(first)
}

/// A string under a key for registries.
struct BaseLeaf<'v> {
    path: Path,
    key: &'v str,
    text: &'v str,
    /// The map that it is in.
    map: &'v Map<String, Value>,
}

/// All strings under keys for registries.
fn base_leaves<'v>(value: &'v Value, path: &Path, found: &mut Vec<BaseLeaf<'v>>) {
    if path.is_too_long() {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = path.key(key);
                match value {
                    Value::String(text) if names::is_base_key(key) => {
                        if !path.is_too_long() {
                            found.push(BaseLeaf {
                                path,
                                key,
                                text,
                                map,
                            });
                        }
                    }
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
