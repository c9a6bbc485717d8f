//! Docker's `config.json` and the containers tools' `auth.json`, which share a format; the older
//! `.dockercfg`, which is only its inner part; and the Secrets in which Kubernetes carries both.

use std::{cmp::Reverse, collections::BTreeMap, path::Path};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Credential, CredentialError, kubernetes, pattern::HostPattern};
use crate::registry::{Secret, config::normal_host};

/// Largest credentials file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The key under which Docker keeps credentials for Docker Hub.
pub(crate) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name that marks a password as an identity token.
pub(crate) const TOKEN_USER: &str = "<token>";

/// One file of credentials, its keys normalised to `HOST[/PATH]`.
#[derive(Default)]
pub(crate) struct AuthFile {
    auths: BTreeMap<String, Credential>,
    /// The more exact first.
    patterns: Vec<PatternEntry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

/// An entry for all hosts of one pattern.
struct PatternEntry {
    host: HostPattern,
    /// May be empty.
    path: String,
    credential: Credential,
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
            return Ok(Self::default());
        }
        let inner = kubernetes::unwrap(bytes).map_err(wrong)?;
        let bytes = inner.as_ref().map_or(bytes, |inner| inner.as_slice());
        // serde's own message may quote the content, which is secret.
        let unread = |e: serde_json::Error| {
            wrong(format!(
                "not JSON of the expected form (line {}, column {})",
                e.line(),
                e.column()
            ))
        };
        let document: Document = serde_json::from_slice(bytes).map_err(unread)?;
        let auths = match document.auths {
            Some(auths) => auths,
            None => old_entries(serde_json::from_slice(bytes).map_err(unread)?),
        };
        let helpers = document.cred_helpers.unwrap_or_default();
        let mut file = Self {
            helpers: helpers
                .into_iter()
                .map(|(key, name)| (normal_key(&key), name))
                .collect(),
            store: document.creds_store.filter(|name| !name.is_empty()),
            ..Self::default()
        };
        for (key, entry) in auths {
            let credential = entry
                .credential()
                .map_err(|detail| wrong(format!("entry `{}`: {detail}", clip(&key))))?;
            if let Some(credential) = credential {
                file.add(normal_key(&key), credential);
            }
        }
        let exactness = |entry: &PatternEntry| Reverse((entry.path.len(), entry.host.exactness()));
        file.patterns.sort_by_key(exactness);
        Ok(file)
    }

    fn add(&mut self, key: String, credential: Credential) {
        let (host, path) = key.split_once('/').unwrap_or((&key, ""));
        match HostPattern::parse(host) {
            Some(host) => self.patterns.push(PatternEntry {
                host,
                path: path.to_owned(),
                credential,
            }),
            None => {
                self.auths.insert(key, credential);
            }
        }
    }

    /// What this file says about a repository. The longest prefix of `host/path` decides, then the
    /// most exact pattern.
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
        let pattern = self.patterns.iter().find(|p| p.is_for(host, path));
        if let Some(entry) = pattern {
            return Found::Credential(entry.credential.clone());
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

impl PatternEntry {
    fn is_for(&self, host: &str, path: &str) -> bool {
        let below = path.strip_prefix(self.path.as_str());
        let path_fits =
            |rest: &str| self.path.is_empty() || rest.is_empty() || rest.starts_with('/');
        below.is_some_and(path_fits) && self.host.matches(host)
    }
}

/// The entries of a `.dockercfg`, which has no `auths` around them. In any other file, members of
/// other forms stand there.
fn old_entries(document: BTreeMap<String, Value>) -> BTreeMap<String, Entry> {
    let entry = |value: Value| {
        let holds = |name| value.get(name).is_some_and(Value::is_string);
        let is_one = holds("auth") || (holds("username") && holds("password"));
        is_one.then(|| serde_json::from_value(value).ok()).flatten()
    };
    let entries = document.into_iter();
    entries
        .filter_map(|(key, value)| Some((key, entry(value)?)))
        .collect()
}

/// Why a document cannot be written to as Docker's file, if it cannot.
pub(crate) fn read_only_form(document: &serde_json::Map<String, Value>) -> Option<&'static str> {
    if document.get("kind").is_some_and(Value::is_string) {
        return Some("a Kubernetes object");
    }
    let entries = || document.clone().into_iter().collect();
    let is_old = !document.contains_key("auths") && !old_entries(entries()).is_empty();
    is_old.then_some("of the old form `.dockercfg`")
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
mod tests;
