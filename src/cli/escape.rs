//! Foreign strings made safe for a terminal.
//!
//! Image names, annotations, file names and messages of servers are written by others. What could
//! move the cursor, retitle the window, forge a line or hide text is shown as an escape sequence
//! in plain letters: `\x1b`, `\n`, `\u{202e}`.

use std::{fmt::Write as _, path::Path};

/// The longest line that is printed, in characters; the rest is cut off with an ellipsis.
pub const MAX_LINE: usize = 4096;

/// Whether a character may not reach a terminal as it is: control characters (C0, DEL, C1),
/// everything that changes the direction of text, and what has no width or no shape.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// `text` as one line of at most [`MAX_LINE`] characters without unsafe ones.
pub fn escape(text: &str) -> String {
    escape_to(text, MAX_LINE)
}

/// `text` as one line of at most `longest` characters (and an ellipsis) without unsafe ones.
pub fn escape_to(text: &str, longest: usize) -> String {
    let mut safe = String::with_capacity(text.len().min(longest));
    let mut length = 0;
    for c in text.chars() {
        let before = safe.len();
        push_escaped(&mut safe, c);
        length += if is_unsafe(c) { safe.len() - before } else { 1 };
        if length > longest {
            safe.truncate(before);
            safe.push('…');
            break;
        }
    }
    safe
}

/// The path as it can be shown: bytes that are no text appear as `\xNN`.
pub fn escape_path(path: &Path) -> String {
    let mut shown = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        shown.push_str(&escape(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// JSON text in which unsafe characters, which a serialiser leaves in strings, are `\uXXXX`.
/// The document stays the same: they can stand in strings only, where the two are equal.
pub fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        // Line ends are the serialiser's own layout: inside strings it writes `\n` itself.
        if c == '\n' || !is_unsafe(c) {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

fn push_escaped(to: &mut String, c: char) {
    // Writing to a string cannot fail.
    let _ = match c {
        '\n' => write!(to, "\\n"),
        '\r' => write!(to, "\\r"),
        '\t' => write!(to, "\\t"),
        c if !is_unsafe(c) => {
            to.push(c);
            Ok(())
        }
        c if (c as u32) < 0x100 => write!(to, "\\x{:02x}", c as u32),
        c => write!(to, "\\u{{{:x}}}", c as u32),
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_on_a_terminal_becomes_letters() {
        for (foreign, shown) in [
            ("plain text, ünïcode 日本", "plain text, ünïcode 日本"),
            ("\x1b[31mred", "\\x1b[31mred"),
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("\u{9b}31m", "\\x9b31m"),
            ("a\rb\nc\td\x08", "a\\rb\\nc\\td\\x08"),
            ("\x7f", "\\x7f"),
            ("a\u{202e}b\u{2066}", "a\\u{202e}b\\u{2066}"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(escape(foreign), shown);
        }
    }

    #[test]
    fn long_lines_are_cut() {
        assert_eq!(escape_to("abcdef", 3), "abc…");
        assert_eq!(escape_to("abc", 3), "abc");
        assert_eq!(escape_to("\x1b\x1b", 5), "\\x1b…");
        assert_eq!(escape(&"x".repeat(1 << 20)).chars().count(), MAX_LINE + 1);
    }

    #[test]
    fn paths_that_are_no_text_are_shown_all_the_same() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let path = Path::new(OsStr::from_bytes(b"a\xff\n\xc3("));
        assert_eq!(escape_path(path), "a\\xff\\n\\xc3(");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in any::<String>(), longest in 0_usize..200) {
            let safe = escape_to(&text, longest);
            prop_assert!(!safe.chars().any(is_unsafe), "{safe:?}");
            prop_assert!(safe.chars().count() <= longest + 1);
            prop_assert_eq!(escape(&escape(&text)), escape(&text));
        }

        #[test]
        fn escaped_json_is_the_same_json(text in any::<String>(), key in any::<String>()) {
            let value = serde_json::json!({ key: [text] });
            let safe = escape_json(&serde_json::to_string_pretty(&value).unwrap());
            prop_assert!(!safe.chars().any(|c| c != '\n' && is_unsafe(c)));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        }
    }
}
