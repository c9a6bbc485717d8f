//! Content digests, as in the OCI image specification, "Descriptors", section "Digests".

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256, Sha512};

/// A registered digest algorithm that this program can compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, which every implementation must support.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name before the colon of a digest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the raw digest in bytes.
    pub const fn raw_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// A verified-by-construction content digest, for example `sha256:e3b0c4…`.
///
/// Only well-formed digests exist: a registered algorithm and exactly its number of lower-case hex
/// digits. That is why a digest may stand in a URL or in a member name without escaping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// The raw bytes; those past the algorithm's length are zero.
    raw: [u8; 64],
}

/// Why a string is not a digest that this program accepts.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DigestError {
    /// No `algorithm:encoded` shape.
    #[error("`{0}` is not a digest: expected ALGORITHM:HEX")]
    Shape(String),
    /// An algorithm that is not `sha256` or `sha512`.
    #[error("`{0}` uses an unsupported digest algorithm: sha256 and sha512 are supported")]
    Algorithm(String),
    /// Wrong length, upper-case letters or other characters behind the colon.
    #[error("`{0}` is not a digest: expected {1} lower-case hexadecimal digits after the colon")]
    Encoding(String, usize),
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of `bytes` by the same algorithm as this one; compare the two to verify content.
    pub fn of_same_algorithm(&self, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(self.algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Builds a digest from its raw bytes.
    ///
    /// # Panics
    /// If `raw` does not have the length of the algorithm.
    pub fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Self {
        assert_eq!(raw.len(), algorithm.raw_len(), "raw digest length");
        let mut all = [0; 64];
        all[..raw.len()].copy_from_slice(raw);
        Self {
            algorithm,
            raw: all,
        }
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw digest, 32 or 64 bytes.
    pub fn raw(&self) -> &[u8] {
        &self.raw[..self.algorithm.raw_len()]
    }

    /// The part after the colon.
    pub fn hex(&self) -> String {
        hex::encode(self.raw())
    }

    /// A form for people: `sha256:` and the first 12 digits.
    pub fn short(&self) -> String {
        format!("{}:{}", self.algorithm.name(), &self.hex()[..12])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let clipped = || text.chars().take(160).collect::<String>();
        let (name, encoded) = text
            .split_once(':')
            .ok_or_else(|| DigestError::Shape(clipped()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(DigestError::Algorithm(clipped())),
        };
        let digits = algorithm.raw_len() * 2;
        let lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if encoded.len() != digits || !encoded.bytes().all(lower_hex) {
            return Err(DigestError::Encoding(clipped(), digits));
        }
        let mut raw = [0; 64];
        hex::decode_to_slice(encoded, &mut raw[..algorithm.raw_len()])
            .map_err(|_| DigestError::Encoding(clipped(), digits))?;
        Ok(Self { algorithm, raw })
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$"
        })
    }
}

/// An incremental digest computation.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// SHA-256 in progress.
    Sha256(Sha256),
    /// SHA-512 in progress.
    Sha512(Sha512),
}

impl Hasher {
    /// Starts a computation.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Ends the computation.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::from_raw(Algorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => Digest::from_raw(Algorithm::Sha512, &hasher.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_digest_round_trips() {
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::sha256_of(b"").to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), Digest::sha256_of(b""));
    }

    #[test]
    fn sha512_is_supported() {
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"abc");
        let digest = hasher.finish();
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(digest.of_same_algorithm(b"abc"), digest);
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        let hex64 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha256:..",
            "sha256:../../../../etc/passwd",
            &format!("md5:{hex64}"),
            &format!("SHA256:{hex64}"),
            &format!("sha256+b64u:{hex64}"),
            &format!("sha256:{}", hex64.to_uppercase()),
            &format!("sha256:{hex64}0"),
            &format!("sha256:{}", &hex64[1..]),
            &format!("sha256:{hex64}\n"),
            &format!("sha512:{hex64}"),
            &format!("sha256::{hex64}"),
            &format!("sha256:%2e{}", &hex64[3..]),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text:?} was accepted");
        }
    }
}
