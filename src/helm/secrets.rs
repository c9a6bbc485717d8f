//! What looks like a secret in a values file, so that it is not carried along unnoticed.
//!
//! A values file travels in the bundle as it is, and whoever has the bundle can read it. So the
//! file is searched for passwords, keys and tokens: by the names of fields, by the shapes that
//! well-known tokens have, and by randomness where the name gives a reason. References to secrets
//! (`existingSecret: NAME`), placeholders and paths of files are none.
//!
//! Nothing here returns a value, or any part of one.

mod keys;
mod shapes;
mod tree;

use std::collections::HashSet;

use self::{
    keys::{Kind, kind_of},
    shapes::{encoded_login, is_no_name, is_placeholder, is_random, shape_of, unmistakable},
    tree::Node,
};

pub use tree::ValuesError;

/// A field that looks as if it held a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SuspectedSecret {
    /// Where: `a.b[0].c`, keys with other characters than letters, digits, `_`, `-` and `/` in
    /// double quotes (`a."tls.key"`); `line 7` for a comment.
    pub path: String,
    /// What it looks like.
    pub why: &'static str,
}

/// Searches the text of a values file. The fields are in the order of the file, each once.
///
/// # Errors
/// When it is not one YAML document, or too large. The error has the place, never the text.
pub fn scan(values_yaml: &str) -> Result<Vec<SuspectedSecret>, ValuesError> {
    let root = tree::parse(values_yaml)?;
    let mut search = Search::default();
    search.node(&root, &Context::default());
    search.comments(values_yaml);
    Ok(search.found)
}

/// Whether one of `allowed` covers this path: the path itself, or `a.b.*` for everything below
/// `a.b`.
pub fn is_allowed(path: &str, allowed: &[String]) -> bool {
    allowed
        .iter()
        .any(|pattern| match pattern.strip_suffix(".*") {
            Some(above) => path
                .strip_prefix(above)
                .is_some_and(|below| below.starts_with('.') || below.starts_with('[')),
            None => path == pattern,
        })
}

/// Where in the file the search is.
#[derive(Clone, Debug, Default)]
struct Context {
    path: String,
    /// The name that says what a value here is: the nearest key, or the `name` beside a `value`.
    key: String,
    /// Whether something above says that values here are names of secrets, not secrets.
    names_only: bool,
    /// Whether this is below the data of a Secret of Kubernetes.
    in_secret: bool,
}

impl Context {
    fn at_key(&self, key: &str, shown: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self {
            path: format!("{}{dot}{shown}", self.path),
            key: key.to_owned(),
            names_only: self.names_only || keys::holds_names(key),
            in_secret: self.in_secret,
        }
    }

    /// What is in a list is what the key of the list says.
    fn at_index(&self, index: usize) -> Self {
        Self {
            path: format!("{}[{index}]", self.path),
            ..self.clone()
        }
    }
}

#[derive(Default)]
struct Search<'t> {
    found: Vec<SuspectedSecret>,
    paths: HashSet<String>,
    /// The texts of the fields that were found.
    reported: Vec<&'t str>,
}

impl<'t> Search<'t> {
    fn add(&mut self, path: &str, why: &'static str) {
        if self.paths.insert(path.to_owned()) {
            let path = path.to_owned();
            self.found.push(SuspectedSecret { path, why });
        }
    }

    fn node(&mut self, node: &'t Node, at: &Context) {
        match node {
            Node::Map(entries) => {
                let named = name_beside_value(entries);
                let of_secret = is_kubernetes_secret(entries);
                for (key, value) in entries {
                    let mut below = at.at_key(key, &self.shown(key, at));
                    if key == "value" {
                        // `{name: DB_PASSWORD, value: …}`, and `apiKey: {value: …}`.
                        below.key = named.unwrap_or(&at.key).to_owned();
                    }
                    below.names_only |= entries
                        .iter()
                        .any(|(beside, _)| keys::is_entry_beside(key, beside));
                    below.in_secret |= of_secret && matches!(key.as_str(), "data" | "stringData");
                    self.node(value, &below);
                }
            }
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.node(item, &at.at_index(index));
                }
            }
            Node::Text(text) => {
                if let Some(why) = why(at, text) {
                    self.add(&at.path, why);
                    self.reported.push(text);
                }
            }
            // `password: 123456` is one; `passwordLength: 10` is not called one. `tokenTtl: 3600` is no
            // token, `token: 123456789012` is one.
            Node::Number(digits) => {
                let kind = kind_of(&at.key).filter(|_| !at.names_only);
                let is_one = match kind {
                    Some(Kind::Password) => true,
                    Some(Kind::Token | Kind::Key) => *digits >= LONG_NUMBER,
                    Some(Kind::Secret) | None => false,
                };
                if let (true, Some(kind)) = (is_one, kind) {
                    self.add(&at.path, kind.why());
                }
            }
            Node::Other => {}
        }
    }

    /// The key as it appears in paths. A key that is a token itself is reported, and not shown.
    fn shown(&mut self, key: &str, at: &Context) -> String {
        if let Some(why) = shape_of(key) {
            let hidden = "\"…\"".to_owned();
            self.add(&at.at_key("", &hidden).path, why);
            return hidden;
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/');
        if !key.is_empty() && key.chars().all(plain) {
            key.to_owned()
        } else {
            format!("{key:?}")
        }
    }

    /// Comments are carried along with the rest. Only unmistakable shapes count here: charts have
    /// examples of everything else in theirs.
    fn comments(&mut self, text: &str) {
        let lines: Vec<&str> = text.lines().map(comment_of).collect();
        for (index, &line) in lines.iter().enumerate() {
            // A key goes over several lines; each other shape is in one.
            let why = if line.contains("-----BEGIN ") {
                let block = lines[index..].iter().take(MAX_KEY_LINES);
                let block: Vec<&str> = block.copied().take_while(|line| !line.is_empty()).collect();
                unmistakable(&block.join("\n"))
            } else {
                unmistakable(line)
            };
            if let Some(why) = why
                && !self.reported.iter().any(|text| text.contains(line))
            {
                self.add(&format!("line {}", index + 1), why);
            }
        }
    }
}

/// Digits from which on a number that is called a token or a key is taken for one.
const LONG_NUMBER: usize = 8;
/// The lines of a private key that are looked at, at most.
const MAX_KEY_LINES: usize = 100;

/// What may be a comment in a line; also what looks like one inside a text, which is reported with
/// the field already.
fn comment_of(line: &str) -> &str {
    let comment = match line.trim_start().strip_prefix('#') {
        Some(comment) => comment,
        None => line.split_once(" #").map_or("", |(_, comment)| comment),
    };
    comment.trim_start_matches('#').trim()
}

/// Of `{name: DB_PASSWORD, value: …}`, as lists of environment variables have it, the name.
fn name_beside_value(entries: &[(String, Node)]) -> Option<&str> {
    entries.iter().find_map(|(key, value)| match value {
        Node::Text(name) if key == "name" => Some(name.as_str()),
        _ => None,
    })
}

/// Whether this is a Secret of Kubernetes, as charts take additional objects.
fn is_kubernetes_secret(entries: &[(String, Node)]) -> bool {
    entries
        .iter()
        .any(|(key, value)| key == "kind" && matches!(value, Node::Text(kind) if kind == "Secret"))
}

/// Why a text looks like a secret.
fn why(at: &Context, text: &str) -> Option<&'static str> {
    if let Some(why) = shape_of(text) {
        return Some(why);
    }
    if at.in_secret && !is_placeholder(text) {
        return Some("in the data of a Secret");
    }
    if !at.names_only
        && let Some(kind) = kind_of(&at.key)
        && is_secret_of(kind, &at.key, text)
    {
        return Some(kind.why());
    }
    if keys::is_login(&at.key) && encoded_login(text) {
        return Some("user and password in Base64");
    }
    text.lines()
        .find_map(assignment)
        .or_else(|| manifest_of_secret(text))
}

fn is_secret_of(kind: Kind, key: &str, text: &str) -> bool {
    let text = text.trim();
    if is_placeholder(text) {
        return false;
    }
    match kind {
        Kind::Password => true,
        // `apiKey: api-key` names an entry of a Secret.
        Kind::Token => !keys::is_same_name(key, text),
        Kind::Key => !keys::is_same_name(key, text) && !keys::is_named_after_password(text),
        Kind::Secret => is_random(text) || is_no_name(text),
    }
}

/// Arguments (`--password=…`) and lines of configuration files (`db_password = …`) that are in a
/// text.
fn assignment(line: &str) -> Option<&'static str> {
    let line = line.trim().trim_start_matches('-').trim_start();
    let (key, value) = line.split_once(['=', ':'])?;
    let key = key.trim().trim_matches('"');
    let value = value.trim().trim_end_matches(',').trim_matches(['"', '\'']);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if key.is_empty() || !key.chars().all(plain) || value.contains(char::is_whitespace) {
        return None;
    }
    match kind_of(key) {
        Some(kind) if is_secret_of(kind, key, value) => Some(kind.why_inside()),
        _ => shape_of(value),
    }
}

/// The manifest of a Secret as a text, which may be a template.
fn manifest_of_secret(text: &str) -> Option<&'static str> {
    let mut lines = text.lines().map(str::trim);
    if !lines.clone().any(|line| line == "kind: Secret") {
        return None;
    }
    lines.find(|line| matches!(*line, "data:" | "stringData:"))?;
    lines
        .filter_map(|line| line.split_once(": "))
        .any(|(_, value)| !is_placeholder(value))
        .then_some("has the data of a Secret")
}

#[cfg(test)]
mod tests;
