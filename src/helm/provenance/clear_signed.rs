//! The cleartext signature framework of OpenPGP (RFC 9580, section 7), as far as it is text.

use super::{MAX_PROVENANCE_BYTES, ProvenanceError};

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// The text that is signed, without the escapes. Nothing may stand before or behind the message:
/// a person who looks into the file would take it for signed.
pub(super) fn text_of(message: &[u8]) -> Result<String, ProvenanceError> {
    if message.len() > MAX_PROVENANCE_BYTES {
        return Err(malformed("it is too large"));
    }
    let message = std::str::from_utf8(message).map_err(|_| malformed("it is not UTF-8"))?;
    let mut lines = message.trim().lines().map(str::trim_end);
    if lines.next() != Some(BEGIN) {
        return Err(malformed("it does not begin with a clear-signed message"));
    }
    loop {
        match lines.next() {
            Some("") => break,
            Some(header) if header.starts_with("Hash: ") => {}
            _ => {
                return Err(malformed(
                    "it has a header that no clear-signed message has",
                ));
            }
        }
    }
    let mut text = Vec::new();
    loop {
        match lines.next() {
            Some(SIGNATURE) => break,
            Some(line) if line.starts_with('-') => match line.strip_prefix("- ") {
                Some(escaped) => text.push(escaped),
                None if line == "-" => text.push(""),
                None => return Err(malformed("it has a line that is not escaped")),
            },
            Some(line) => text.push(line),
            None => return Err(malformed("it has no signature")),
        }
    }
    if lines.find(|line| *line == END).is_none() || lines.next().is_some() {
        return Err(malformed("it does not end with its signature"));
    }
    text.push("");
    Ok(text.join("\n"))
}

fn malformed(reason: &str) -> ProvenanceError {
    ProvenanceError::Malformed {
        reason: reason.to_owned(),
    }
}
