//! `Chart.yaml`: Helm's `pkg/chart/v2/metadata.go` and `dependency.go`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    error::{ChartError, clip},
    fields::{Fields, wrong},
    go_json::{self, Object},
    yaml,
};

/// Longest version: with `+` written as `_` it is a tag, and those end at 128 characters.
const MAX_VERSION: usize = 128;
/// Longest name.
const MAX_NAME: usize = 128;

/// What `Chart.yaml` says, texts as Helm understands them (`appVersion: 1.10` is `1.1`). What is
/// empty is as good as not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// `v1` or `v2`; `v1` where the file says nothing.
    pub api_version: String,
    /// Name of the chart.
    pub name: String,
    /// Version, verbatim.
    pub version: String,
    /// Version of the application inside.
    pub app_version: Option<String>,
    /// Constraint on the version of Kubernetes.
    pub kube_version: Option<String>,
    /// One sentence about the chart.
    pub description: Option<String>,
    /// `application` or `library`; none means application.
    pub kind: Option<String>,
    /// The project's page.
    pub home: Option<String>,
    /// Where the sources are.
    pub sources: Vec<String>,
    /// Words to find the chart by.
    pub keywords: Vec<String>,
    /// Who looks after the chart.
    pub maintainers: Vec<Maintainer>,
    /// URL of a picture.
    pub icon: Option<String>,
    /// Path into the parent's values that turns the chart on or off.
    pub condition: Option<String>,
    /// Tags that turn the chart on or off.
    pub tags: Option<String>,
    /// Whether the chart should not be used any more.
    pub deprecated: bool,
    /// Free key-value pairs.
    pub annotations: BTreeMap<String, String>,
    /// Charts that this chart needs; for `v1` those of `requirements.yaml`.
    pub dependencies: Vec<Dependency>,
}

/// Who looks after a chart. What is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintainer {
    /// Their name.
    pub name: String,
    /// Their mail address.
    pub email: String,
    /// Their page.
    pub url: String,
}

/// A chart that another one needs. What is empty is as good as not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dependency {
    /// Name of the chart.
    pub name: String,
    /// Constraint on its version, verbatim; in a lock the version itself.
    pub version: Option<String>,
    /// URL of the repository: `https://`, `oci://` or `file://`; none where the chart is
    /// in `charts/` and nowhere else.
    pub repository: Option<String>,
    /// Path into the values that turns the chart on or off.
    pub condition: Option<String>,
    /// Tags that turn the chart on or off.
    pub tags: Vec<String>,
    /// `enabled`, which Helm overwrites when it looks at conditions and tags.
    pub enabled: bool,
    /// What is taken over from the values of the chart: texts, or mappings of `child` and `parent`.
    pub import_values: Vec<Value>,
    /// Name under which the chart is used.
    pub alias: Option<String>,
}

impl Metadata {
    /// Reads `Chart.yaml` and checks it as Helm does.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, ChartError> {
        let value = yaml::parse(CHART_YAML, text)?;
        let fields = Fields::of(CHART_YAML, "the file", &value)?;
        let api_version = match fields.text("apiVersion")?.as_str() {
            // Helm 2 did not write one.
            "" | "v1" => "v1",
            "v2" => "v2",
            other => {
                let message = format!("apiVersion `{}` is neither v1 nor v2", clip(other));
                return Err(wrong(CHART_YAML, message));
            }
        };
        let mut maintainers = Vec::new();
        for item in fields.list("maintainers")? {
            maintainers.push(Maintainer::from_value(item)?);
        }
        Ok(Self {
            api_version: api_version.to_owned(),
            name: fields.text("name")?,
            version: fields.text("version")?,
            app_version: some(printable(&fields.text("appVersion")?)),
            kube_version: some(printable(&fields.text("kubeVersion")?)),
            description: some(printable(&fields.text("description")?)),
            kind: some(fields.text("type")?),
            home: some(printable(&fields.text("home")?)),
            sources: fields
                .texts("sources")?
                .iter()
                .map(|s| printable(s))
                .collect(),
            keywords: fields
                .texts("keywords")?
                .iter()
                .map(|s| printable(s))
                .collect(),
            maintainers,
            icon: some(printable(&fields.text("icon")?)),
            condition: some(printable(&fields.text("condition")?)),
            tags: some(printable(&fields.text("tags")?)),
            deprecated: fields.flag("deprecated")?,
            annotations: fields.text_map("annotations")?,
            dependencies: dependencies(CHART_YAML, &fields)?,
        })
    }

    /// Takes the dependencies of `requirements.yaml`, as charts of `apiVersion: v1` have it.
    pub(crate) fn add_requirements(&mut self, text: &[u8]) -> Result<(), ChartError> {
        const FILE: &str = "requirements.yaml";
        let value = yaml::parse(FILE, text)?;
        if value.is_null() {
            return Ok(());
        }
        let fields = Fields::of(FILE, "the file", &value)?;
        let required = dependencies(FILE, &fields)?;
        if !required.is_empty() {
            self.dependencies = required;
        }
        Ok(())
    }

    /// Checks what Helm checks when it loads a chart.
    pub(crate) fn check(&self) -> Result<(), ChartError> {
        check_name(&self.name)?;
        if !is_version(&self.version) {
            let message = match self.version.as_str() {
                "" => "the version is missing".to_owned(),
                other => format!("version `{}` is not a semantic version", clip(other)),
            };
            return Err(wrong(CHART_YAML, message));
        }
        let kind = self.kind.as_deref().unwrap_or("application");
        if !matches!(kind, "application" | "library") {
            let message = format!("type `{}` is neither application nor library", clip(kind));
            return Err(wrong(CHART_YAML, message));
        }
        let mut used = BTreeSet::new();
        for dependency in &self.dependencies {
            dependency.check()?;
            if !used.insert(dependency.used_as()) {
                let name = clip(dependency.used_as());
                let message = format!("more than one dependency has the name or alias `{name}`");
                return Err(wrong(CHART_YAML, message));
            }
        }
        Ok(())
    }

    /// Checks that the name can be the last part of a repository in a registry.
    pub(crate) fn check_repository_name(&self) -> Result<(), ChartError> {
        if is_repository_part(&self.name) {
            return Ok(());
        }
        let message = format!(
            "the name `{}` cannot be used in a registry: lower-case letters and digits, with `.`, `_`, `__` or `-` between them",
            clip(&self.name)
        );
        Err(wrong(CHART_YAML, message))
    }

    /// The version as a tag: registries take no `+`, so Helm writes `_`.
    pub fn tag(&self) -> String {
        self.version.replace('+', "_")
    }

    /// The name of the archive that `helm package` writes: `NAME-VERSION.tgz`.
    pub fn archive_name(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }

    /// The metadata as Go's `json.Marshal` writes Helm's `chart.Metadata`.
    pub(crate) fn to_go_json(&self) -> String {
        let mut object = Object::default();
        object
            .text_unless_empty("name", &self.name)
            .text_if_some("home", &self.home)
            .list_unless_empty("sources", &self.sources, |s| go_json::string(s))
            .text_unless_empty("version", &self.version)
            .text_if_some("description", &self.description)
            .list_unless_empty("keywords", &self.keywords, |s| go_json::string(s))
            .list_unless_empty("maintainers", &self.maintainers, Maintainer::to_go_json)
            .text_if_some("icon", &self.icon)
            .text_unless_empty("apiVersion", &self.api_version)
            .text_if_some("condition", &self.condition)
            .text_if_some("tags", &self.tags)
            .text_if_some("appVersion", &self.app_version)
            .flag("deprecated", self.deprecated);
        if !self.annotations.is_empty() {
            object.raw("annotations", &text_map(&self.annotations));
        }
        object
            .text_if_some("kubeVersion", &self.kube_version)
            .list_unless_empty("dependencies", &self.dependencies, Dependency::to_go_json)
            .text_if_some("type", &self.kind)
            .finish()
    }
}

const CHART_YAML: &str = "Chart.yaml";

/// A mapping of texts as Go writes it: sorted by key.
pub(crate) fn text_map(map: &BTreeMap<String, String>) -> String {
    let mut object = Object::default();
    for (key, value) in map {
        object.text(key, value);
    }
    object.finish()
}

impl Maintainer {
    fn from_value(value: &Value) -> Result<Self, ChartError> {
        let fields = Fields::of(CHART_YAML, "an entry of `maintainers`", value)?;
        Ok(Self {
            name: printable(&fields.text("name")?),
            email: printable(&fields.text("email")?),
            url: printable(&fields.text("url")?),
        })
    }

    fn to_go_json(&self) -> String {
        Object::default()
            .text_unless_empty("name", &self.name)
            .text_unless_empty("email", &self.email)
            .text_unless_empty("url", &self.url)
            .finish()
    }
}

impl Dependency {
    /// The name under which the parent knows the chart: its alias, or its own name.
    pub fn used_as(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.name)
    }

    fn check(&self) -> Result<(), ChartError> {
        if !is_plain_name(&self.name) {
            let message = format!("`{}` is not a name for a dependency", clip(&self.name));
            return Err(wrong(CHART_YAML, message));
        }
        let alias = self.alias.as_deref().unwrap_or_default();
        let is_alias = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !alias.chars().all(is_alias) {
            let alias = clip(alias);
            let message = format!(
                "dependency `{}`: `{alias}` is not an alias",
                clip(&self.name)
            );
            return Err(wrong(CHART_YAML, message));
        }
        Ok(())
    }

    pub(crate) fn to_go_json(&self) -> String {
        Object::default()
            .text("name", &self.name)
            .text_if_some("version", &self.version)
            .text("repository", self.repository.as_deref().unwrap_or_default())
            .text_if_some("condition", &self.condition)
            .list_unless_empty("tags", &self.tags, |tag| go_json::string(tag))
            .flag("enabled", self.enabled)
            .list_unless_empty("import-values", &self.import_values, go_json::value)
            .text_if_some("alias", &self.alias)
            .finish()
    }
}

/// The `dependencies` of `Chart.yaml`, `requirements.yaml` or a lock.
pub(crate) fn dependencies(file: &str, fields: &Fields<'_>) -> Result<Vec<Dependency>, ChartError> {
    let mut dependencies = Vec::new();
    for item in fields.list("dependencies")? {
        let fields = Fields::of(file, "an entry of `dependencies`", item)?;
        dependencies.push(Dependency {
            name: printable(&fields.text("name")?),
            version: some(printable(&fields.text("version")?)),
            repository: some(printable(&fields.text("repository")?)),
            condition: some(printable(&fields.text("condition")?)),
            tags: fields
                .texts("tags")?
                .iter()
                .map(|tag| printable(tag))
                .collect(),
            enabled: fields.flag("enabled")?,
            import_values: fields.list("import-values")?.to_vec(),
            alias: some(fields.text("alias")?),
        });
    }
    Ok(dependencies)
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn check_name(name: &str) -> Result<(), ChartError> {
    if is_plain_name(name) {
        return Ok(());
    }
    let message = match name {
        "" => "the name is missing".to_owned(),
        name => format!(
            "`{}` is not a name for a chart: letters, digits, `.`, `_` and `-`",
            clip(name)
        ),
    };
    Err(wrong(CHART_YAML, message))
}

/// `[a-zA-Z0-9._-]+`, and not a directory of every file system.
fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME && name.chars().all(allowed)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (distribution-spec, "Pulling manifests").
fn is_repository_part(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !name.starts_with(is_word) || !name.ends_with(is_word) {
        return false;
    }
    name.split(is_word).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.chars().all(|c| c == '-')
    })
}

/// What Masterminds' `semver.NewVersion` takes: one to three numbers, a leading `v`, leading zeros.
fn is_version(text: &str) -> bool {
    if text.len() > MAX_VERSION {
        return false;
    }
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, metadata) = split_at_mark(text, '+');
    let (numbers, pre_release) = split_at_mark(text, '-');
    let is_identifier = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let has_leading_zero = |part: &str| {
        part.len() > 1 && part.starts_with('0') && part.chars().all(|c| c.is_ascii_digit())
    };
    let is_number =
        |part: &str| part.chars().all(|c| c.is_ascii_digit()) && part.parse::<u64>().is_ok();
    numbers.split('.').count() <= 3
        && numbers.split('.').all(is_number)
        && metadata.is_none_or(|parts| parts.split('.').all(is_identifier))
        && pre_release.is_none_or(|parts| {
            parts
                .split('.')
                .all(|part| is_identifier(part) && !has_leading_zero(part))
        })
}

fn split_at_mark(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Helm's `sanitizeString`: spaces of all kinds become a blank, what cannot be printed goes.
fn printable(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            c if c.is_whitespace() => Some(' '),
            c if is_print(c) => Some(c),
            _ => None,
        })
        .collect()
}

/// Go's `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols. The standard library
/// knows it only as what need not be escaped; a letter in front keeps combining marks unescaped.
fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    let after_letter: String = ['a', c].iter().collect();
    after_letter.escape_debug().eq(after_letter.chars())
}

#[cfg(test)]
mod tests;
