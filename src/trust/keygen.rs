//! Making key pairs.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use p256::pkcs8::LineEnding;
use zeroize::Zeroizing;

use super::encrypted::{NONCE_BYTES, SALT_BYTES, seal};
use super::signing_key::SIGSTORE_LABEL;
use super::{PublicKey, SigningKey, TrustError};

/// A new key pair in the form of `cosign generate-key-pair`.
pub struct KeyPair {
    private_pem: Zeroizing<String>,
    public: PublicKey,
}

/// Where [`KeyPair::write_files`] put the two halves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairFiles {
    /// The encrypted private key, mode 0600.
    pub private: PathBuf,
    /// The public key.
    pub public: PathBuf,
}

impl KeyPair {
    /// Makes a key pair, the private half encrypted with `password`. The empty password is
    /// allowed: the file then protects the key only by its permissions.
    ///
    /// # Errors
    /// [`TrustError::Random`] when the operating system gives no random numbers.
    pub fn generate(password: &str) -> Result<Self, TrustError> {
        let key = SigningKey::generate()?;
        let mut salt = [0; SALT_BYTES];
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut salt).map_err(TrustError::Random)?;
        getrandom::fill(&mut nonce).map_err(TrustError::Random)?;
        let der = key.to_pkcs8_der()?;
        let sealed = seal(der.as_bytes(), password.as_bytes(), &salt, &nonce)
            .map_err(|_| TrustError::Encode)?;
        let private_pem = pem_rfc7468::encode_string(SIGSTORE_LABEL, LineEnding::LF, &sealed)
            .map(Zeroizing::new)
            .map_err(|_| TrustError::Encode)?;
        Ok(Self {
            private_pem,
            public: key.public(),
        })
    }

    /// The encrypted private key as PEM.
    pub fn private_pem(&self) -> &str {
        &self.private_pem
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Writes `PREFIX.key` and `PREFIX.pub`, both or neither, and never over an existing file.
    ///
    /// # Errors
    /// [`TrustError::KeyFileExists`] and [`TrustError::Io`]; nothing is left behind then.
    pub fn write_files(&self, prefix: &Path) -> Result<KeyPairFiles, TrustError> {
        let mut private = NewFile::create(with_suffix(prefix, ".key"), 0o600)?;
        let mut public = NewFile::create(with_suffix(prefix, ".pub"), 0o644)?;
        private.write(self.private_pem.as_bytes())?;
        public.write(self.public.to_pem().as_bytes())?;
        Ok(KeyPairFiles {
            private: private.keep(),
            public: public.keep(),
        })
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPair({})", self.public.fingerprint())
    }
}

/// `dir/cosign` and `.key` give `dir/cosign.key`; a dot in the prefix stays.
fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

/// A file that was not there before, and is removed again unless it is kept.
struct NewFile {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl NewFile {
    fn create(path: PathBuf, mode: u32) -> Result<Self, TrustError> {
        let mut options = OpenOptions::new();
        // Exclusively: fails on anything that is there, a dangling symbolic link too.
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        match options.open(&path) {
            Ok(file) => Ok(Self {
                path,
                file,
                keep: false,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(TrustError::KeyFileExists { file: path })
            }
            Err(cause) => Err(TrustError::Io {
                file: path,
                action: "write",
                cause,
            }),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TrustError> {
        self.file
            .write_all(bytes)
            .and_then(|()| self.file.sync_all())
            .map_err(|cause| TrustError::Io {
                file: self.path.clone(),
                action: "write",
                cause,
            })
    }

    fn keep(mut self) -> PathBuf {
        self.keep = true;
        self.path.clone()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.keep {
            // The error that led here is the one to report.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Without the cost of making a real one.
    fn pair() -> KeyPair {
        KeyPair {
            private_pem: Zeroizing::new("private".into()),
            public: super::super::testing::signing_key(1).public(),
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_pair_signs_and_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let pair = KeyPair::generate("secret").unwrap();
        let files = pair.write_files(&dir.path().join("my.cosign")).unwrap();
        assert_eq!(names(dir.path()), ["my.cosign.key", "my.cosign.pub"]);
        assert!(
            pair.private_pem()
                .starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
        );
        assert!(!format!("{pair:?}").contains("BEGIN"));

        let key = SigningKey::read_file(&files.private, "secret").unwrap();
        let public = PublicKey::read_file(&files.public).unwrap();
        assert_eq!(key.public(), public);
        assert!(public.verify(b"root", &key.sign(b"root").unwrap()));

        let error = SigningKey::read_file(&files.private, "Secret").unwrap_err();
        assert!(matches!(error, TrustError::WrongPassword { .. }), "{error}");
        assert!(!error.to_string().contains("Secret"), "{error}");
        let error = SigningKey::read_file(&files.public, "").unwrap_err();
        assert!(
            error.to_string().contains("this is a public key"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_private_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let files = pair().write_files(&dir.path().join("k")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&files.private), 0o600);
        assert_eq!(mode(&files.public) & 0o133, 0);
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_left_behind() {
        for existing in ["k.key", "k.pub"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(existing), "precious").unwrap();
            let error = pair().write_files(&dir.path().join("k")).unwrap_err();
            assert!(matches!(error, TrustError::KeyFileExists { .. }), "{error}");
            assert!(error.to_string().contains(existing), "{error}");
            assert_eq!(names(dir.path()), [existing]);
            let content = fs::read_to_string(dir.path().join(existing)).unwrap();
            assert_eq!(content, "precious");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path().join("target"), dir.path().join("k.pub")).unwrap();
        pair().write_files(&dir.path().join("k")).unwrap_err();
        assert_eq!(names(dir.path()), ["k.pub"]);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = pair().write_files(&dir.path().join("no/k")).unwrap_err();
        assert!(
            matches!(
                error,
                TrustError::Io {
                    action: "write",
                    ..
                }
            ),
            "{error}"
        );
    }
}
