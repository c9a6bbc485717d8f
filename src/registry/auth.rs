//! The `Authorization` header for a request: which scheme, which credential, which token.

pub(crate) mod challenge;
pub(crate) mod scope;
mod token;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use base64::prelude::*;
use reqwest::{Url, header::HeaderValue};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
use zeroize::Zeroizing;

use self::{
    challenge::Challenge,
    scope::Scopes,
    token::{Token, TokenRequest},
};
use super::{
    Secret,
    credentials::{Credential, CredentialStore},
    error::RegistryError,
    http::Http,
    origin,
};

/// From this many tokens on, those that are out of date are thrown away.
const MANY_TOKENS: usize = 256;

/// One token that several tasks may want at the same time; the first fetches it.
type TokenSlot = Arc<AsyncMutex<Option<Token>>>;

/// Turns challenges into headers; keeps tokens by who is asked and for which scopes.
pub(crate) struct Authenticator {
    credentials: CredentialStore,
    plain_http: Vec<String>,
    tokens: Mutex<HashMap<String, TokenSlot>>,
}

/// Whom a header is for.
pub(crate) struct Recipient<'a> {
    /// The host as references spell it; credentials are kept under it.
    pub(crate) host: &'a str,
    /// The repository path; empty for the registry as such.
    pub(crate) path: &'a str,
    /// The address that is asked, and that made the challenges.
    pub(crate) url: &'a Url,
    /// What it offered.
    pub(crate) challenges: &'a [Challenge],
    /// What the request needs.
    pub(crate) scopes: &'a Scopes,
}

impl Authenticator {
    pub(crate) fn new(credentials: CredentialStore, plain_http: Vec<String>) -> Self {
        Self {
            credentials,
            plain_http,
            tokens: Mutex::default(),
        }
    }

    /// The header for a request to a registry itself; `None` when there is nothing to show.
    pub(crate) async fn header(
        &self,
        http: &Http,
        to: &Recipient<'_>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        if to.challenges.is_empty() {
            return Ok(None);
        }
        let credential = self.credentials.find(to.host, to.path).await?;
        if let Some(Credential::RegistryToken(token)) = &credential {
            return bearer_header(token).map(Some);
        }
        if let Some(challenge) = bearer(to.challenges) {
            let request = TokenRequest {
                http,
                registry: to.host,
                plain_http: &self.plain_http,
                challenged_by: to.url,
                challenge,
                scopes: to.scopes,
                credential: credential.as_ref(),
            };
            return self.token(token_key(to), &request).await.map(Some);
        }
        let basic = to.challenges.iter().any(|c| c.scheme == "basic");
        match credential {
            Some(Credential::Basic { username, password }) if basic => {
                basic_header(&username, &password).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A header for a server that is no registry and so was not asked what it takes: user name and
    /// password, where they are kept for it.
    pub(crate) async fn basic_header(
        &self,
        host: &str,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        match self.credentials.find(host, "").await? {
            Some(Credential::Basic { username, password }) => {
                basic_header(&username, &password).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A header for a host that a redirect leads to: never with a credential, only with a token
    /// that it hands out to anybody.
    pub(crate) async fn anonymous_header(
        &self,
        http: &Http,
        url: &Url,
        challenges: &[Challenge],
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let Some(challenge) = bearer(challenges) else {
            return Ok(None);
        };
        let scopes = challenge
            .parameter("scope")
            .and_then(|wanted| Scopes::default().merged(wanted))
            .unwrap_or_default();
        let key = format!("anonymous {} {}", origin::show(url), scopes.key());
        let request = TokenRequest {
            http,
            registry: url.host_str().unwrap_or_default(),
            plain_http: &self.plain_http,
            challenged_by: url,
            challenge,
            scopes: &scopes,
            credential: None,
        };
        self.token(key, &request).await.map(Some)
    }

    /// Forgets the token that was just refused, unless somebody has replaced it already.
    pub(crate) async fn reject(&self, to: &Recipient<'_>, refused: &HeaderValue) {
        let slot = self.lock().get(&token_key(to)).cloned();
        let Some(slot) = slot else { return };
        let mut token = slot.lock().await;
        let same = |token: &Token| bearer_header(&token.value).is_ok_and(|h| h == *refused);
        if token.as_ref().is_some_and(same) {
            *token = None;
        }
    }

    async fn token(
        &self,
        key: String,
        request: &TokenRequest<'_>,
    ) -> Result<HeaderValue, RegistryError> {
        let slot = self.slot(key);
        let mut token = slot.lock().await;
        if let Some(token) = token.as_ref().filter(|t| t.use_until > Instant::now()) {
            return bearer_header(&token.value);
        }
        let fresh = request.fetch().await?;
        let header = bearer_header(&fresh.value);
        *token = Some(fresh);
        header
    }

    fn slot(&self, key: String) -> TokenSlot {
        let mut tokens = self.lock();
        if tokens.len() >= MANY_TOKENS && !tokens.contains_key(&key) {
            let now = Instant::now();
            tokens.retain(|_, slot| match slot.try_lock() {
                Ok(token) => token.as_ref().is_some_and(|t| t.use_until > now),
                // Somebody is using it.
                Err(_) => true,
            });
        }
        tokens.entry(key).or_default().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, TokenSlot>> {
        self.tokens.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn token_key(to: &Recipient<'_>) -> String {
    format!("{} {} {}", origin::show(to.url), to.path, to.scopes.key())
}

/// The Bearer challenge that names a realm, which is preferred to all others.
pub(crate) fn bearer(challenges: &[Challenge]) -> Option<&Challenge> {
    challenges
        .iter()
        .find(|c| c.scheme == "bearer" && c.parameter("realm").is_some())
}

/// `Authorization: Basic` (RFC 7617); any character but a colon may be in the user name.
pub(crate) fn basic_header(
    username: &str,
    password: &Secret,
) -> Result<HeaderValue, RegistryError> {
    let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
    sensitive(&Zeroizing::new(format!("Basic {}", encoded.as_str())))
}

fn bearer_header(token: &Secret) -> Result<HeaderValue, RegistryError> {
    sensitive(&Zeroizing::new(format!("Bearer {}", token.expose())))
}

fn sensitive(text: &str) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        RegistryError::Setup("the token has characters that no header can hold".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q13_basic_credentials_survive_special_characters() {
        let header = basic_header("robot$proj+x", &Secret::new("p:ä$+%")).unwrap();
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let decoded = BASE64_STANDARD.decode(encoded).unwrap();
        assert_eq!(decoded, "robot$proj+x:p:ä$+%".as_bytes());
        assert!(!format!("{header:?}").contains(encoded));
    }
}
