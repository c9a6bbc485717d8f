//! Foreign text in the languages of the hand-off's files.
//!
//! Every function takes any text and gives something that its language reads as one plain value:
//! nothing in it can end the value, start a comment, or run.

use std::fmt::Write as _;

/// Longest piece of foreign text in a message, in characters.
const MAX_SHOWN: usize = 120;

/// One word for a POSIX shell: as it is where that is safe, else in single quotes.
pub fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+:,./_-=".contains(c);
    // A word that starts with a dash is still an option inside quotes: callers put a value behind
    // its option's name, or a path with a slash.
    if !text.is_empty() && !text.starts_with('=') && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A basic string of TOML 1.0, with its quotes.
pub fn toml(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if is_invisible(c) => push_unicode(&mut quoted, c),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A double-quoted scalar of YAML 1.1 and 1.2, with its quotes.
pub fn yaml(text: &str) -> String {
    // The escapes that are needed are the same as in TOML, and both know `\uXXXX`/`\UXXXXXXXX`.
    toml(text)
}

/// A field of a CSV file (RFC 4180). Text that a spreadsheet would run as a formula gets an
/// apostrophe in front, which spreadsheets take as "this is text".
pub fn csv(text: &str) -> String {
    let guarded = match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n') => format!("'{text}"),
        _ => text.to_owned(),
    };
    if guarded.contains([',', '"', '\n', '\r', '\'']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

/// Text in a line of prose: escaped and clipped, for messages and notes.
pub fn shown(text: &str) -> String {
    let mut line = String::new();
    for (number, c) in text.chars().enumerate() {
        if number == MAX_SHOWN {
            line.push('…');
            break;
        }
        if is_invisible(c) {
            line.extend(c.escape_unicode());
        } else {
            line.push(c);
        }
    }
    line
}

/// A code span of CommonMark: as [`shown`], in enough backticks.
pub fn code(text: &str) -> String {
    let text = shown(text);
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    let longest = text
        .split(|c| c != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    // A pipe would end the cell of a table even inside a code span.
    let text = text.replace('|', r"\|");
    if text.starts_with('`') || text.ends_with('`') || text.starts_with(' ') {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}

/// Whether a character would change what is around it instead of being seen: control characters,
/// line separators, and what turns the direction of text.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fffe}'
                | '\u{ffff}'
        )
}

fn push_unicode(to: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a string cannot fail.
    let _ = if code <= 0xffff {
        write!(to, "\\u{code:04x}")
    } else {
        write!(to, "\\U{code:08x}")
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NASTY: &str = "[ -~\\t\\n\\r\\x00\\x7f\\u{85}\\u{2028}\\u{202e}\\u{feff}ä中😀]{0,30}";

    #[test]
    fn plain_words_stay_plain() {
        for word in ["a", "registry.local:5000/a/b", "v1.2+x", "values/r/a.yaml"] {
            assert_eq!(shell(word), word);
        }
        assert_eq!(csv("quay.io/a:b"), "quay.io/a:b");
        assert_eq!(code("a"), "`a`");
    }

    #[test]
    fn what_would_break_out_is_held_in() {
        assert_eq!(shell(""), "''");
        assert_eq!(shell("$(id) 'x'"), r"'$(id) '\''x'\'''");
        assert_eq!(toml("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
        assert_eq!(csv("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        assert_eq!(csv("@a"), "\"'@a\"");
        assert_eq!(code("a``b|c"), r"```a``b\|c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(shown("a\u{1b}[2J"), r"a\u{1b}[2J");
        assert_eq!(shown(&"x".repeat(200)).chars().count(), MAX_SHOWN + 1);
    }

    /// The fields of one record, read by the rules of RFC 4180.
    fn read_csv(record: &str) -> Vec<String> {
        let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
        let mut chars = record.chars().peekable();
        while let Some(c) = chars.next() {
            match (quoted, c) {
                (false, ',') => fields.push(std::mem::take(&mut field)),
                (true, '"') if chars.peek() == Some(&'"') => {
                    field.push('"');
                    chars.next();
                }
                (_, '"') => quoted = !quoted,
                (_, c) => field.push(c),
            }
        }
        fields.push(field);
        fields
    }

    proptest! {
        #[test]
        fn yaml_reads_back_what_was_quoted(text in NASTY) {
            let read: String = serde_saphyr::from_str(&yaml(&text)).unwrap();
            prop_assert_eq!(read, text);
        }

        #[test]
        fn csv_reads_back_and_never_starts_a_formula(a in NASTY, b in NASTY) {
            let read = read_csv(&format!("{},{}", csv(&a), csv(&b)));
            prop_assert_eq!(read.len(), 2);
            for (read, text) in read.iter().zip([a, b]) {
                prop_assert!(!read.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']));
                prop_assert!(*read == text || read.strip_prefix('\'') == Some(text.as_str()));
            }
        }

        #[test]
        fn toml_stays_on_one_line_and_unescapes(text in NASTY) {
            let quoted = toml(&text);
            prop_assert!(!quoted.chars().any(char::is_control));
            let read: String = serde_saphyr::from_str(&quoted).unwrap();
            prop_assert_eq!(read, text);
        }

        #[test]
        fn code_spans_end_where_they_should(text in "[`|a ]{1,12}") {
            let span = code(&text);
            let fence: String = span.chars().take_while(|c| *c == '`').collect();
            prop_assert!(!fence.is_empty());
            let inner = &span[fence.len()..span.len() - fence.len()];
            prop_assert!(inner.split(|c| c != '`').all(|run| run.len() != fence.len()));
        }
    }

    #[test]
    fn a_real_shell_reads_back_what_was_quoted() {
        for text in [
            "", "a b", "$(id)", "`id`", "a'b\"c", "x;y|z&", "~", "*", "a\nb", "\\", "=ls",
        ] {
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(format!("printf %s {}", shell(text)))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
