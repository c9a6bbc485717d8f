//! What can go wrong with keys and signatures.

use std::io;
use std::path::PathBuf;

use super::{MAX_KEY_FILE_BYTES, RejectedSignature};

/// Why the content of a key file cannot be used.
///
/// The messages name no file; [`TrustError::BadKeyFile`] adds it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Larger than any key.
    #[error("larger than {MAX_KEY_FILE_BYTES} bytes, so it is no key file")]
    TooLarge,
    /// No PEM block at all.
    #[error("no PEM block (`-----BEGIN …-----`) in it")]
    NoPem,
    /// PEM that breaks off or is otherwise damaged.
    #[error("damaged PEM: {0}")]
    DamagedPem(&'static str),
    /// More than one key; which one is meant must not be guessed.
    #[error("more than one PEM block in it, and which key is meant must not be guessed")]
    SeveralKeys,
    /// A private key where a public key belongs.
    #[error("this is a private key, and a public key is needed")]
    PrivateKeyGiven,
    /// A public key where a private key belongs.
    #[error("this is a public key, and a private key is needed")]
    PublicKeyGiven,
    /// A certificate where a key belongs.
    #[error("this is a certificate, and a bare key is needed")]
    CertificateGiven,
    /// Another kind of PEM block.
    #[error("PEM block `{0}` is not a key file that can be used here")]
    UnsupportedLabel(String),
    /// A private key encrypted by OpenSSL.
    #[error("a private key encrypted by OpenSSL is not supported")]
    OpensslEncrypted,
    /// A key of another algorithm or curve.
    #[error("a key of type {0}, and only ECDSA keys on the curve P-256 are supported")]
    UnsupportedAlgorithm(String),
    /// Broken DER, a point off the curve, a secret out of range.
    #[error("not a valid P-256 key: {0}")]
    InvalidKey(&'static str),
    /// The JSON inside an encrypted private key is not as cosign writes it.
    #[error("not an encrypted private key as cosign writes it: {0}")]
    BadEncryption(String),
    /// scrypt parameters other than those that cosign knows.
    #[error("scrypt parameters N={n}, r={r}, p={p} are not among those that cosign writes")]
    ScryptParameters {
        /// Cost.
        n: u64,
        /// Block size.
        r: u64,
        /// Parallelism.
        p: u64,
    },
    /// The password does not open the key (or the ciphertext is damaged, which looks the same).
    #[error("the password does not open this private key")]
    WrongPassword,
    /// A private key that no password protects, in a file that others can read.
    #[error("mode {mode:04o} lets others read this private key, and no password protects it")]
    Exposed {
        /// Permission bits of the file.
        mode: u32,
    },
}

impl KeyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::TooLarge | Self::NoPem | Self::UnsupportedLabel(_) => {
                "key files are made by `bundle keygen` or `cosign generate-key-pair`"
            }
            Self::DamagedPem(_) | Self::InvalidKey(_) | Self::BadEncryption(_) => {
                "copy the key file again from where it came"
            }
            Self::SeveralKeys => "put every key in a file of its own and name each file",
            Self::PrivateKeyGiven => {
                "give the .pub file; if the private key has left its owner's hands, replace it"
            }
            Self::PublicKeyGiven => "give the .key file that belongs to it",
            Self::CertificateGiven => {
                "`openssl x509 -pubkey -noout -in FILE` prints the key of a certificate"
            }
            Self::OpensslEncrypted => {
                "`cosign import-key-pair` or `openssl pkcs8 -topk8 -nocrypt` converts it"
            }
            Self::UnsupportedAlgorithm(_) => "`bundle keygen` makes a key of the right type",
            Self::ScryptParameters { .. } => {
                "N = 32768, 65536 or 131072 with r = 8 and p = 1 is accepted"
            }
            Self::WrongPassword => {
                "set BUNDLE_KEY_PASSWORD or COSIGN_PASSWORD to the password of this key"
            }
            Self::Exposed { .. } => "run `chmod 600` on it",
        };
        Some(hint.to_owned())
    }
}

/// Why a bundle is not trusted, or a key or signature cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is no signature to look at.
    #[error("the bundle has no signature")]
    NoSignature,
    /// More signatures than are looked at.
    #[error("{have} signatures, and at most {max} are looked at")]
    TooManySignatures {
        /// How many there are.
        have: usize,
        /// How many may be there.
        max: usize,
    },
    /// Not one signature by a trusted key.
    #[error("no signature by a trusted key ({} looked at)", .reasons.len())]
    NoTrustedSignature {
        /// Why each signature does not count.
        reasons: Vec<RejectedSignature>,
    },
    /// Signatures by trusted keys, but by too few of them.
    #[error("signed by {have} trusted key(s), and the policy asks for {need}")]
    BelowThreshold {
        /// Distinct trusted keys with a good signature.
        have: usize,
        /// The threshold of the policy.
        need: usize,
        /// Why each other signature does not count.
        reasons: Vec<RejectedSignature>,
    },
    /// The signature is good, but what it signs is not the root of a bundle.
    #[error("what is signed is not the root of a bundle: {0}")]
    NotABundleRoot(String),
    /// A bundle that was signed is not accepted without its signatures.
    #[error("the bundle does not say of itself that it is unsigned")]
    NotMadeUnsigned,
    /// A policy without keys would trust nothing, and must not be mistaken for one that checks.
    #[error("the trust policy names no key")]
    NoKeys,
    /// More keys than a policy may have.
    #[error("{have} keys in the trust policy, and at most {max} are allowed")]
    TooManyKeys {
        /// How many there are.
        have: usize,
        /// How many may be there.
        max: usize,
    },
    /// A threshold that is always or never reached.
    #[error("threshold {threshold} with {keys} distinct key(s): expected 1 to {keys}")]
    BadThreshold {
        /// What was asked for.
        threshold: usize,
        /// How many distinct keys there are.
        keys: usize,
    },
    /// A key file that cannot be used.
    #[error("{}: {reason}", .file.display())]
    BadKeyFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: KeyError,
    },
    /// The password does not open the private key.
    #[error("{}: the password does not open this private key", .file.display())]
    WrongPassword {
        /// The key file.
        file: PathBuf,
    },
    /// A file that is to be written is there already; keys are never overwritten.
    #[error("{}: exists already, and a key file is never overwritten", .file.display())]
    KeyFileExists {
        /// The file.
        file: PathBuf,
    },
    /// Reading or writing a key or signature file failed.
    #[error("{}: cannot {action} it: {cause}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// `read` or `write`.
        action: &'static str,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A password variable holds something else than text.
    #[error("the environment variable {variable} is not valid UTF-8")]
    PasswordNotText {
        /// Its name.
        variable: &'static str,
    },
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system: {0}")]
    Random(getrandom::Error),
    /// A new key could not be encoded.
    #[error("cannot encode the new key")]
    Encode,
    /// A fresh signature does not verify: a fault of the machine, the signature is discarded.
    #[error("the new signature does not verify with its own key")]
    SelfCheck,
}

impl TrustError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSignature => {
                "sign it with `bundle sign`, or name a detached signature with --signature"
            }
            Self::TooManySignatures { .. } => "ask the sender for a bundle with fewer signatures",
            Self::NoTrustedSignature { .. } => {
                "check with the sender which key was used, and that the right public key is named"
            }
            Self::BelowThreshold { .. } => "name the missing approvals with --signature",
            Self::NotABundleRoot(_) => "this key also signs other things; this is not a bundle",
            Self::NotMadeUnsigned => {
                "--allow-unsigned is only for bundles made with --unsigned: check this one with --key"
            }
            Self::NoKeys => "name at least one public key with --key",
            Self::TooManyKeys { .. } => "name only the keys that sign bundles",
            Self::BadThreshold { .. } => {
                "the same key in two files counts once; name more keys or lower --threshold"
            }
            Self::BadKeyFile { reason, .. } => return reason.hint(),
            Self::WrongPassword { .. } => return KeyError::WrongPassword.hint(),
            Self::KeyFileExists { .. } => "choose another name with --output-key-prefix",
            Self::PasswordNotText { .. } => "passwords are UTF-8 text",
            Self::SelfCheck => "check the memory of this machine, then sign again",
            Self::Io { action, cause, .. }
                if *action == "read" && cause.kind() == io::ErrorKind::NotFound =>
            {
                "`bundle keygen` makes a key pair: PREFIX.key signs, PREFIX.pub checks"
            }
            Self::Io { .. } | Self::Random(_) | Self::Encode => return None,
        };
        Some(hint.to_owned())
    }

    /// One line for each signature that did not count, for showing below the message.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::NoTrustedSignature { reasons } | Self::BelowThreshold { reasons, .. } => {
                reasons.iter().map(ToString::to_string).collect()
            }
            _ => Vec::new(),
        }
    }
}
