//! Keyrings: the public keys that a user trusts to sign charts.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::ProvenanceError;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Public keys in the form that `gpgv` takes.
#[derive(Clone, PartialEq, Eq)]
pub struct Keyring {
    keys: Vec<u8>,
}

impl Keyring {
    /// Reads a keyring: what `gpg --export` writes, with `--armor` or without, or GnuPG's own
    /// `pubring.gpg` or `pubring.kbx`.
    ///
    /// # Errors
    /// When it is none of these, or holds private keys.
    pub fn read(content: &[u8]) -> Result<Self, ProvenanceError> {
        let fail = |reason| Err(ProvenanceError::Keyring { reason });
        let keys = match std::str::from_utf8(content) {
            Ok(text) if text.contains("-----BEGIN PGP PRIVATE KEY BLOCK-----") => {
                return fail("it holds a private key");
            }
            Ok(text) if text.contains(BEGIN) => match armored(text) {
                Some(keys) => keys,
                None => return fail("its armor is damaged"),
            },
            _ => content.to_vec(),
        };
        if keys.get(8..12) == Some(b"KBXf") {
            return Ok(Self { keys });
        }
        // The tag of the first packet, in the old and in the new format (RFC 9580, section 4.2).
        match keys.first() {
            Some(0x98..=0x9b | 0xc6) => Ok(Self { keys }),
            Some(0x94..=0x97 | 0xc5) => fail("it holds a private key"),
            None => fail("it is empty"),
            Some(_) => fail("it does not begin with a public key"),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.keys
    }
}

/// All blocks of an armored file, one behind the other.
fn armored(text: &str) -> Option<Vec<u8>> {
    let mut keys = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while lines.any(|line| line == BEGIN) {
        // Headers end with an empty line.
        lines.by_ref().find(|line| line.is_empty())?;
        let mut body = String::new();
        loop {
            match lines.next()? {
                END => break,
                // The checksum, which is optional and says nothing against an attacker.
                line if line.starts_with('=') => {}
                line => body.push_str(line.trim()),
            }
        }
        keys.extend(STANDARD.decode(body).ok()?);
    }
    Some(keys)
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} bytes)", self.keys.len())
    }
}
