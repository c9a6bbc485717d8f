//! Text inside objects: configuration files in ConfigMaps and Secrets, YAML in YAML.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{
    documents,
    place::Step,
    walk::{Scope, Walker},
    words::{assignment, live_lines},
};

/// How many texts inside texts are read.
const MAX_DEPTH: usize = 3;
/// Files that nothing reads as configuration.
const EXAMPLES: [&str; 3] = [".example", ".sample", ".md"];

impl Walker<'_> {
    /// The files of a ConfigMap or Secret.
    pub(super) fn texts(&mut self, object: &Map<String, Value>, is_secret: bool) {
        for (field, encoded) in [("data", is_secret), ("stringData", false)] {
            let Some(files) = object.get(field).and_then(Value::as_object) else {
                continue;
            };
            let files: Map<String, Value> = files
                .iter()
                .filter(|(name, _)| !EXAMPLES.iter().any(|end| name.ends_with(end)))
                .filter_map(|(name, value)| {
                    let text = value.as_str()?;
                    let text = if encoded {
                        decode(text)?
                    } else {
                        text.to_owned()
                    };
                    Some((name.clone(), Value::String(text)))
                })
                .collect();
            self.text_depth += 1;
            // All files together are one object: `trivy.repository` and `trivy.tag` belong together.
            self.key(field, |walker| walker.map(&files, &Scope::default(), &[]));
            self.text_depth -= 1;
        }
    }

    /// A text in a text, or the file of a ConfigMap: YAML or JSON by its fields, other text by its words.
    pub(super) fn text_in_text(&mut self, text: &str) {
        // A reference that is certain has a colon.
        if self.text_depth == 0 || self.text_depth > MAX_DEPTH || !text.contains(':') {
            return;
        }
        let structured =
            text.contains('\n') || text.trim_start().starts_with(['{', '[']) || text.contains(": ");
        if structured && let Some(values) = parse_all(text) {
            self.text_depth += 1;
            for (index, value) in values.iter().enumerate() {
                self.at(Step::Text(index), |walker| {
                    walker.value(value, &Scope::default());
                });
            }
            self.text_depth -= 1;
            return;
        }
        self.free_text(text);
        for line in live_lines(text) {
            if let Some((key, value)) = assignment(line) {
                self.named(key, value);
            }
        }
    }
}

/// The documents of a text, when all of them are objects or lists.
fn parse_all(text: &str) -> Option<Vec<Value>> {
    documents::split(text)
        .iter()
        .map(|document| {
            documents::parse(document.text)
                .ok()
                .filter(|value| value.is_object() || value.is_array())
        })
        .collect()
}

/// The text of a Secret; none when it is not text.
fn decode(encoded: &str) -> Option<String> {
    let bytes: Vec<u8> = encoded
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    String::from_utf8(STANDARD.decode(bytes).ok()?).ok()
}
