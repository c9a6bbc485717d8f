//! Splits what `helm template` prints into documents and parses them as the cluster would.

use serde_json::Value;
use serde_saphyr::{
    Location, MessageFormatter as _, UserMessageFormatter,
    options::{DuplicateKeyPolicy, NonFiniteFloatPolicy},
};

use super::{DiscoverError, place::clip};

/// One document of rendered text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'t> {
    /// From the first `# Source: ` comment; empty where there is none.
    pub template: &'t str,
    pub text: &'t str,
    /// Lines of the whole text before `text`.
    pub lines_before: usize,
}

/// Splits at `---` lines, as Helm writes them in front of every object (YAML 1.2.2 section 9.1.4).
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut at, mut line) = (0, 0, 0);
    let mut lines_before = 0;
    for piece in text.split_inclusive('\n') {
        if let Some(rest) = separator(piece) {
            push(&mut documents, &text[start..at], lines_before);
            // What stands behind the dashes belongs to the document that begins here.
            start = at + rest;
            lines_before = line;
        }
        at += piece.len();
        line += 1;
    }
    push(&mut documents, &text[start..], lines_before);
    documents
}

/// The length of the marker, when the line is one.
fn separator(line: &str) -> Option<usize> {
    let rest = line.strip_prefix("---")?;
    let ends = rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']);
    ends.then_some(3)
}

fn push<'t>(documents: &mut Vec<Document<'t>>, text: &'t str, lines_before: usize) {
    let mut template = "";
    let mut empty = true;
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line == "..." {
            continue;
        }
        let Some(comment) = line.strip_prefix('#') else {
            empty = false;
            break;
        };
        // Only the first: a template may write comments of its own.
        if let Some(source) = comment.strip_prefix(" Source: ")
            && template.is_empty()
        {
            template = source.trim();
        }
    }
    if !empty {
        documents.push(Document {
            template,
            text,
            lines_before,
        });
    }
}

/// Why a text is not one YAML document.
pub(super) struct YamlProblem {
    pub line: u64,
    pub column: u64,
    pub message: String,
}

/// Parses one document as Helm and the API machinery do: of keys that are given twice the last
/// counts, merge keys and aliases are expanded (within a budget).
pub(super) fn parse(text: &str) -> Result<Value, YamlProblem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 128,
            max_documents: 1,
            max_nodes: 2_000_000,
            max_events: 4_000_000,
        },
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        // Real charts have more comments in a row than the budget for kept ones allows.
        emit_comments: false,
        // A snippet could hold a secret of the values.
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let message = UserMessageFormatter.format_message(error);
        YamlProblem {
            line: at.line(),
            column: at.column(),
            message: clip(message.trim_end_matches('.')),
        }
    })
}

/// Parses the `index`th document (from 0) of rendered text.
pub(super) fn parse_document(
    document: &Document<'_>,
    index: usize,
) -> Result<Value, DiscoverError> {
    parse(document.text).map_err(|problem| DiscoverError::Yaml {
        template: document.template.to_owned(),
        document: index + 1,
        line: match problem.line {
            0 => 0,
            line => line + document.lines_before as u64,
        },
        column: problem.column,
        message: problem.message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(&str, &str, usize)> {
        split(text)
            .into_iter()
            .map(|d| (d.template, d.text, d.lines_before))
            .collect()
    }

    #[test]
    fn documents_know_their_template() {
        let text = "---\n# Source: a/templates/x.yaml\nkind: A\n---\n# Source: a/b.yaml\n# only\n\n---\nkind: B\n--- # c\nkind: C\n";
        assert_eq!(
            texts(text),
            [
                (
                    "a/templates/x.yaml",
                    "\n# Source: a/templates/x.yaml\nkind: A\n",
                    0
                ),
                ("", "\nkind: B\n", 7),
                ("", " # c\nkind: C\n", 9),
            ]
        );
        assert_eq!(texts(""), []);
        assert_eq!(texts("---\r\n---\r\n...\r\n"), []);
        assert_eq!(texts("--- {kind: A}"), [("", " {kind: A}", 0)]);
    }

    #[test]
    fn only_a_marker_at_the_start_of_a_line_separates() {
        let text = "data: |\n  ---\n  # Source: no\n  -----BEGIN\nx: '----'\n----: 1\n";
        assert_eq!(texts(text), [("", text, 0)]);
    }

    #[test]
    fn keys_that_are_given_twice_count_as_kubernetes_counts_them() {
        let value = parse("a: 1\na: 2\n").unwrap_or_default();
        assert_eq!(value, serde_json::json!({"a": 2}));
    }

    #[test]
    fn an_error_says_where_in_the_whole_text() {
        let text = "---\nkind: A\n---\n# Source: c/t.yaml\nkind: B\nx: [1\n---\n";
        let documents = split(text);
        let error = parse_document(&documents[1], 1).unwrap_err();
        let DiscoverError::Yaml {
            template,
            document,
            line,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((template.as_str(), *document), ("c/t.yaml", 2));
        assert!((6..=7).contains(line), "{error}");
    }

    #[test]
    fn an_alias_bomb_is_an_error() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            let previous = format!("*a{},", i - 1).repeat(9);
            text.push_str(&format!("a{i}: &a{i} [{previous}]\n"));
        }
        assert!(parse(&text).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
