//! What belongs to a pod: containers, image volumes, arguments and variables.

use serde_json::{Map, Value};

use super::{
    ImageProblem,
    groups::{Entry, Group, groups},
    place::Step,
    walk::{Scope, Walker, text_of},
};
use crate::oci::Reference;

impl Walker<'_> {
    /// An item of `containers[]` (Kubernetes API, Container).
    pub(super) fn container(&mut self, map: &Map<String, Value>, scope: &Scope) {
        let image = map.get("image").filter(|image| !image.is_null());
        let injected = self.injected;
        let strict = self.workload && self.text_depth == 0;
        self.key("image", |walker| match image {
            Some(Value::String(text)) if text == "auto" && injected => {
                walker.unsure(text, "Istio's webhook puts its proxy in its place");
            }
            Some(Value::String(text)) if !text.is_empty() => match text.parse::<Reference>() {
                Ok(reference) => walker.found(reference),
                Err(error) if strict => {
                    let place = walker.place();
                    walker.sink.bad(error.into(), place);
                }
                Err(_) => walker.unsure(text, "it is not an image reference"),
            },
            Some(Value::String(_)) | None if strict => {
                let place = walker.place();
                walker.sink.bad(ImageProblem::Missing, place);
            }
            // In a custom resource a container may be a change to one that the operator makes.
            Some(Value::String(_)) | None => {}
            Some(_) if strict => {
                let place = walker.place();
                walker.sink.bad(ImageProblem::NotText, place);
            }
            Some(other) => walker.value(other, scope),
        });
        self.map_without_image(map, scope);
    }

    fn map_without_image(&mut self, map: &Map<String, Value>, scope: &Scope) {
        for (key, value) in map.iter().filter(|(key, _)| *key != "image") {
            self.key(key, |walker| walker.entry(key, value, scope));
        }
    }

    /// An item of `volumes[]`: `image.reference` of an image volume (Kubernetes API, ImageVolumeSource).
    pub(super) fn volume(&mut self, map: &Map<String, Value>, scope: &Scope) {
        let source = map.get("image").and_then(Value::as_object);
        if let Some(text) = source.map(|source| text_of(source, "reference"))
            && !text.is_empty()
        {
            let strict = self.workload && self.text_depth == 0;
            self.key("image", |walker| {
                walker.key("reference", |walker| match text.parse() {
                    Ok(reference) => walker.found(reference),
                    Err(error) if strict => {
                        let place = walker.place();
                        walker.sink.bad(ImageProblem::from(error), place);
                    }
                    Err(_) => walker.unsure(text, "it is not an image reference"),
                });
            });
        }
        self.map(map, scope, &[]);
    }

    /// `--sidecar-image=nats:2.10`, and `--sidecar-image` with the value in the next item.
    pub(super) fn flags(&mut self, items: &[Value]) {
        let texts: Vec<&str> = items.iter().map(|i| i.as_str().unwrap_or("")).collect();
        for (index, text) in texts.iter().enumerate() {
            let Some(flag) = text.strip_prefix('-') else {
                continue;
            };
            let (name, value, at) = match flag.split_once('=') {
                Some((name, value)) => (name, value, index),
                None => (flag, texts.get(index + 1).copied().unwrap_or(""), index + 1),
            };
            let value = value.trim_matches(['"', '\'']);
            self.at(Step::Index(at), |walker| walker.named(name, value));
        }
    }

    /// The variables of a container.
    pub(super) fn variables(&mut self, items: &[Value]) {
        let entries: Vec<Entry<'_>> = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| {
                let item = item.as_object()?;
                let value = item.get("value")?.as_str()?;
                Some(Entry {
                    key: text_of(item, "name"),
                    value,
                    index,
                })
            })
            .collect();
        for entry in &entries {
            self.at(Step::Index(entry.index), |walker| {
                walker.key("value", |walker| {
                    walker.named(entry.key, entry.value);
                    walker.free_text(entry.value);
                });
            });
        }
        for group in groups(entries.iter().copied(), false) {
            let (Group::Whole(_, index) | Group::NoVersion(_, index)) = &group;
            self.at(Step::Index(*index), |walker| {
                walker.key("value", |walker| walker.group(&group));
            });
        }
    }
}
