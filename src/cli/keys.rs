//! The keys and signatures that arguments name.

use std::path::{Path, PathBuf};

use super::{args::TrustArgs, escape::escape_path, exit::CliError, interrupt::Interrupt, prompt};
use crate::open::Trust;
use crate::trust::{
    NamedKey, PublicKey, SignatureInput, SigningKey, TrustError, TrustPolicy, password_from_env,
};

/// Opens a private key: with the password of the environment if there is one, else with the empty
/// password, else with one that is asked for.
///
/// # Errors
/// When the file is no private key, or the password does not open it.
pub fn signing_key(file: &Path, interrupt: &Interrupt) -> Result<SigningKey, CliError> {
    if let Some(password) = password_from_env()? {
        return Ok(SigningKey::read_file(file, &password)?);
    }
    match SigningKey::read_file(file, "") {
        Err(TrustError::WrongPassword { .. }) => {
            let what = format!("password of {}", escape_path(file));
            let password = prompt::password(interrupt, &what)?;
            Ok(SigningKey::read_file(file, &password)?)
        }
        opened => Ok(opened?),
    }
}

/// Opens several private keys, each as [`signing_key`] does.
///
/// # Errors
/// As [`signing_key`], at the first that fails.
pub fn signing_keys(files: &[PathBuf], interrupt: &Interrupt) -> Result<Vec<SigningKey>, CliError> {
    files
        .iter()
        .map(|file| signing_key(file, interrupt))
        .collect()
}

impl TrustArgs {
    /// What `--key` and `--threshold` ask for; `None` when `--allow-unsigned` asks for nothing.
    ///
    /// # Errors
    /// With exit code 2 when neither is there, when a key cannot be used, or when the threshold
    /// is more than the keys.
    pub fn policy(&self) -> Result<Option<TrustPolicy>, CliError> {
        self.check()?;
        if self.allow_unsigned {
            return Ok(None);
        }
        policy(&self.key, self.threshold.unwrap_or(1)).map(Some)
    }

    /// What decides whether a bundle is trusted.
    ///
    /// # Errors
    /// As [`Self::policy`] and [`Self::signatures`].
    pub fn trust(&self) -> Result<Trust, CliError> {
        Ok(match self.policy()? {
            Some(policy) => Trust::Keys {
                policy,
                detached: self.signatures()?,
            },
            None => Trust::AllowUnsigned,
        })
    }

    /// The detached signatures that `--signature` names.
    ///
    /// # Errors
    /// When one cannot be read: what was named is never passed over.
    pub fn signatures(&self) -> Result<Vec<SignatureInput>, CliError> {
        let read = self
            .signature
            .iter()
            .map(|file| SignatureInput::read_file(file));
        Ok(read.collect::<Result<_, _>>()?)
    }
}

/// A policy that asks for `threshold` of the public keys in these files.
///
/// # Errors
/// With exit code 2 when a key cannot be used, or when the threshold is more than the keys.
pub fn policy(files: &[PathBuf], threshold: u16) -> Result<TrustPolicy, CliError> {
    let named = |file: &PathBuf| -> Result<NamedKey, TrustError> {
        let name = file.file_name().unwrap_or(file.as_os_str());
        Ok(NamedKey {
            name: escape_path(Path::new(name)),
            key: PublicKey::read_file(file)?,
        })
    };
    let keys = files.iter().map(named).collect::<Result<_, _>>()?;
    Ok(TrustPolicy::new(keys, threshold.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::exit::Exit, trust::KeyPair};

    fn args(key: Vec<PathBuf>, threshold: Option<u16>) -> TrustArgs {
        TrustArgs {
            key,
            threshold,
            ..TrustArgs::default()
        }
    }

    #[test]
    fn no_key_is_never_fine_and_a_threshold_has_to_be_reachable() {
        let directory = tempfile::tempdir().unwrap();
        let pair = KeyPair::generate("").unwrap();
        let files = pair.write_files(&directory.path().join("a")).unwrap();

        assert_eq!(args(vec![], None).policy().unwrap_err().exit, Exit::Usage);
        let unsigned = TrustArgs {
            allow_unsigned: true,
            ..TrustArgs::default()
        };
        assert!(unsigned.policy().unwrap().is_none());

        let policy = args(vec![files.public.clone()], None)
            .policy()
            .unwrap()
            .unwrap();
        assert_eq!(
            (policy.threshold(), policy.keys()[0].name.as_str()),
            (1, "a.pub")
        );
        for wrong in [
            args(vec![files.public.clone(), files.public.clone()], Some(2)),
            args(vec![files.private.clone()], None),
            args(vec![directory.path().join("absent")], None),
        ] {
            assert_eq!(wrong.policy().unwrap_err().exit, Exit::Usage, "{wrong:?}");
        }
        let key = signing_key(&files.private, &Interrupt::default()).unwrap();
        assert_eq!(&key.public(), pair.public());
    }

    #[test]
    fn a_signature_that_was_named_is_not_passed_over() {
        let args = TrustArgs {
            signature: vec!["/nonexistent/signature".into()],
            ..TrustArgs::default()
        };
        assert!(args.signatures().is_err());
    }
}
