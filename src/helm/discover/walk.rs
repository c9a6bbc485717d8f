//! Walks objects by the rules of the module.

use serde_json::{Map, Value};

use super::{
    DiscoverError, Place,
    documents::Document,
    groups::{Entry, Group, groups},
    place::{Step, field},
    sink::{NO_VERSION, Sink},
    words::{Written, in_free_text, in_image_field, names_an_image, tokens, words},
};
use crate::oci::Reference;

/// The lists of containers of a pod (Kubernetes API, PodSpec).
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// Lists of containers in Tekton's tasks.
const OF_PIPELINES: [&str; 2] = ["steps", "sidecars"];
/// Fields that are one container: Argo's workflow templates, Tekton's tasks.
const A_CONTAINER: [&str; 3] = ["container", "script", "stepTemplate"];
/// Kubernetes' own kinds that make pods: there a container without a valid image is refused by the cluster.
const WORKLOADS: [&str; 9] = [
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
];

/// Finds what one document names.
pub(super) fn document(
    sink: &mut Sink,
    value: &Value,
    document: &Document<'_>,
    index: usize,
) -> Result<(), DiscoverError> {
    let what = match value {
        Value::Null => return Ok(()),
        Value::Object(object) => {
            self::object(sink, object, document.template);
            return Ok(());
        }
        Value::Array(_) => "a list",
        _ => "a plain value",
    };
    Err(DiscoverError::NotAnObject {
        template: document.template.to_owned(),
        document: index + 1,
        what,
    })
}

pub(super) fn text_of<'o>(object: &'o Map<String, Value>, key: &str) -> &'o str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A custom resource definition is a schema: what it calls `image` is a description.
pub(super) fn is_schema(object: &Map<String, Value>) -> bool {
    text_of(object, "kind") == "CustomResourceDefinition"
}

fn object(sink: &mut Sink, object: &Map<String, Value>, template: &str) {
    let kind = text_of(object, "kind");
    if is_schema(object) {
        return;
    }
    if kind.ends_with("List")
        && let Some(Value::Array(items)) = object.get("items")
    {
        for item in items.iter().filter_map(Value::as_object) {
            self::object(sink, item, template);
        }
        return;
    }
    let metadata = object.get("metadata").and_then(Value::as_object);
    let of_metadata = |key| metadata.map_or("", |m| text_of(m, key));
    let name = match of_metadata("name") {
        "" => of_metadata("generateName"),
        name => name,
    };
    let mut shown = vec![kind];
    shown.extend(Some(of_metadata("namespace")).filter(|n| !n.is_empty()));
    shown.push(name);
    let group = text_of(object, "apiVersion");
    let own = group == "v1" || group.starts_with("apps/") || group.starts_with("batch/");
    let mut walker = Walker {
        sink,
        template,
        object: shown.join("/"),
        api_version: group,
        path: Vec::new(),
        workload: own && WORKLOADS.contains(&kind),
        injected: false,
        text_depth: 0,
    };
    let scope = Scope::default();
    if group == "v1" && matches!(kind, "ConfigMap" | "Secret") {
        walker.map(object, &scope, &["data", "stringData", "binaryData"]);
        walker.texts(object, kind == "Secret");
    } else {
        walker.map(object, &scope, &[]);
    }
}

/// What an object inherits from those around it.
#[derive(Clone, Default)]
pub(super) struct Scope {
    /// The value of `image`, or an item of `images`.
    under_image: bool,
    /// `hub` and `tag` (Istio's values), where nothing changes what they mean.
    hub: Option<(String, String)>,
}

/// Finds what the values of a chart name, by the rules for custom resources.
pub(super) fn values(sink: &mut Sink, values: &Value) {
    let mut walker = Walker {
        sink,
        template: "",
        object: String::new(),
        api_version: "",
        path: Vec::new(),
        workload: false,
        injected: false,
        text_depth: 0,
    };
    walker.value(values, &Scope::default());
}

pub(super) struct Walker<'w> {
    pub sink: &'w mut Sink,
    template: &'w str,
    object: String,
    api_version: &'w str,
    pub path: Vec<Step>,
    pub workload: bool,
    /// Inside a pod that Istio's webhook completes.
    pub injected: bool,
    /// How many texts deep: YAML in YAML in YAML.
    pub text_depth: usize,
}

impl Walker<'_> {
    pub fn place(&self) -> Place {
        Place {
            template: self.template.to_owned(),
            object: self.object.clone(),
            field: field(&self.path),
        }
    }

    /// Runs `inside` one step further down.
    pub fn at(&mut self, step: Step, inside: impl FnOnce(&mut Self)) {
        self.path.push(step);
        inside(self);
        self.path.pop();
    }

    pub fn key(&mut self, key: &str, inside: impl FnOnce(&mut Self)) {
        self.at(Step::Key(key.to_owned()), inside);
    }

    pub fn found(&mut self, reference: Reference) {
        let place = self.place();
        self.sink.found(reference, place);
    }

    pub fn unsure(&mut self, text: &str, why: &'static str) {
        let place = self.place();
        self.sink.unsure(text, why, place);
    }

    pub fn map(&mut self, map: &Map<String, Value>, outer: &Scope, without: &[&str]) {
        if is_schema(map) {
            return;
        }
        let before = self.injected;
        self.injected |= is_injected_by_istio(map);
        let scope = self.scope(map, outer);
        self.split_fields(map, outer.under_image);
        for (key, value) in map {
            if without.contains(&key.as_str()) {
                continue;
            }
            self.key(key, |walker| walker.entry(key, value, &scope));
        }
        self.injected = before;
    }

    pub fn entry(&mut self, key: &str, value: &Value, scope: &Scope) {
        let words = words(key);
        let last = words.last().map_or("", String::as_str);
        let inner = Scope {
            under_image: matches!(last, "image" | "images") || names_an_image(key),
            hub: scope.hub.clone(),
        };
        match value {
            Value::String(text) => {
                if last == "image" && self.take_below_hub(text, scope) {
                    return;
                }
                self.named(key, text);
                if is_command(key) {
                    self.free_text(text);
                }
                // Whatever the field is called (`url` of a KubeVirt disk), the scheme says it.
                if text.starts_with("docker://") {
                    self.named("image", text);
                }
                self.text_in_text(text);
            }
            Value::Array(items) => {
                let containers =
                    CONTAINERS.contains(&key) || !self.workload && OF_PIPELINES.contains(&key);
                if is_command(key) {
                    self.flags(items);
                }
                if key == "env" {
                    self.variables(items);
                }
                for (index, item) in items.iter().enumerate() {
                    self.at(Step::Index(index), |walker| match item {
                        Value::Object(map) if containers => walker.container(map, &inner),
                        Value::Object(map) if key == "volumes" => walker.volume(map, &inner),
                        Value::String(text) => {
                            if is_command(key) || last == "images" {
                                walker.free_text(text);
                            }
                            walker.text_in_text(text);
                        }
                        other => walker.value(other, &inner),
                    });
                }
            }
            Value::Object(map) if !self.workload && A_CONTAINER.contains(&key) => {
                self.container(map, &inner);
            }
            Value::Object(map) if key == "env" || is_command(key) || last == "images" => {
                for (name, value) in map {
                    if let Value::String(text) = value {
                        self.key(name, |walker| walker.free_text(text));
                    }
                }
                self.map(map, &inner, &[]);
            }
            other => self.value(other, &inner),
        }
    }

    pub fn value(&mut self, value: &Value, scope: &Scope) {
        match value {
            Value::Object(map) => self.map(map, scope, &[]),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.at(Step::Index(index), |walker| walker.value(item, scope));
                }
            }
            Value::String(text) => self.text_in_text(text),
            _ => {}
        }
    }

    /// A value whose key may say that it is an image.
    pub fn named(&mut self, key: &str, text: &str) {
        if !names_an_image(key) {
            return;
        }
        match in_image_field(text) {
            Some(reference) => self.found(reference),
            None => {
                let written = Written::of(text);
                let name = text.strip_prefix("docker://").unwrap_or(text);
                if !written.is_exact() && name.contains('/') && name.parse::<Reference>().is_ok() {
                    self.unsure(text, NO_VERSION);
                }
            }
        }
    }

    pub fn free_text(&mut self, text: &str) {
        for line in super::words::live_lines(text) {
            for reference in tokens(line).filter_map(in_free_text) {
                self.found(reference);
            }
        }
    }

    fn split_fields(&mut self, map: &Map<String, Value>, under_image: bool) {
        let texts: Vec<(&String, std::borrow::Cow<'_, str>)> = map
            .iter()
            .filter_map(|(key, value)| match value {
                Value::String(text) => Some((key, text.as_str().into())),
                // A tag like `16` that nobody quoted; `1.10` is not the text that it was.
                Value::Number(number) if number.is_u64() => Some((key, number.to_string().into())),
                _ => None,
            })
            .collect();
        let entries =
            texts
                .iter()
                .enumerate()
                .map(|(index, (key, value))| Entry { key, value, index });
        for group in groups(entries, under_image) {
            let (Group::Whole(_, index) | Group::NoVersion(_, index)) = &group;
            let (key, _) = &texts[*index];
            self.key(key, |walker| walker.group(&group));
        }
    }

    pub fn group(&mut self, group: &Group) {
        match group {
            Group::Whole(reference, _) => match self.completed_by_its_operator(reference) {
                Some(how) => self.unsure(reference.as_written(), how),
                None => self.found(reference.clone()),
            },
            Group::NoVersion(name, _) => self.unsure(name, NO_VERSION),
        }
    }

    /// What an operator adds to the fields of its own objects, so that they are no reference yet.
    fn completed_by_its_operator(&self, reference: &Reference) -> Option<&'static str> {
        let [.., Step::Key(part), Step::Key(_)] = self.path.as_slice() else {
            return self
                .api_version
                .starts_with("operator.tigera.io/")
                .then_some("the operator puts its registry in front");
        };
        // NVIDIA's GPU operator pulls what it builds into the kernel as `VERSION-OS`, unless pinned by digest.
        let of_a_kernel = self.api_version.starts_with("nvidia.com/")
            && reference.digest().is_none()
            && OF_A_KERNEL.contains(&part.as_str());
        of_a_kernel.then_some("the operator adds the nodes' operating system to the tag")
    }

    fn scope(&self, map: &Map<String, Value>, outer: &Scope) -> Scope {
        let scalar = |key: &str| match map.get(key) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) if number.is_u64() => Some(number.to_string()),
            _ => None,
        };
        let mut hub = outer.hub.clone();
        if let (Some(host), Some(tag)) = (scalar("hub"), scalar("tag")) {
            hub = Some((host, tag));
        } else if let (Some((_, inherited)), Some(tag)) = (&mut hub, scalar("tag")) {
            *inherited = tag;
        }
        // A variant is added to the tag by Istio's own rules.
        if scalar("variant").is_some() {
            hub = None;
        }
        Scope {
            under_image: outer.under_image,
            hub,
        }
    }

    /// `image: proxyv2` below `hub: HOST/PATH` and `tag: TAG`.
    fn take_below_hub(&mut self, text: &str, scope: &Scope) -> bool {
        let Some((hub, tag)) = &scope.hub else {
            return false;
        };
        if text.is_empty() || text.contains(['/', ':', '@']) {
            return false;
        }
        let whole = format!("{}/{text}:{tag}", hub.trim_end_matches('/'));
        match whole.parse() {
            Ok(reference) => {
                self.found(reference);
                true
            }
            Err(_) => false,
        }
    }
}

/// The parts of NVIDIA's ClusterPolicy and NVIDIADriver that depend on the nodes' operating system.
const OF_A_KERNEL: [&str; 5] = ["driver", "vgpuManager", "gds", "gdrcopy", "spec"];

/// Fields whose words are read one by one.
fn is_command(key: &str) -> bool {
    let words = words(key);
    matches!(
        words.last().map(String::as_str),
        Some("args" | "command" | "flags" | "arguments")
    )
}

/// Istio's marks on the pods that its webhook completes.
fn is_injected_by_istio(map: &Map<String, Value>) -> bool {
    let Some(metadata) = map.get("metadata").and_then(Value::as_object) else {
        return false;
    };
    ["labels", "annotations"]
        .iter()
        .filter_map(|key| metadata.get(*key)?.as_object())
        .any(|marks| {
            marks.contains_key("inject.istio.io/templates")
                || text_of(marks, "sidecar.istio.io/inject") == "true"
        })
}
