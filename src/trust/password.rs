//! Where the password of a private key comes from without a person typing it.

use std::ffi::OsString;

use zeroize::Zeroizing;

use super::TrustError;

/// The environment variables that are looked at, first one first. The second is cosign's.
pub const PASSWORD_VARIABLES: [&str; 2] = ["BUNDLE_KEY_PASSWORD", "COSIGN_PASSWORD"];

/// The password from the first of [`PASSWORD_VARIABLES`] that is set. Set but empty means the
/// empty password, as with cosign; `None` means that nothing is set and somebody may be asked.
///
/// # Errors
/// [`TrustError::PasswordNotText`] when the variable is not UTF-8.
pub fn password_from_env() -> Result<Option<Zeroizing<String>>, TrustError> {
    password_from(|variable| std::env::var_os(variable))
}

fn password_from(
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Zeroizing<String>>, TrustError> {
    for variable in PASSWORD_VARIABLES {
        if let Some(value) = lookup(variable) {
            return value
                .into_string()
                .map(|password| Some(Zeroizing::new(password)))
                .map_err(|_| TrustError::PasswordNotText { variable });
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &[(&str, &str)]) -> Option<String> {
        password_from(|variable| {
            set.iter()
                .find(|(name, _)| *name == variable)
                .map(|(_, value)| OsString::from(value))
        })
        .unwrap()
        .map(|password| password.to_string())
    }

    #[test]
    fn the_own_variable_wins_and_empty_is_a_password() {
        let [own, cosign] = PASSWORD_VARIABLES;
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[(cosign, "b")]), Some("b".into()));
        assert_eq!(with(&[(cosign, "b"), (own, "a")]), Some("a".into()));
        assert_eq!(with(&[(cosign, "b"), (own, "")]), Some(String::new()));
    }

    #[cfg(unix)]
    #[test]
    fn a_password_that_is_not_text_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let result = password_from(|_| Some(OsString::from_vec(vec![0xff])));
        let error = result.unwrap_err();
        assert!(error.to_string().contains("BUNDLE_KEY_PASSWORD"), "{error}");
    }
}
