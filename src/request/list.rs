//! Lists of images: one reference a line.

use std::{io::Read, str};

use super::{Problem, RequestError, names::clip};
use crate::oci::Reference;

/// Longest line of a list, in bytes without the line end.
pub const MAX_LINE_BYTES: usize = 4096;
/// Largest list that is read, in bytes.
pub const MAX_LIST_BYTES: u64 = 16 << 20;
/// Most problems of one list that are reported; what is wrong with more lines is wrong with the
/// file.
const MAX_PROBLEMS: usize = 100;
/// What some editors put in front of UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An image of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedImage {
    /// The image.
    pub reference: Reference,
    /// Its line, counted from 1.
    pub line: u64,
}

/// Reads a list of images: UTF-8, one reference a line, `#` starts a comment at the start of a
/// line or after white space, empty lines and white space around a reference mean nothing, lines
/// end in LF or CR LF. `shown` is the name of the list in messages.
///
/// # Errors
/// [`RequestError::Invalid`] with every line that is not a reference, is not text, or is longer
/// than [`MAX_LINE_BYTES`].
pub fn parse_list(text: &[u8], shown: &str) -> Result<Vec<ListedImage>, RequestError> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut images = Vec::new();
    let mut problems = Vec::new();
    let mut unreported = 0_usize;
    for (line, bytes) in (1_u64..).zip(text.split(|b| *b == b'\n')) {
        match parse_line(bytes) {
            Ok(None) => {}
            Ok(Some(reference)) => images.push(ListedImage { reference, line }),
            Err(message) if problems.len() < MAX_PROBLEMS => problems.push(Problem {
                file: shown.to_owned(),
                line,
                column: 0,
                message,
            }),
            Err(_) => unreported += 1,
        }
    }
    if problems.is_empty() {
        return Ok(images);
    }
    if unreported > 0 {
        problems.push(Problem {
            file: shown.to_owned(),
            line: 0,
            column: 0,
            message: format!("{unreported} more lines are wrong"),
        });
    }
    Err(RequestError::Invalid { problems })
}

/// Reads a list from `reader` and parses it, see [`parse_list`].
///
/// # Errors
/// When reading fails, when there is more than [`MAX_LIST_BYTES`], and as [`parse_list`].
pub fn read_list(reader: impl Read, shown: &str) -> Result<Vec<ListedImage>, RequestError> {
    let text = super::source::read_capped(reader, shown, MAX_LIST_BYTES)?;
    parse_list(&text, shown)
}

fn parse_line(line: &[u8]) -> Result<Option<Reference>, String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > MAX_LINE_BYTES {
        return Err(format!("the line is longer than {MAX_LINE_BYTES} bytes"));
    }
    let line = str::from_utf8(line).map_err(|_| "the line is not UTF-8 text".to_owned())?;
    let wanted = without_comment(line).trim();
    if wanted.is_empty() {
        return Ok(None);
    }
    if wanted.contains(char::is_whitespace) {
        return Err(format!("`{}` is not one image reference", clip(wanted)));
    }
    wanted
        .parse()
        .map(Some)
        .map_err(|e: crate::oci::ReferenceError| e.to_string())
}

fn without_comment(line: &str) -> &str {
    let mut after_space = true;
    for (at, c) in line.char_indices() {
        if c == '#' && after_space {
            return &line[..at];
        }
        after_space = c.is_whitespace();
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &[u8]) -> Vec<(u64, String)> {
        parse_list(text, "images.txt")
            .unwrap()
            .into_iter()
            .map(|image| (image.line, image.reference.to_string()))
            .collect()
    }

    fn messages(text: &[u8]) -> Vec<String> {
        match parse_list(text, "images.txt").unwrap_err() {
            RequestError::Invalid { problems } => {
                problems.iter().map(ToString::to_string).collect()
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn comments_empty_lines_and_line_ends_do_not_matter() {
        let text = b"\xef\xbb\xbf# all of it\r\n\r\nalpine:3 # small\r\n\tquay.io/a/b:1\t# x\n  #c\nbusybox";
        let expected = [
            (3, "docker.io/library/alpine:3"),
            (4, "quay.io/a/b:1"),
            (6, "docker.io/library/busybox:latest"),
        ];
        assert_eq!(list(text), expected.map(|(line, r)| (line, r.to_owned())));
        assert!(list(b"").is_empty());
    }

    #[test]
    fn everything_wrong_is_reported_at_once_with_its_line() {
        let mut text = b"alpine\nAlpine\nk\xf6ln\na\0b\nalpine busybox\na#b\n".to_vec();
        text.extend(vec![b'a'; MAX_LINE_BYTES + 1]);
        let messages = messages(&text);
        let lines: Vec<&str> = messages
            .iter()
            .map(|m| m.split(": ").next().unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                "images.txt:2",
                "images.txt:3",
                "images.txt:4",
                "images.txt:5",
                "images.txt:6",
                "images.txt:7"
            ]
        );
        assert!(messages[1].ends_with("the line is not UTF-8 text"));
        assert!(messages[5].ends_with("longer than 4096 bytes"));
    }

    #[test]
    fn a_file_that_is_no_list_does_not_make_endless_errors() {
        let messages = messages("UPPER\n".repeat(5000).as_bytes());
        assert_eq!(messages.len(), MAX_PROBLEMS + 1);
        assert_eq!(
            messages.last().unwrap(),
            "images.txt: 4900 more lines are wrong"
        );
    }

    #[test]
    fn a_list_beyond_all_measure_is_not_read() {
        let endless = std::io::repeat(b'\n');
        assert!(matches!(
            read_list(endless, "stdin"),
            Err(RequestError::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_list(&text, "x");
        }

        #[test]
        fn what_is_written_is_read_again(
            names in proptest::collection::vec("[a-z]{1,8}(:[a-z0-9]{1,4})?", 0..20),
            ends in proptest::sample::select(vec!["\n", "\r\n", " # c\n", "\n\n"]),
        ) {
            let text: String = names.iter().map(|name| format!("{name}{ends}")).collect();
            let read: Vec<Reference> =
                parse_list(text.as_bytes(), "x").unwrap().into_iter().map(|i| i.reference).collect();
            let meant: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
            prop_assert_eq!(read, meant);
        }
    }
}
