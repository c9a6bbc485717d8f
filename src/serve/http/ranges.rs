//! Byte ranges: `Range` of downloads (RFC 9110, section 14) and `Content-Range` of upload chunks
//! (distribution specification, "Pushing a blob in chunks").

/// What part of a blob an answer carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of it: no range was asked for, or one in a form that a server may ignore.
    Whole,
    /// The bytes from the first number up to, not including, the second.
    Part(u64, u64),
    /// Nothing of the blob is in the range.
    Unsatisfiable,
}

/// Reads a `Range` header for a blob of `size` bytes. Several ranges at once are ignored, as the
/// RFC permits.
pub(super) fn select(header: Option<&str>, size: u64) -> Selection {
    let Some(range) = header.and_then(|header| header.strip_prefix("bytes=")) else {
        return Selection::Whole;
    };
    let Some((first, last)) = range.split_once('-') else {
        return Selection::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => (first, size),
        (None, Some(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size),
        _ => return Selection::Whole,
    };
    if part.0 >= part.1 {
        return Selection::Unsatisfiable;
    }
    Selection::Part(part.0, part.1)
}

/// Reads the `Content-Range` of a chunk, `FIRST-LAST` (with an optional `bytes ` and `/SIZE`, as
/// some clients send it): first byte and length.
pub(super) fn chunk(header: &str) -> Option<(u64, u64)> {
    let range = header.strip_prefix("bytes ").unwrap_or(header);
    let range = range.split_once('/').map_or(range, |(range, _)| range);
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let length = last.checked_sub(first)?.checked_add(1)?;
    Some((first, length))
}

/// Digits only: no sign, no space.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_downloads() {
        use Selection::{Part, Unsatisfiable, Whole};
        for (header, size, selection) in [
            ("bytes=0-0", 10, Part(0, 1)),
            ("bytes=3-", 10, Part(3, 10)),
            ("bytes=3-99", 10, Part(3, 10)),
            ("bytes=-4", 10, Part(6, 10)),
            ("bytes=-40", 10, Part(0, 10)),
            ("bytes=0-18446744073709551615", 10, Part(0, 10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=5-4", 10, Whole),
            ("bytes=0-1,4-5", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=-", 10, Whole),
            ("items=0-1", 10, Whole),
            ("bytes=99999999999999999999999-", 10, Whole),
        ] {
            assert_eq!(select(Some(header), size), selection, "{header}");
        }
        assert_eq!(select(None, 10), Whole);
    }

    #[test]
    fn ranges_of_chunks() {
        assert_eq!(chunk("0-9"), Some((0, 10)));
        assert_eq!(chunk("bytes 5-5/10"), Some((5, 1)));
        for wrong in [
            "",
            "5",
            "5-4",
            "-4",
            "4-",
            "a-b",
            "0-18446744073709551615",
            "bytes=0-1",
        ] {
            assert_eq!(chunk(wrong), None, "{wrong}");
        }
    }
}
