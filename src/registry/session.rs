//! The requests of one upload: where it is, what it takes, how far it has come (distribution
//! specification, "Pushing blobs").

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE},
};

use tokio::time::timeout;

use super::{
    Place,
    auth::scope::Scopes,
    body::Payload,
    error::{Asked, RegistryError},
    origin::{self, Purpose},
    pull::named_digest,
    transport::{Answer, Call, Transport},
};
use crate::oci::{Algorithm, Digest, media_type};

/// Longest upload location that is accepted, in bytes.
const MAX_LOCATION: usize = 8 << 10;
/// What the user is told of a registry that names itself with `http`, asked with `https`.
const INNER_ADDRESS: &str = "it names its uploads with http, so a proxy in front of it ends TLS and does not send \
    X-Forwarded-Proto; the uploads stay on https at the address that was given";
/// Longest wait for an upload to be closed that is not wanted.
const CLOSING: Duration = Duration::from_secs(5);
/// The smallest chunk that a registry takes, but for the last.
const CHUNK_MIN: &str = "oci-chunk-min-length";

/// An upload that the registry has opened.
#[derive(Clone, Debug)]
pub struct UploadSession {
    /// Where the next request of the upload goes.
    location: Url,
    /// The registry's smallest chunk in bytes; zero when it named none.
    chunk_min: u64,
}

impl UploadSession {
    /// Reads `Location` from an answer to a request that went to `from`, and judges it.
    pub(super) fn from_answer(
        transport: &Transport,
        answer: &Answer,
        from: &Url,
    ) -> Result<Self, RegistryError> {
        let refused = |target: String, reason| RegistryError::UploadLocation {
            asked: answer.asked.clone(),
            target,
            reason,
        };
        let text = answer
            .header(LOCATION.as_str())
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(|| refused("nowhere".to_owned(), "there is no Location"))?;
        if text.len() > MAX_LOCATION {
            return Err(refused("a long address".to_owned(), "it is too long"));
        }
        let mut location = resolve(from, text.trim())
            .ok_or_else(|| refused("nowhere".to_owned(), "the Location is not an address"))?;
        if let Some(outer) = origin::behind_tls_proxy(from, &location) {
            transport.warn(&origin::host_port(from), INNER_ADDRESS);
            location = outer;
        }
        origin::check_target(
            from,
            &location,
            Purpose::Upload,
            &transport.config.plain_http,
        )
        .map_err(|reason| refused(origin::show(&location), reason))?;
        let chunk_min = answer
            .header(CHUNK_MIN)
            .and_then(|n| n.trim().parse().ok())
            .unwrap_or(0);
        Ok(Self {
            location,
            chunk_min,
        })
    }

    /// The smallest chunk that the registry takes, in bytes; the last may be smaller.
    pub fn chunk_min(&self) -> u64 {
        self.chunk_min
    }

    /// Goes on where an answer says, if it says so.
    fn follow(&mut self, transport: &Transport, answer: &Answer) -> Result<(), RegistryError> {
        if answer.headers().contains_key(LOCATION) {
            let next = Self::from_answer(transport, answer, &self.location)?;
            self.location = next.location;
        }
        Ok(())
    }

    /// The address that completes the upload. The query is the registry's own state, so the digest
    /// goes behind it and nothing in it is touched.
    fn completion(&self, digest: &Digest) -> Url {
        let mut url = self.location.clone();
        let digest = digest.to_string().replace(':', "%3A");
        let query = match url.query().filter(|query| !query.is_empty()) {
            Some(query) => format!("{query}&digest={digest}"),
            None => format!("digest={digest}"),
        };
        url.set_query(Some(&query));
        url
    }
}

/// `Location` in all its forms; also the one of registries that forget the scheme.
fn resolve(from: &Url, text: &str) -> Option<Url> {
    let first = text.split('/').next().unwrap_or_default();
    let host = origin::host_port(from);
    let forgot_scheme = !text.contains("://")
        && !first.is_empty()
        && (first == host || text[first.len()..].starts_with("/v2/") && first.contains(['.', ':']));
    match forgot_scheme {
        true => Url::parse(&format!("{}://{text}", from.scheme())).ok(),
        false => from.join(text).ok(),
    }
}

/// How far an answer to PATCH, or to a question for the state, says that the registry has come.
#[derive(Debug, PartialEq, Eq)]
enum Reached {
    /// So many bytes.
    Bytes(u64),
    /// It does not say.
    Unknown,
}

fn reached(answer: &Answer) -> Reached {
    let parse = || {
        let text = answer.header(RANGE.as_str())?.trim();
        let text = text.strip_prefix("bytes=").unwrap_or(text);
        let (_, last) = text.split_once('-')?;
        last.trim().parse::<u64>().ok()?.checked_add(1)
    };
    parse().map_or(Reached::Unknown, Reached::Bytes)
}

impl Place {
    /// Opens an upload.
    pub(super) async fn begin_session(
        &self,
        digest: &Digest,
    ) -> Result<UploadSession, RegistryError> {
        // The parameter tells registries what to compute while they read; only where it is not the
        // algorithm that all assume.
        let query = match digest.algorithm() {
            Algorithm::Sha256 => String::new(),
            other => format!("?digest-algorithm={}", other.name()),
        };
        let rest = format!("blobs/uploads/{query}");
        let what = format!("upload of blob {digest} to `{}`", self.shown);
        let call = self
            .call(Method::POST, &rest, self.push_scopes(), what)
            .await?;
        let answer = self.transport().send(&call).await?;
        if !answer.status().is_success() {
            return Err(self.transport().error(answer).await);
        }
        UploadSession::from_answer(self.transport(), &answer, &call.url)
    }

    /// A request of an upload that is open.
    fn session_call(&self, method: Method, url: Url, digest: &Digest) -> Call {
        Call {
            method,
            url,
            host: self.host.clone(),
            path: self.asked.path().to_owned(),
            scopes: Scopes::push(self.asked.path()),
            headers: Default::default(),
            body: Payload::Empty,
            what: format!("upload of blob {digest} to `{}`", self.shown),
            beside: false,
        }
        .header(
            CONTENT_TYPE,
            HeaderValue::from_static(media_type::OCTET_STREAM),
        )
    }

    /// For messages about a chunk that was not sent.
    pub(super) fn asked_for_upload(&self, session: &UploadSession, digest: &Digest) -> Box<Asked> {
        self.session_call(Method::PATCH, session.location.clone(), digest)
            .asked()
    }

    /// Closes an upload; the registry throws it away by itself if this fails.
    pub(super) async fn cancel(&self, session: UploadSession) {
        let mut call = self.session_call(Method::DELETE, session.location, &Digest::sha256_of(b""));
        call.headers.clear();
        // Not worth a wait: a host that wants to be left alone forgets the upload by itself.
        let _ = timeout(CLOSING, self.transport().attempt(&call)).await;
    }

    /// Completes an upload with `body`, which is the whole blob or nothing more.
    pub(super) async fn complete(
        &self,
        session: &UploadSession,
        digest: &Digest,
        size: u64,
        body: Payload,
    ) -> Result<(), RegistryError> {
        let call = self
            .session_call(Method::PUT, session.completion(digest), digest)
            .body(body);
        let answer = self.transport().attempt(&call).await?;
        if !answer.status().is_success() {
            return Err(self.transport().error(answer).await);
        }
        let other = named_digest(&answer)
            .filter(|named| named.algorithm() == digest.algorithm() && named != digest);
        if let Some(actual) = other {
            return Err(RegistryError::DigestMismatch {
                asked: answer.asked,
                expected: Box::new(*digest),
                actual: Box::new(actual),
            });
        }
        // Registries have been seen to confirm a blob with another algorithm's digest and to lose it.
        let believed = digest.algorithm() == Algorithm::Sha256;
        let created = answer.status() == StatusCode::CREATED && believed;
        if created || self.blob_exists(digest, size).await? {
            return Ok(());
        }
        Err(answer.unexpected(format!(
            "{}, but the blob is not there afterwards",
            answer.status()
        )))
    }

    /// Sends bytes `from..to` of the blob as one chunk; returns up to where the registry has come.
    pub(super) async fn patch(
        &self,
        session: &mut UploadSession,
        digest: &Digest,
        from: u64,
        to: u64,
        body: Payload,
    ) -> Result<u64, RegistryError> {
        let range = HeaderValue::from_str(&format!("{from}-{}", to - 1))
            .map_err(|e| RegistryError::Setup(e.to_string()))?;
        let call = self
            .session_call(Method::PATCH, session.location.clone(), digest)
            .header(CONTENT_RANGE, range)
            .body(body);
        let answer = self.transport().attempt(&call).await?;
        let status = answer.status();
        let asked = answer.asked.clone();
        match status.as_u16() {
            200..=299 => {}
            416 => {
                // The registry is elsewhere in the blob than we think.
                session.follow(self.transport(), &answer)?;
                return self.ask_offset(session, digest, from).await;
            }
            404 if from > 0 => {
                return Err(RegistryError::UploadLost {
                    asked,
                    offset: from,
                });
            }
            400 | 404 | 405 | 411 | 415 | 501 if from == 0 => {
                return Err(RegistryError::ChunkedUnsupported { asked });
            }
            _ => return Err(self.transport().error(answer).await),
        }
        session.follow(self.transport(), &answer)?;
        match reached(&answer) {
            Reached::Unknown => Ok(to),
            Reached::Bytes(n) if n == to => Ok(to),
            // Some registries count only the last chunk; if this one lost the rest instead, the
            // digest will not fit at the end.
            Reached::Bytes(n) if n == to - from => Ok(to),
            // The registry answers as if it had taken the chunk and has not (ECR); `0-0` is what
            // many say for nothing at all.
            Reached::Bytes(n) if n <= from.max(1) => {
                Err(RegistryError::ChunkedUnsupported { asked })
            }
            Reached::Bytes(n) if n < to => Ok(n),
            Reached::Bytes(n) => {
                Err(answer.unexpected(format!("it has {n} bytes, but only {to} were sent")))
            }
        }
    }

    /// Asks how far an upload has come, when an answer was lost (distribution specification,
    /// "Pushing a blob in chunks", GET). `known` is what it certainly had.
    pub(super) async fn ask_offset(
        &self,
        session: &mut UploadSession,
        digest: &Digest,
        known: u64,
    ) -> Result<u64, RegistryError> {
        let mut call = self.session_call(Method::GET, session.location.clone(), digest);
        call.headers.clear();
        let answer = self.transport().send(&call).await?;
        if !answer.status().is_success() {
            return Err(RegistryError::UploadLost {
                asked: answer.asked,
                offset: known,
            });
        }
        session.follow(self.transport(), &answer)?;
        Ok(match reached(&answer) {
            // Registries say `0-0` for an upload without a single byte.
            Reached::Bytes(1) if known == 0 => 0,
            Reached::Bytes(n) => n,
            Reached::Unknown => known,
        })
    }
}

impl Place {
    /// Completes an upload whose bytes have all been taken, as often as it takes.
    pub(super) async fn finish(
        &self,
        session: &UploadSession,
        digest: &Digest,
        size: u64,
    ) -> Result<(), RegistryError> {
        let mut attempts = self.transport().attempts();
        loop {
            let error = match self.complete(session, digest, size, closing()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // The answer to an earlier attempt may have been lost, and the upload with it.
            let status = error.status().map(|s| s.as_u16());
            let damaged = error.code() == Some("DIGEST_INVALID");
            let lost = status == Some(404) || damaged;
            if (lost || error.is_transient()) && self.blob_exists(digest, size).await? {
                return Ok(());
            }
            if lost {
                return Err(RegistryError::UploadLost {
                    asked: self.asked_for_upload(session, digest),
                    offset: size,
                });
            }
            attempts.pause(error, &self.host.gate).await?;
        }
    }
}

/// The body of a request that closes an upload. There is nothing in it, and the answer may take its
/// time all the same: the registry puts the blob together and hashes it.
fn closing() -> Payload {
    Payload::Bytes(Bytes::new())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn q22_locations_come_in_many_forms() {
        let from = Url::parse("https://r.example:5000/v2/a/blobs/uploads/").unwrap();
        for (text, expected) in [
            (
                "https://r.example:5000/u/1?_state=a%2Bb",
                "https://r.example:5000/u/1?_state=a%2Bb",
            ),
            (
                "/v2/a/blobs/uploads/1",
                "https://r.example:5000/v2/a/blobs/uploads/1",
            ),
            ("1?x=y", "https://r.example:5000/v2/a/blobs/uploads/1?x=y"),
            ("r.example:5000/v2/a/1", "https://r.example:5000/v2/a/1"),
            ("other.example/v2/a/1", "https://other.example/v2/a/1"),
            ("//other.example/x", "https://other.example/x"),
            ("../../../../../etc", "https://r.example:5000/etc"),
        ] {
            assert_eq!(resolve(&from, text).unwrap().as_str(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_location_is_an_address_or_none(text in "[ -~]{0,80}", path in "[a-z/.:?%=&]{0,30}") {
            let from = Url::parse("https://r.example:5000/v2/a/blobs/uploads/").unwrap();
            for text in [&text, &path, &format!("r.example:5000{path}"), &format!("//{path}")] {
                if let Some(url) = resolve(&from, text) {
                    let _ = origin::check_target(&from, &url, Purpose::Upload, &[]);
                    let digest = Digest::sha256_of(b"");
                    let session = UploadSession { location: url.clone(), chunk_min: 0 };
                    let completed = session.completion(&digest);
                    // The address is the one that was named, up to its query.
                    prop_assert_eq!(url.path(), completed.path());
                    prop_assert!(completed.query().unwrap().starts_with(url.query().unwrap_or("")));
                }
            }
        }
    }

    #[test]
    fn q22_the_digest_goes_behind_the_state_of_the_registry() {
        let digest = Digest::sha256_of(b"");
        let encoded = digest.to_string().replace(':', "%3A");
        for (location, expected) in [
            ("https://r/u/1", format!("https://r/u/1?digest={encoded}")),
            ("https://r/u/1?", format!("https://r/u/1?digest={encoded}")),
            (
                "https://r/u/1?_state=b%2F+a&z=1&a=2",
                format!("https://r/u/1?_state=b%2F+a&z=1&a=2&digest={encoded}"),
            ),
        ] {
            let session = UploadSession {
                location: Url::parse(location).unwrap(),
                chunk_min: 0,
            };
            assert_eq!(session.completion(&digest).as_str(), expected);
        }
    }
}
