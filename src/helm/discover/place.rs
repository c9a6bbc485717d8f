//! Where in the rendered objects something stands.

use std::fmt;

/// Where a reference stands in the rendered objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The template that rendered the object, from Helm's `# Source:` comment, for example
    /// `tigera-operator/templates/tigera-operator/02-tigera-operator.yaml`; empty where the text has none.
    pub template: String,
    /// `KIND/NAMESPACE/NAME`, without the namespace where the object names none.
    pub object: String,
    /// Path to the field: `spec.template.spec.containers[0].image`. A key that is not a plain word is quoted,
    /// `data["config.yaml"]`; behind `#` stands the place inside YAML or JSON that is the text of a field.
    pub field: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.template.is_empty() {
            write!(f, "{}: ", self.template)?;
        }
        write!(f, "{} {}", self.object, self.field)
    }
}

/// One step of a path into an object.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Key(String),
    Index(usize),
    /// Into the document (from 0) that the text of a field is.
    Text(usize),
}

/// Writes a path as [`Place::field`] has it.
pub(super) fn field(path: &[Step]) -> String {
    let mut written = String::new();
    for step in path {
        match step {
            Step::Index(index) => written.push_str(&format!("[{index}]")),
            Step::Text(0) => written.push('#'),
            Step::Text(document) => written.push_str(&format!("#{document}#")),
            Step::Key(key) if is_plain(key) => {
                if !written.is_empty() && !written.ends_with('#') {
                    written.push('.');
                }
                written.push_str(key);
            }
            Step::Key(key) => written.push_str(&format!("[{:?}]", clip(key))),
        }
    }
    written
}

fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 120
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Keeps foreign text in a message short.
pub(in crate::helm) fn clip(text: &str) -> String {
    crate::human::clip(text, 120)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_one() {
        let key = |text: &str| Step::Key(text.to_owned());
        for (path, written) in [
            (
                vec![key("spec"), key("containers"), Step::Index(0), key("image")],
                "spec.containers[0].image",
            ),
            (
                vec![key("data"), key("a.yaml"), Step::Text(0), key("x")],
                "data[\"a.yaml\"]#x",
            ),
            (
                vec![key("data"), key("a"), Step::Text(1), Step::Index(2)],
                "data.a#1#[2]",
            ),
            (vec![], ""),
        ] {
            assert_eq!(field(&path), written);
        }
    }
}
