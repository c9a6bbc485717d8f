//! Plain files from plain web servers, as classic chart repositories are: a GET with the retries,
//! the redirects and the care for credentials that registries get.

use std::{fmt, io::Read};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue},
};
use tokio::task::spawn_blocking;

use super::{
    Client,
    auth::scope::Scopes,
    body::Payload,
    config::normal_host,
    error::{Asked, RegistryError, UNENCRYPTED, WITH_USER},
    origin::{self, Purpose},
    retry,
    transport::{Answer, Call, Transport},
};

/// What may have been done to the content on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Nothing: an encoded answer is refused.
    Plain,
    /// The server may compress it (RFC 9110, section 8.4); what is returned is unpacked.
    Compressed,
    /// The content is a gzip file itself, which some servers take for an encoding. It is returned
    /// as it came.
    GzipFile,
}

/// Whose credentials a download may show. Redirects to other origins never take them along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShowCredentials {
    /// Nobody's.
    Never,
    /// User name and password that are kept for the host that is asked.
    Own,
    /// The same, or, where there are none, those that are kept for the host of this address: the user
    /// said that they may be passed on.
    OwnOrOf(Url),
}

/// A file to be fetched.
#[derive(Clone)]
pub struct Download {
    /// Its address: `https`, or `http` where the host is this machine or named for plain HTTP.
    pub url: Url,
    /// The address of the document that names `url`, where it was not the user. It may not lead to
    /// places that a redirect may not lead to.
    pub named_by: Option<Url>,
    /// What it is, for messages. Without queries and credentials.
    pub what: String,
    /// Largest size in bytes, packed and unpacked.
    pub limit: usize,
    /// Whose credentials may be shown.
    pub credentials: ShowCredentials,
    /// How it may be encoded.
    pub encoding: Encoding,
}

/// Queries may hold signatures, so only the origin is shown.
impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("origin", &origin::show(&self.url))
            .field("what", &self.what)
            .field("limit", &self.limit)
            .field("credentials", &self.credentials)
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Fetches a file into memory. What fails for a moment is tried again, as a whole.
    ///
    /// # Errors
    /// When the address is not to be asked, nothing is there
    /// ([`is_not_found`](RegistryError::is_not_found)), or it is larger than its limit.
    pub async fn download(&self, request: &Download) -> Result<Bytes, RegistryError> {
        let transport = &self.transport;
        let request = &transport.mirrored(request)?;
        let name = transport.permitted_host(request)?;
        let authorization = transport.authorization(request, &name).await?;
        let host = transport.host(&name);
        let mut headers = HeaderMap::new();
        if request.encoding == Encoding::Compressed {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let call = Call {
            method: Method::GET,
            url: request.url.clone(),
            host: host.clone(),
            path: String::new(),
            scopes: Scopes::default(),
            headers,
            body: Payload::Empty,
            what: request.what.clone(),
            beside: false,
        };
        let mut attempts = transport.attempts();
        loop {
            let read = async {
                let _pass = host.gate.enter().await;
                let answer = transport.follow(&call, authorization.clone()).await?;
                if !retry::is_transient(answer.status()) {
                    host.gate.answered();
                }
                transport.read_file(answer, request).await
            };
            match read.await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => attempts.pause(error, &host.gate).await?,
            }
        }
    }
}

impl Transport {
    /// The same file at the mirror of its host, if it has one: whose credentials are then shown is
    /// up to the mirror's address. That address is the user's, so what was judged is the one before.
    fn mirrored(&self, request: &Download) -> Result<Download, RegistryError> {
        let mut request = request.clone();
        let host = normal_host(&origin::host_port(&request.url));
        let mut mirrors = self.config.mirrors.iter();
        let mirror = mirrors.find(|mirror| Some(&mirror.from_host) == host.as_ref());
        if let Some(mirror) = mirror {
            self.check_named(&request)?;
            request.named_by = None;
            let plain = self.config.plain_http.contains(&mirror.to_host);
            let scheme = if plain { "http" } else { "https" };
            let prefix = match mirror.to_path_prefix.as_str() {
                "" => String::new(),
                prefix => format!("/{prefix}"),
            };
            let query = request.url.query().map(|query| format!("?{query}"));
            let text = format!(
                "{scheme}://{}{prefix}{}{}",
                mirror.to_host,
                request.url.path(),
                query.unwrap_or_default()
            );
            // Host and path of a mirror were checked when it was parsed.
            if let Ok(url) = text.parse() {
                request.url = url;
            }
        }
        Ok(request)
    }

    /// Refuses an address to which the document that names it may not lead.
    fn check_named(&self, request: &Download) -> Result<(), RegistryError> {
        let Some(from) = &request.named_by else {
            return Ok(());
        };
        let plain_http = &self.config.plain_http;
        origin::check_target(from, &request.url, Purpose::Redirect, plain_http).map_err(|reason| {
            RegistryError::Address {
                what: request.what.clone(),
                origin: origin::show(&request.url),
                reason,
            }
        })
    }

    /// The host of an address that may be asked, as credentials are kept for it.
    fn permitted_host(&self, request: &Download) -> Result<String, RegistryError> {
        let url = &request.url;
        let refused = |reason| RegistryError::Address {
            what: request.what.clone(),
            origin: origin::show(url),
            reason,
        };
        let host = origin::host_port(url);
        match url.scheme() {
            "https" => {}
            "http" if origin::is_loopback(url) || self.config.plain_http.contains(&host) => {}
            "http" => return Err(refused(UNENCRYPTED)),
            _ => return Err(refused("only http and https addresses are fetched")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(WITH_USER));
        }
        self.check_named(request)?;
        normal_host(&host).ok_or(RegistryError::Host(host))
    }

    async fn authorization(
        &self,
        request: &Download,
        host: &str,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        if request.credentials == ShowCredentials::Never {
            return Ok(None);
        }
        let own = self.auth.basic_header(host).await?;
        match &request.credentials {
            ShowCredentials::OwnOrOf(other) if own.is_none() => {
                let other = origin::host_port(other);
                let other = normal_host(&other).ok_or(RegistryError::Host(other))?;
                self.auth.basic_header(&other).await
            }
            _ => Ok(own),
        }
    }

    async fn read_file(
        &self,
        mut answer: Answer,
        request: &Download,
    ) -> Result<Bytes, RegistryError> {
        match answer.status() {
            StatusCode::OK => {}
            status if status.is_success() || status.is_redirection() => {
                return Err(answer.unexpected(format!("{status} instead of a file")));
            }
            _ => return Err(self.error(answer).await),
        }
        let encoded = answer.header(CONTENT_ENCODING.as_str());
        let gzip = encoded.is_some_and(|e| {
            ["gzip", "x-gzip"]
                .iter()
                .any(|name| e.trim().eq_ignore_ascii_case(name))
        });
        if !gzip || request.encoding == Encoding::Plain {
            answer.refuse_encoding()?;
        }
        let bytes = self.encoded_body(&mut answer, request.limit).await?;
        if !gzip || request.encoding == Encoding::GzipFile {
            return Ok(bytes);
        }
        let limit = request.limit;
        let unpacked = spawn_blocking(move || unpack(&bytes, limit)).await;
        match unpacked.unwrap_or_else(|_| Err(std::io::Error::other("the decoder failed"))) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(too_large(&answer.asked, limit)),
            Err(error) => Err(answer.unexpected(format!("it cannot be unpacked: {error}"))),
        }
    }
}

fn too_large(asked: &Asked, limit: usize) -> RegistryError {
    RegistryError::TooLarge {
        asked: Box::new(asked.clone()),
        limit: limit as u64,
    }
}

/// Unpacks gzip data; `None` when there are more than `limit` bytes in it.
fn unpack(packed: &[u8], limit: usize) -> std::io::Result<Option<Bytes>> {
    let mut unpacked = Vec::new();
    let mut decoder = MultiGzDecoder::new(packed).take(limit as u64 + 1);
    decoder.read_to_end(&mut unpacked)?;
    Ok((unpacked.len() <= limit).then(|| unpacked.into()))
}
