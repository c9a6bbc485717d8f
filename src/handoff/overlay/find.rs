//! Finding the leaves that hold image references.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::oci::{Digest, Repository};

use super::{
    Left,
    bases::{self, Use},
    moved::{Lookup, Moved},
    names,
    path::{MAX_BYTES, MAX_STEPS, Path, Step},
    scope::Scope,
};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct FoundLeaves {
    pub edits: BTreeMap<Path, Value>,
    pub left: Vec<Left>,
    pub notes: Vec<String>,
}

/// A string in the values.
struct Leaf<'l, 's> {
    scope: Option<&'l Scope<'s>>,
    path: &'l Path,
    /// The nearest key: its own, or that of the list that it is in.
    key: &'l str,
    /// Whether it is the value of the key itself.
    direct: bool,
    text: &'l str,
}

struct Finder<'m> {
    moved: &'m Moved<'m>,
    found: FoundLeaves,
    uses: Vec<Use>,
    /// What names that the chart completes are to become.
    stems: BTreeMap<String, Option<String>>,
    /// Parts of the values with paths that are too long.
    too_deep: usize,
    /// Names that no registry was found for among those that were tried.
    too_many_starts: usize,
}

const SEVERAL: &str = "images of this repository were moved to several places";

/// Finds what has to be rewritten.
pub(super) fn find(values: &Value, moved: &Moved<'_>) -> FoundLeaves {
    let mut finder = Finder {
        moved,
        found: FoundLeaves::default(),
        uses: Vec::new(),
        stems: BTreeMap::new(),
        too_deep: 0,
        too_many_starts: 0,
    };
    finder.walk(None, &Path::default(), "", values);
    let notes = finder.notes();
    let Finder {
        mut found, uses, ..
    } = finder;
    found.notes = notes;
    bases::rewrite(values, moved, &uses, &mut found);
    found
}

/// `global.security.allowInsecureImages` wherever the values have it: charts of Bitnami refuse
/// images from other places without it.
pub(super) fn insecure_image_switches(values: &Value) -> Vec<Path> {
    let mut found = Vec::new();
    let mut todo = vec![(Path::default(), values)];
    while let Some((path, value)) = todo.pop() {
        let Value::Object(map) = value else { continue };
        if path.is_too_long() {
            continue;
        }
        if map
            .get("global")
            .and_then(|g| g.pointer("/security/allowInsecureImages"))
            .is_some()
        {
            found.push(
                path.key("global")
                    .key("security")
                    .key("allowInsecureImages"),
            );
        }
        let maps = map.iter().filter(|(_, value)| value.is_object());
        todo.extend(maps.map(|(key, value)| (path.key(key), value)));
    }
    found
}

impl Finder<'_> {
    fn walk(&mut self, scope: Option<&Scope<'_>>, path: &Path, key: &str, value: &Value) {
        match value {
            Value::Object(_) | Value::Array(_) if path.is_too_long() => self.too_deep += 1,
            Value::Object(map) => {
                let inner = Scope::new(scope, path, map, self.moved);
                for (key, value) in map {
                    let path = path.key(key);
                    match value {
                        Value::String(text) => self.leaf(&Leaf {
                            scope: Some(&inner),
                            path: &path,
                            key,
                            direct: true,
                            text,
                        }),
                        other => self.walk(Some(&inner), &path, key, other),
                    }
                }
            }
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    let path = path.step(Step::Index(index));
                    match value {
                        Value::String(text) => self.leaf(&Leaf {
                            scope,
                            path: &path,
                            key,
                            direct: false,
                            text,
                        }),
                        other => self.walk(scope, &path, key, other),
                    }
                }
            }
            _ => {}
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.too_deep > 0 {
            notes.push(format!(
                "{} parts of the values were not looked at: they are more than {MAX_STEPS} keys \
                 deep, or the keys that lead to them are longer than {MAX_BYTES} bytes",
                self.too_deep
            ));
        }
        if self.too_many_starts > 0 {
            notes.push(format!(
                "{} names in the values were only tried with the nearest of very many registries",
                self.too_many_starts
            ));
        }
        notes
    }

    fn leaf(&mut self, leaf: &Leaf<'_, '_>) {
        if leaf.path.is_too_long() {
            self.too_deep += 1;
            return;
        }
        if let Ok(pinned) = leaf.text.parse::<Digest>() {
            if let Some(digest) = self.moved.new_digest(pinned) {
                self.edit(leaf.path, digest.to_string());
            }
            return;
        }
        if self.whole(leaf) || (leaf.direct && self.part(leaf)) {
            return;
        }
        if let Some(text) = self.tokens(leaf.text) {
            self.edit(leaf.path, text);
        }
    }

    /// A full name with its host: certain under any key.
    fn whole(&mut self, leaf: &Leaf<'_, '_>) -> bool {
        let (name, suffix) = names::split_name(leaf.text);
        if !names::has_host(name) {
            return false;
        }
        let Some(repository) = names::repository(name) else {
            return false;
        };
        let tag = suffix_tag(suffix).or_else(|| leaf.scope.and_then(|scope| scope.tag));
        match self.moved.find(&repository, tag) {
            Lookup::Unknown => self.stem(leaf, &repository),
            Lookup::Several => {
                self.leave(leaf, SEVERAL);
                true
            }
            Lookup::At(place) => {
                let text = format!("{place}{}", self.new_suffix(suffix));
                self.edit(leaf.path, text);
                true
            }
        }
    }

    /// A full name that the chart adds something to, as in `quay.io/cilium/operator` +
    /// `-generic`.
    fn stem(&mut self, leaf: &Leaf<'_, '_>, repository: &Repository) -> bool {
        let name = repository.to_string();
        if !names::is_image_key(leaf.key) || !leaf.text.ends_with(repository.path()) {
            return false;
        }
        let moved = self.moved;
        let place = self
            .stems
            .entry(name)
            .or_insert_with_key(|name| moved.place_of_stem(name));
        match place.clone() {
            Some(place) => {
                self.edit(leaf.path, place);
                true
            }
            None => false,
        }
    }

    /// A name without a host: certain with the registry that stands beside or above it, or where
    /// the key says that it is an image.
    fn part(&mut self, leaf: &Leaf<'_, '_>) -> bool {
        let Some(scope) = leaf.scope else {
            return false;
        };
        let (name, suffix) = names::split_name(leaf.text);
        if name.is_empty() || names::has_host(name) {
            return false;
        }
        let strong = names::is_image_key(leaf.key)
            || (names::is_weak_image_key(leaf.key) && scope.has_companion);
        if strong && self.with_registry(leaf, scope, name, suffix) {
            return true;
        }
        let Some(repository) = names::repository(name) else {
            return false;
        };
        if repository.host() != "docker.io" {
            return false;
        }
        let tag = suffix_tag(suffix);
        let this_tag = tag.unwrap_or("latest");
        let certain = match strong {
            // One bare word may be anything, unless something says that it is an image.
            true if !name.contains('/') && tag.is_none() && !scope.has_companion => {
                self.moved.has_tag(&repository, this_tag)
            }
            true => true,
            false => tag.is_some() && self.moved.has_tag(&repository, this_tag),
        };
        if !certain || scope.has_other_registry(leaf.key) {
            return false;
        }
        match self.moved.find(&repository, tag.or(scope.tag)) {
            Lookup::Unknown => false,
            Lookup::Several => {
                self.leave(leaf, SEVERAL);
                true
            }
            Lookup::At(place) => {
                self.implied_hub(leaf, scope, name, suffix, place);
                true
            }
        }
    }

    /// A name that Docker Hub is implied for. Where the chart has a key for the registry that is
    /// empty, the registry goes there: not all charts leave it out when it is empty.
    fn implied_hub(
        &mut self,
        leaf: &Leaf<'_, '_>,
        scope: &Scope<'_>,
        name: &str,
        suffix: &str,
        place: &Repository,
    ) {
        let suffix = self.new_suffix(suffix);
        match scope.empty_registry_key(leaf.key) {
            Some(key) => {
                let path = match super::moved::base_of(place, name) {
                    Some(base) => {
                        self.edit(&scope.path.key(key), base);
                        format!("{name}{suffix}")
                    }
                    None => {
                        self.edit(&scope.path.key(key), place.host().to_owned());
                        format!("{}{suffix}", place.path())
                    }
                };
                if path != leaf.text {
                    self.edit(leaf.path, path);
                }
            }
            None => self.edit(leaf.path, format!("{place}{suffix}")),
        }
    }

    /// A name with the registry from another leaf: both are decided on later, for the other leaf
    /// may serve many.
    fn with_registry(
        &mut self,
        leaf: &Leaf<'_, '_>,
        scope: &Scope<'_>,
        name: &str,
        suffix: &str,
    ) -> bool {
        if !self.moved.has_parts(name) {
            return false;
        }
        let tag = suffix_tag(suffix).or(scope.tag);
        let starts = scope.starts(self.moved);
        for start in &starts.list {
            let own_between = start.between.is_some_and(|(key, _)| key == leaf.key);
            if own_between || start.base.path == *leaf.path {
                continue;
            }
            let rest = match start.between {
                Some((_, between)) => format!("{between}/{name}"),
                None => name.to_owned(),
            };
            let Some(full) = names::repository(&format!("{}/{rest}", start.base.base)) else {
                continue;
            };
            match self.moved.find(&full, tag) {
                Lookup::Unknown => {}
                Lookup::Several => {
                    self.leave(leaf, SEVERAL);
                    return true;
                }
                Lookup::At(place) => {
                    self.uses.push(Use {
                        base: start.base.path.clone(),
                        leaf: leaf.path.clone(),
                        text: leaf.text.to_owned(),
                        rest,
                        alone: start.between.is_none(),
                        suffix: self.new_suffix(suffix),
                        place: place.clone(),
                    });
                    return true;
                }
            }
        }
        if starts.more {
            self.too_many_starts += 1;
        }
        false
    }

    /// References inside longer text: arguments, lists in one string, embedded configuration.
    fn tokens(&self, text: &str) -> Option<String> {
        let is_end = |c: char| c.is_whitespace() || "\"'`=,;|<>()[]{}".contains(c);
        let mut rewritten = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(is_end).unwrap_or(rest.len());
            let (token, tail) = rest.split_at(end);
            match self.token(token) {
                Some(new) => rewritten.push_str(&new),
                None => rewritten.push_str(token),
            }
            let separator = tail.chars().next().map_or(0, char::len_utf8);
            rewritten.push_str(&tail[..separator]);
            rest = &tail[separator..];
        }
        (rewritten != text).then_some(rewritten)
    }

    fn token(&self, token: &str) -> Option<String> {
        let (scheme, reference) = match token.strip_prefix("docker://") {
            Some(rest) => ("docker://", rest),
            None => ("", token),
        };
        let (name, suffix) = names::split_name(reference);
        if suffix.is_empty() || !name.contains('/') {
            return None;
        }
        let repository = names::repository(name)?;
        let pinned = suffix.contains('@');
        let tag = suffix_tag(suffix);
        if !pinned && !tag.is_some_and(|tag| self.moved.has_tag(&repository, tag)) {
            return None;
        }
        match self.moved.find(&repository, tag) {
            Lookup::At(place) => Some(format!("{scheme}{place}{}", self.new_suffix(suffix))),
            Lookup::Unknown | Lookup::Several => None,
        }
    }

    /// `:TAG@DIGEST` with the digest that the image has at the destination.
    fn new_suffix(&self, suffix: &str) -> String {
        if let Some((tag, digest)) = suffix.split_once('@')
            && let Ok(pinned) = digest.parse::<Digest>()
            && let Some(new) = self.moved.new_digest(pinned)
        {
            return format!("{tag}@{new}");
        }
        suffix.to_owned()
    }

    fn edit(&mut self, path: &Path, to: String) {
        self.found.edits.insert(path.clone(), Value::String(to));
    }

    fn leave(&mut self, leaf: &Leaf<'_, '_>, reason: &'static str) {
        self.found.left.push(Left {
            path: leaf.path.to_string(),
            value: leaf.text.to_owned(),
            reason,
        });
    }
}

fn suffix_tag(suffix: &str) -> Option<&str> {
    let tag = suffix.strip_prefix(':')?;
    Some(tag.split_once('@').map_or(tag, |(tag, _)| tag))
}
