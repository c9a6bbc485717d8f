//! Splitting key files into PEM blocks (RFC 7468).
//!
//! Tolerant where tools differ (CRLF, a byte order mark, line width, explanatory text outside the
//! blocks), strict where a guess could pick the wrong key.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{KeyError, MAX_KEY_FILE_BYTES, clip};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// No key file has more blocks (`EC PARAMETERS` and a key); a third one is enough to refuse.
const MAX_BLOCKS: usize = 3;

/// One `-----BEGIN LABEL-----` … `-----END LABEL-----`.
pub(super) struct Block {
    pub(super) label: String,
    pub(super) der: Zeroizing<Vec<u8>>,
}

impl Block {
    /// Whether this is a private key of any kind.
    pub(super) fn is_private_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// The error for a label that is of no use where it was found.
    pub(super) fn unsupported(&self) -> KeyError {
        match self.label.as_str() {
            "CERTIFICATE" | "TRUSTED CERTIFICATE" => KeyError::CertificateGiven,
            "ENCRYPTED PRIVATE KEY" => KeyError::OpensslEncrypted,
            "RSA PRIVATE KEY" | "RSA PUBLIC KEY" => KeyError::UnsupportedAlgorithm("RSA".into()),
            "DSA PRIVATE KEY" => KeyError::UnsupportedAlgorithm("DSA".into()),
            other => KeyError::UnsupportedLabel(clip(other)),
        }
    }
}

/// All blocks of `pem`, at least one.
pub(super) fn blocks(pem: &[u8]) -> Result<Vec<Block>, KeyError> {
    if pem.len() > MAX_KEY_FILE_BYTES {
        return Err(KeyError::TooLarge);
    }
    let text = std::str::from_utf8(pem).map_err(|_| KeyError::NoPem)?;
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(label) = line
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.strip_suffix(DASHES))
        {
            if blocks.len() == MAX_BLOCKS {
                return Err(KeyError::SeveralKeys);
            }
            blocks.push(read_block(label, &mut lines)?);
        } else if line.contains("--") && (line.contains("BEGIN") || line.contains("END")) {
            // As explanatory text it could hide a second key.
            return Err(KeyError::DamagedPem("a BEGIN or END line is malformed"));
        }
    }
    if blocks.is_empty() {
        return Err(KeyError::NoPem);
    }
    Ok(blocks)
}

fn read_block<'a>(
    label: &str,
    lines: &mut impl Iterator<Item = &'a str>,
) -> Result<Block, KeyError> {
    // As large as it can get, so that it never moves and leaves a copy of a secret behind.
    let mut body = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_BYTES));
    for line in lines {
        if let Some(end) = line
            .strip_prefix(END)
            .and_then(|rest| rest.strip_suffix(DASHES))
        {
            if end != label {
                return Err(KeyError::DamagedPem(
                    "the END line does not match the BEGIN line",
                ));
            }
            let der = STANDARD
                .decode(body.as_bytes())
                .map(Zeroizing::new)
                .map_err(|_| KeyError::DamagedPem("invalid base64"))?;
            return Ok(Block {
                label: label.to_owned(),
                der,
            });
        }
        if line.contains(':') {
            // RFC 1421 headers: only OpenSSL's own encryption still writes them.
            return Err(KeyError::OpensslEncrypted);
        }
        if line.starts_with('-') {
            break;
        }
        body.push_str(line);
    }
    Err(KeyError::DamagedPem("the END line is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN THING-----\nAAEC\nAwQF\n-----END THING-----\n";

    fn only(pem: &str) -> (String, Vec<u8>) {
        let mut blocks = blocks(pem.as_bytes()).unwrap();
        assert_eq!(blocks.len(), 1, "{pem:?}");
        let block = blocks.remove(0);
        (block.label, block.der.to_vec())
    }

    #[test]
    fn the_forms_that_tools_write_are_read_alike() {
        let expected = ("THING".to_owned(), vec![0, 1, 2, 3, 4, 5]);
        for pem in [
            ONE.to_owned(),
            ONE.trim_end().to_owned(),
            ONE.replace('\n', "\r\n"),
            format!("\u{feff}{ONE}"),
            format!("# the key of the border\n\n{ONE}\n# end\n"),
            ONE.replace("AAEC\nAwQF", "AAECAwQF"),
            ONE.replace("AAEC\n", "  AAEC \n\n"),
        ] {
            assert_eq!(only(&pem), expected, "{pem:?}");
        }
    }

    #[test]
    fn damage_is_refused() {
        for pem in [
            "",
            " \n\t",
            "AAEC",
            "{}",
            "-----BEGIN THING-----",
            "-----BEGIN THING-----\nAAEC\n",
            "-----BEGIN THING-----\nAAEC\n-----END OTHER-----",
            "-----BEGIN THING-----\nAAE\n-----END THING-----",
            "-----BEGIN THING-----\nAA_-\n-----END THING-----",
            "-----BEGIN THING-----\nAB==\n-----END THING-----",
            "----BEGIN THING-----\nAAEC\n-----END THING-----",
            "-----BEGIN THING----\nAAEC\n-----END THING-----",
            "-----BEGIN THING-----\n-----BEGIN THING-----\nAAEC\n-----END THING-----",
            &format!("{ONE}-----END THING-----"),
            &format!("{ONE} ----BEGIN THING----\nAAEC\n----END THING----"),
        ] {
            assert!(blocks(pem.as_bytes()).is_err(), "{pem:?} was accepted");
        }
        assert!(matches!(blocks(b"\xff\xfe"), Err(KeyError::NoPem)));
    }

    #[test]
    fn sizes_and_counts_are_capped() {
        let large = vec![b'A'; MAX_KEY_FILE_BYTES + 1];
        assert!(matches!(blocks(&large), Err(KeyError::TooLarge)));
        assert_eq!(blocks(ONE.repeat(3).as_bytes()).unwrap().len(), 3);
        let many = ONE.repeat(500);
        assert!(matches!(
            blocks(many.as_bytes()),
            Err(KeyError::SeveralKeys)
        ));
    }

    #[test]
    fn openssl_encryption_is_recognised() {
        let pem = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                   DEK-Info: AES-128-CBC,00\n\nAAEC\n-----END EC PRIVATE KEY-----\n";
        assert!(matches!(
            blocks(pem.as_bytes()),
            Err(KeyError::OpensslEncrypted)
        ));
    }
}
