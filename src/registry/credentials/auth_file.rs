//! Docker's `config.json` and the containers tools' `auth.json`, which share a format.

use std::{collections::BTreeMap, path::Path};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;

use super::{Credential, CredentialError};
use crate::registry::{Secret, config::normal_host};

/// Largest credentials file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The key under which Docker keeps credentials for Docker Hub.
pub(crate) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name that marks a password as an identity token.
pub(crate) const TOKEN_USER: &str = "<token>";

/// One file of credentials, its keys normalised to `HOST[/PATH]`.
pub(crate) struct AuthFile {
    auths: BTreeMap<String, Credential>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

/// What a file says about a repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Credential(Credential),
    /// A helper knows, when it is asked for this server.
    Helper {
        name: String,
        server: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl AuthFile {
    /// Reads a file.
    pub(crate) async fn read(path: &Path) -> Result<Self, CredentialError> {
        let failed = |source| CredentialError::File {
            path: path.to_owned(),
            source,
        };
        let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
        if size > MAX_BYTES {
            return Err(CredentialError::Format {
                path: path.to_owned(),
                detail: format!("larger than {MAX_BYTES} bytes"),
            });
        }
        Self::parse(path, &tokio::fs::read(path).await.map_err(failed)?)
    }

    /// Reads the content of a file; `path` is for messages.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, CredentialError> {
        let wrong = |detail: String| CredentialError::Format {
            path: path.to_owned(),
            detail,
        };
        // Docker creates empty files; they hold nothing.
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self {
                auths: BTreeMap::new(),
                helpers: BTreeMap::new(),
                store: None,
            });
        }
        // serde's own message may quote the content, which is secret.
        let document: Document = serde_json::from_slice(bytes).map_err(|e| {
            wrong(format!(
                "not JSON of the expected form (line {}, column {})",
                e.line(),
                e.column()
            ))
        })?;
        let mut auths = BTreeMap::new();
        for (key, entry) in document.auths.unwrap_or_default() {
            let credential = entry
                .credential()
                .map_err(|detail| wrong(format!("entry `{}`: {detail}", clip(&key))))?;
            if let Some(credential) = credential {
                auths.insert(normal_key(&key), credential);
            }
        }
        let helpers = document.cred_helpers.unwrap_or_default();
        Ok(Self {
            auths,
            helpers: helpers
                .into_iter()
                .map(|(key, name)| (normal_key(&key), name))
                .collect(),
            store: document.creds_store.filter(|name| !name.is_empty()),
        })
    }

    /// What this file says about a repository; the longest prefix of `host/path` decides.
    pub(crate) fn find(&self, host: &str, path: &str) -> Found {
        let mut key = match path {
            "" => host.to_owned(),
            path => format!("{host}/{path}"),
        };
        loop {
            if let Some(name) = self.helpers.get(&key) {
                // An empty name switches the store off for this host.
                return match name.as_str() {
                    "" => Found::Nothing,
                    name => Found::Helper {
                        name: name.to_owned(),
                        server: helper_key(&key),
                    },
                };
            }
            if let Some(credential) = self.auths.get(&key) {
                return Found::Credential(credential.clone());
            }
            match key.rfind('/') {
                Some(slash) => key.truncate(slash),
                None => break,
            }
        }
        match &self.store {
            Some(name) => Found::Helper {
                name: name.clone(),
                server: helper_key(host),
            },
            None => Found::Nothing,
        }
    }
}

impl Entry {
    fn credential(self) -> Result<Option<Credential>, &'static str> {
        if let Some(token) = self.identitytoken.filter(|t| !t.is_empty()) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(token) = self.registrytoken.filter(|t| !t.is_empty()) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) {
            return decode(&auth).map(Some);
        }
        Ok(match (self.username, self.password) {
            (Some(username), Some(password)) if !username.is_empty() => {
                Some(user(username, password))
            }
            _ => None,
        })
    }
}

/// A user name and password, either of which may turn out to be something else.
pub(crate) fn user(username: String, password: Secret) -> Credential {
    if username == TOKEN_USER {
        Credential::IdentityToken(password)
    } else {
        Credential::Basic { username, password }
    }
}

/// Decodes `auth`: base64 of `user:password`, where the password may hold colons.
fn decode(auth: &Secret) -> Result<Credential, &'static str> {
    const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let bytes = ANY_PADDING
        .decode(auth.expose().trim())
        .map_err(|_| "`auth` is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "`auth` is not text")?;
    let whole = Secret::new(text);
    let (username, password) = whole
        .expose()
        .split_once(':')
        .ok_or("`auth` is not USER:PASSWORD")?;
    // Old versions of Docker padded the password with NULs.
    let password = Secret::new(password.trim_end_matches('\0'));
    Ok(user(username.to_owned(), password))
}

/// `HOST[/PATH]` from a key, which may be a URL of API version 1 or 2.
pub(crate) fn normal_key(key: &str) -> String {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key)
        .trim_end_matches('/');
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = normal_host(host).unwrap_or_else(|| host.to_owned());
    match path {
        "" | "v1" | "v2" => host,
        path => format!("{host}/{path}"),
    }
}

/// The name under which helpers and Docker's file know a normalised key.
pub(crate) fn helper_key(key: &str) -> String {
    match key {
        "docker.io" => DOCKER_HUB_KEY.to_owned(),
        key => key.to_owned(),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, host: &str, path: &str) -> Found {
        let file = AuthFile::parse(Path::new("f"), text.as_bytes()).unwrap();
        file.find(host, path)
    }

    fn basic(username: &str, password: &str) -> Found {
        Found::Credential(Credential::Basic {
            username: username.to_owned(),
            password: Secret::new(password),
        })
    }

    #[test]
    fn the_longest_path_prefix_wins() {
        let text = r#"{"auths":{
            "quay.io":{"username":"host","password":"1"},
            "quay.io/org":{"username":"org","password":"2"},
            "quay.io/org/app":{"username":"app","password":"3"}}}"#;
        assert_eq!(find(text, "quay.io", "other/x"), basic("host", "1"));
        assert_eq!(find(text, "quay.io", "org/x"), basic("org", "2"));
        assert_eq!(find(text, "quay.io", "org/app/x"), basic("app", "3"));
        assert_eq!(find(text, "quay.io", "organism/x"), basic("host", "1"));
        assert_eq!(find(text, "quay.io", ""), basic("host", "1"));
    }

    #[test]
    fn docker_hub_has_many_names() {
        for key in [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "https://registry-1.docker.io/v2/",
        ] {
            let text = format!(r#"{{"auths":{{"{key}":{{"auth":"dTpwOnc="}}}}}}"#);
            assert_eq!(
                find(&text, "docker.io", "library/alpine"),
                basic("u", "p:w"),
                "{key}"
            );
        }
    }

    #[test]
    fn passwords_survive_whatever_is_in_them() {
        use base64::prelude::*;
        for password in ["a:b", "$x+y", "ä€", "", "robot$p+q:%40"] {
            let auth = BASE64_STANDARD.encode(format!("robot$proj+x:{password}"));
            for auth in [auth.clone(), auth.trim_end_matches('=').to_owned()] {
                let text = format!(r#"{{"auths":{{"h.io":{{"auth":"{auth}"}}}}}}"#);
                assert_eq!(find(&text, "h.io", "a"), basic("robot$proj+x", password));
            }
        }
    }

    #[test]
    fn tokens_are_told_from_passwords() {
        let token = Secret::new("t");
        for (entry, expected) in [
            (
                r#"{"identitytoken":"t","auth":"eDp5"}"#,
                Credential::IdentityToken(token.clone()),
            ),
            (
                r#"{"username":"<token>","password":"t"}"#,
                Credential::IdentityToken(token.clone()),
            ),
            (r#"{"registrytoken":"t"}"#, Credential::RegistryToken(token)),
        ] {
            let text = format!(r#"{{"auths":{{"h.io":{entry}}}}}"#);
            assert_eq!(find(&text, "h.io", "a"), Found::Credential(expected));
        }
    }

    #[test]
    fn empty_entries_and_files_hold_nothing() {
        for text in [
            "",
            "\n",
            "{}",
            r#"{"auths":null}"#,
            r#"{"auths":{"h.io":{}}}"#,
        ] {
            assert_eq!(find(text, "h.io", "a"), Found::Nothing, "{text}");
        }
        let text = r#"{"auths":{"h.io":{}},"credsStore":"s"}"#;
        let expected = Found::Helper {
            name: "s".to_owned(),
            server: "h.io".to_owned(),
        };
        assert_eq!(find(text, "h.io", "a"), expected);
    }

    #[test]
    fn what_is_wrong_is_said_without_saying_the_secret() {
        for text in [
            r#"{"auths":{"h.io":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"h.io":{"auth":"aHVudGVyMg=="}}}"#,
            r#"{"auths":{"h.io":{"password":["hunter2"]}}}"#,
        ] {
            let error = AuthFile::parse(Path::new("f"), text.as_bytes())
                .err()
                .unwrap();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
