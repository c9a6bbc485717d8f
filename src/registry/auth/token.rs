//! Fetching bearer tokens (Docker "Token Authentication Specification" and its OAuth2 form).

use std::time::{Duration, SystemTime};

use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{LOCATION, RETRY_AFTER},
};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Credential, basic_header, challenge::Challenge, scope::Scopes};
use crate::registry::{
    Secret,
    credentials::auth_file::TOKEN_USER,
    error::{Asked, RegistryError},
    http::{Http, Progress},
    media, origin,
    origin::Purpose,
    retry,
};

/// Largest answer of a token service, in bytes.
const MAX_BODY: usize = 128 << 10;
/// How long a token is taken to live at least, and when its service does not say.
const MIN_LIFETIME: Duration = Duration::from_secs(60);
/// How long before its end a token is replaced, at most.
const MAX_MARGIN: Duration = Duration::from_secs(30);
/// Redirects that are followed from a token service.
const MAX_REDIRECTS: usize = 5;
/// What this program calls itself towards OAuth2 services.
const CLIENT_ID: &str = "sneakernet";

/// A bearer token and the time until which it is used.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) value: Secret,
    pub(crate) use_until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<f64>,
}

impl Token {
    /// The lifetime counts from now, on our own clock: `issued_at` is by a clock that may be wrong.
    fn from_answer(answer: Answer) -> Option<Self> {
        let value = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())?;
        let lifetime = answer
            .expires_in
            .and_then(|seconds| Duration::try_from_secs_f64(seconds.min(86_400.0)).ok())
            .unwrap_or_default()
            .max(MIN_LIFETIME);
        Some(Self {
            value,
            use_until: Instant::now() + lifetime - (lifetime / 10).min(MAX_MARGIN),
        })
    }
}

/// Where and for what a token is asked.
pub(crate) struct TokenRequest<'a> {
    pub(crate) http: &'a Http,
    /// The registry, by the name under which its credentials are kept.
    pub(crate) registry: &'a str,
    pub(crate) plain_http: &'a [String],
    /// The address that answered with the challenge.
    pub(crate) challenged_by: &'a Url,
    pub(crate) challenge: &'a Challenge,
    pub(crate) scopes: &'a Scopes,
    pub(crate) credential: Option<&'a Credential>,
}

impl TokenRequest<'_> {
    /// Asks the token service that the challenge names, if it may be asked.
    pub(crate) async fn fetch(&self) -> Result<Token, RegistryError> {
        let realm = self.realm()?;
        if let Some(Credential::IdentityToken(refresh)) = self.credential {
            let response = self.post(&realm, refresh).await?;
            // Services without OAuth2 answer the POST with one of these (containerd's list).
            if !matches!(response.status().as_u16(), 401 | 404 | 405) {
                return self.read(&realm, response).await;
            }
        }
        let response = self.get(&realm).await?;
        self.read(&realm, response).await
    }

    fn realm(&self) -> Result<Url, RegistryError> {
        let from = self.challenged_by;
        let realm = self.challenge.parameter("realm").unwrap_or_default();
        let refused = |realm: String, reason| RegistryError::RealmRefused {
            origin: origin::show(from),
            realm,
            reason,
        };
        let url = from
            .join(realm)
            .map_err(|_| refused("an address that is none".to_owned(), "it is not a URL"))?;
        origin::check_target(from, &url, Purpose::Realm, self.plain_http)
            .map_err(|reason| refused(origin::show(&url), reason))?;
        Ok(url)
    }

    async fn get(&self, realm: &Url) -> Result<Response, RegistryError> {
        let mut url = realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = self.challenge.parameter("service") {
                query.append_pair("service", service);
            }
            for scope in self.scopes.iter() {
                query.append_pair("scope", &scope);
            }
            if let Some(Credential::Basic { username, .. }) = self.credential {
                query.append_pair("account", username);
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        let mut authorization = match self.credential {
            Some(Credential::Basic { username, password }) => {
                Some(basic_header(username, password)?)
            }
            Some(Credential::IdentityToken(token)) => Some(basic_header(TOKEN_USER, token)?),
            _ => None,
        };
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.http.request(Method::GET, &url)?;
            if let Some(value) = &authorization {
                request = request.header(reqwest::header::AUTHORIZATION, value.clone());
            }
            let response = self.send(&url, request).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let next = response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok())
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| self.failed(realm, "it redirects to nowhere".to_owned()))?;
            origin::check_target(&url, &next, Purpose::Realm, self.plain_http).map_err(
                |reason| RegistryError::RealmRefused {
                    origin: origin::show(&url),
                    realm: origin::show(&next),
                    reason,
                },
            )?;
            if !origin::same_origin(&url, &next) {
                authorization = None;
            }
            url = next;
        }
        Err(self.failed(realm, format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// The OAuth2 form; its body is a secret, so it never follows a redirect.
    async fn post(&self, realm: &Url, refresh: &Secret) -> Result<Response, RegistryError> {
        let scopes = self.scopes.iter().collect::<Vec<_>>().join(" ");
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT_ID),
            ("refresh_token", refresh.expose()),
        ];
        if let Some(service) = self.challenge.parameter("service") {
            form.push(("service", service));
        }
        if !scopes.is_empty() {
            form.push(("scope", &scopes));
        }
        self.send(realm, self.http.request(Method::POST, realm)?.form(&form))
            .await
    }

    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Response, RegistryError> {
        self.http
            .execute(request, &Progress::none(), &self.asked(url))
            .await
    }

    async fn read(&self, realm: &Url, mut response: Response) -> Result<Token, RegistryError> {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry::retry_after(value, SystemTime::now()));
        let body = self
            .http
            .body(&mut response, MAX_BODY, &self.asked(realm))
            .await?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body)
                .ok()
                .and_then(Token::from_answer)
                .ok_or_else(|| self.failed(realm, "the answer holds no token".to_owned()));
        }
        Err(RegistryError::Token {
            realm: origin::show(realm),
            registry: self.registry.into(),
            scopes: self.scopes.to_string(),
            detail: format!("{status}{}", media::server_message(&body)),
            status: Some(status),
            retry_after,
        })
    }

    fn asked(&self, url: &Url) -> Asked {
        Asked {
            method: Method::GET,
            what: format!("token for {}", self.scopes),
            origin: origin::show(url),
            attempts: 0,
            pushes_to: None,
        }
    }

    fn failed(&self, realm: &Url, detail: String) -> RegistryError {
        RegistryError::Token {
            realm: origin::show(realm),
            registry: self.registry.into(),
            scopes: self.scopes.to_string(),
            detail,
            status: None,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(json: &str) -> Duration {
        let token = Token::from_answer(serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!(token.value.expose(), "t");
        token.use_until - Instant::now()
    }

    #[test]
    fn q02_a_token_lives_a_minute_at_least_whatever_its_service_says() {
        for json in [
            r#"{"token":"t"}"#,
            r#"{"access_token":"t","token":""}"#,
            r#"{"token":"t","expires_in":0,"issued_at":"1999-01-01T00:00:00Z"}"#,
            r#"{"token":"t","expires_in":-5}"#,
            r#"{"token":"t","expires_in":59,"issued_at":"2999-01-01T00:00:00Z"}"#,
        ] {
            let lifetime = lifetime(json);
            assert!(lifetime > Duration::from_secs(53), "{json}");
            assert!(lifetime <= Duration::from_secs(54), "{json}");
        }
        assert!(lifetime(r#"{"token":"t","expires_in":300}"#) > Duration::from_secs(260));
        assert!(lifetime(r#"{"token":"t","expires_in":1e300}"#) <= Duration::from_secs(86_400));
    }

    #[test]
    fn an_answer_without_a_token_is_none() {
        for json in [
            "{}",
            r#"{"token":""}"#,
            r#"{"token":null,"access_token":null}"#,
        ] {
            assert!(Token::from_answer(serde_json::from_str(json).unwrap()).is_none());
        }
    }
}
