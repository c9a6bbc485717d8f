//! The maps of the values, and what stands in them that tells how the names in them are meant.
//!
//! All is found out once for each map, and only what can lead to an image that was moved is kept:
//! a chart may have ten thousands of keys in one map, and each may be a name.

use std::{cell::OnceCell, collections::BTreeMap, rc::Rc};

use serde_json::{Map, Value};

use super::{moved::Moved, names, path::Path};

/// Most starts of names that are kept for a map.
const MAX_STARTS: usize = 100;

/// A registry leaf that a name may belong to.
#[derive(Debug)]
pub(super) struct Candidate {
    pub path: Path,
    /// Normalised, without a slash at the end.
    pub base: String,
}

/// What a name may be completed with.
#[derive(Debug)]
pub(super) struct Start<'s> {
    pub base: Rc<Candidate>,
    /// Key and text of the namespace that stands beside the name.
    pub between: Option<(&'s str, &'s str)>,
}

/// All that names in a map may be completed with, nearest first.
#[derive(Debug, Default)]
pub(super) struct Starts<'s> {
    pub list: Vec<Start<'s>>,
    /// Whether there are more, which are not in the list.
    pub more: bool,
}

/// Registries in reach of a map, nearest first.
#[derive(Clone, Debug, Default)]
struct Reach {
    list: Rc<[Rc<Candidate>]>,
    more: bool,
}

/// A map in the values.
pub(super) struct Scope<'s> {
    pub path: &'s Path,
    /// The tag that stands in it.
    pub tag: Option<&'s str>,
    /// Whether a tag or registry stands in it.
    pub has_companion: bool,
    /// The first two keys with a registry.
    registries: Vec<&'s str>,
    /// The keys that are for a registry and have none.
    empty_registries: Vec<&'s str>,
    /// Keys and texts of namespaces.
    namespaces: Vec<(&'s str, &'s str)>,
    /// Registries in it and in the maps that it is in.
    around: Reach,
    /// Registries of `global` beside it and beside the maps that it is in.
    global: Reach,
    starts: OnceCell<Starts<'s>>,
}

impl<'s> Scope<'s> {
    /// The map at `path` in `outer`.
    pub(super) fn new(
        outer: Option<&Scope<'_>>,
        path: &'s Path,
        map: &'s Map<String, Value>,
        moved: &Moved<'_>,
    ) -> Self {
        let mut own = Vec::new();
        add_candidates(&mut own, path, map, moved);
        let mut of_global = Vec::new();
        if let Some(Value::Object(global)) = map.get("global") {
            let path = path.key("global");
            add_candidates(&mut of_global, &path, global, moved);
            for (key, value) in global {
                if let Value::Object(map) = value {
                    add_candidates(&mut of_global, &path.key(key), map, moved);
                }
            }
        }
        let tag = map.get("tag").and_then(Value::as_str);
        let mut scope = Self {
            path,
            tag: tag.filter(|tag| !tag.is_empty()),
            has_companion: false,
            registries: Vec::new(),
            empty_registries: Vec::new(),
            namespaces: Vec::new(),
            around: Reach::of(own, outer.map(|outer| &outer.around)),
            global: Reach::of(of_global, outer.map(|outer| &outer.global)),
            starts: OnceCell::new(),
        };
        scope.look_at_keys(map, moved);
        scope
    }

    fn look_at_keys(&mut self, map: &'s Map<String, Value>, moved: &Moved<'_>) {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, value) in map {
            let is_registry = names::is_registry_key(key);
            self.has_companion = self.has_companion || is_registry || names::is_tag_key(key);
            let text = value.as_str();
            let is_empty = value.is_null() || text == Some("");
            if is_empty && matches!(key.as_str(), "registry" | "imageRegistry" | "hub") {
                self.empty_registries.push(key);
            }
            let Some(text) = text.filter(|text| !text.is_empty()) else {
                continue;
            };
            // Of keys that all say the same, a name needs one that is not its own.
            if is_registry && self.registries.len() < 2 {
                self.registries.push(key);
            }
            if names::is_namespace_key(key) && !names::has_host(text) && moved.has_parts(text) {
                let times = times.entry(text).or_default();
                if *times < 2 {
                    self.namespaces.push((key, text));
                }
                *times += 1;
            }
        }
    }

    /// Whether a registry stands beside the key, which then is not Docker Hub by implication.
    pub(super) fn has_other_registry(&self, own_key: &str) -> bool {
        self.registries.iter().any(|key| *key != own_key)
    }

    /// The key beside this one that is for a registry and has none.
    pub(super) fn empty_registry_key(&self, own_key: &str) -> Option<&'s str> {
        let mut keys = self.empty_registries.iter();
        keys.find(|key| **key != own_key).copied()
    }

    /// What names in this map may be completed with: the registries that stand beside them, those
    /// above them, and those of `global` on every level, each with nothing or a namespace that
    /// stands beside the name. A start that stands in the leaf of the name itself is among them.
    pub(super) fn starts(&self, moved: &Moved<'_>) -> &Starts<'s> {
        self.starts.get_or_init(|| {
            let mut starts = Starts {
                list: Vec::new(),
                more: self.around.more || self.global.more,
            };
            for base in self.around.list.iter().chain(self.global.list.iter()) {
                let below = |text: &str| moved.has_below(&format!("{}/{text}", base.base));
                let namespaces = self.namespaces.iter().filter(|(_, text)| below(text));
                for between in [None].into_iter().chain(namespaces.copied().map(Some)) {
                    if starts.list.len() == MAX_STARTS {
                        starts.more = true;
                        return starts;
                    }
                    starts.list.push(Start {
                        base: Rc::clone(base),
                        between,
                    });
                }
            }
            starts
        })
    }
}

impl Reach {
    /// `own`, and those of the outer maps. Of registries that are the same, a name needs the
    /// nearest one that is not in its own leaf.
    fn of(own: Vec<Rc<Candidate>>, outer: Option<&Self>) -> Self {
        let outer = outer.cloned().unwrap_or_default();
        if own.is_empty() {
            return outer;
        }
        let mut more = outer.more;
        let mut list = Vec::new();
        let mut same: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
        for candidate in own.iter().chain(outer.list.iter()) {
            let paths = same.entry(&candidate.base).or_default();
            if paths.len() == 2 || paths.contains(&&candidate.path) {
                continue;
            }
            if list.len() == MAX_STARTS {
                more = true;
                break;
            }
            paths.push(&candidate.path);
            list.push(Rc::clone(candidate));
        }
        Self {
            list: list.into(),
            more,
        }
    }
}

/// The registries that stand in a map, if anything was moved from there.
fn add_candidates(
    found: &mut Vec<Rc<Candidate>>,
    path: &Path,
    map: &Map<String, Value>,
    moved: &Moved<'_>,
) {
    if path.is_too_long() {
        return;
    }
    for (key, value) in map {
        let Some(text) = value.as_str().filter(|_| names::is_base_key(key)) else {
            continue;
        };
        let Some(base) = names::base(key, text).filter(|base| moved.has_below(base)) else {
            continue;
        };
        let path = path.key(key);
        if !path.is_too_long() {
            found.push(Rc::new(Candidate { path, base }));
        }
    }
}
