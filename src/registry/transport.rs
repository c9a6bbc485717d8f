//! One request to a registry: its authentication, its redirects, its retries.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName,
        HeaderValue, LOCATION, RETRY_AFTER, WARNING,
    },
};

use super::{
    auth::{
        Authenticator, Recipient, bearer,
        challenge::{self, Challenge},
        scope::Scopes,
    },
    body::Payload,
    config::{ClientConfig, normal_host},
    credentials::CredentialStore,
    error::{Asked, RegistryError, ServerMessage},
    gate::Pass,
    host::{Base, Host},
    http::Http,
    media,
    origin::{self, Purpose},
    rate::Pace,
    retry::{self, Attempts},
};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// Most that is read of the body of an error or a redirect, in bytes.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Where a body of so many bytes has broken, a connection that carried one is not used again: there
/// are proxies that cut one after a number of bytes, and that would be in the middle of the next body.
const LAST_BODY: u64 = 1 << 20;
/// Most warnings of servers that are kept.
const MAX_WARNINGS: usize = 32;

/// Everything that requests share.
pub(crate) struct Transport {
    pub(crate) http: Http,
    pub(crate) config: ClientConfig,
    pub(super) auth: Authenticator,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    warnings: Mutex<BTreeSet<String>>,
}

/// A request to be made, as often as it takes.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) host: Arc<Host>,
    /// The repository path that credentials are looked up for.
    pub(crate) path: String,
    pub(crate) scopes: Scopes,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Payload,
    /// What it is about, for messages.
    pub(crate) what: String,
    /// Whether it is made while another request to the same host waits for it: then it does not count
    /// among those that the host takes at a time, for it would wait for its own end.
    pub(crate) beside: bool,
}

impl Call {
    /// With one more header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With a body.
    pub(crate) fn body(mut self, body: Payload) -> Self {
        self.body = body;
        self
    }

    /// For messages.
    pub(crate) fn asked(&self) -> Box<Asked> {
        Box::new(Asked {
            method: self.method.clone(),
            what: self.what.clone(),
            origin: origin::show(&self.url),
            attempts: 0,
            pushes_to: self.scopes.push_target().map(str::to_owned),
        })
    }
}

/// The head of an answer, its body still to be read.
pub(crate) struct Answer {
    response: Response,
    pub(crate) asked: Box<Asked>,
    /// Whether a redirect led to another origin.
    pub(crate) foreign: bool,
    pace: Pace,
    /// Held while the body comes in, so that a host that takes few requests at a time gets few.
    pass: Option<Pass>,
}

impl Transport {
    pub(crate) fn new(mut config: ClientConfig) -> Result<Self, RegistryError> {
        config.plain_http = config
            .plain_http
            .iter()
            .map(|host| normal_host(host).ok_or_else(|| RegistryError::Host(host.clone())))
            .collect::<Result<_, _>>()?;
        let credentials = CredentialStore::new(config.credentials.clone());
        Ok(Self {
            http: Http::new(&config)?,
            auth: Authenticator::new(credentials, config.plain_http.clone()),
            config,
            hosts: Mutex::default(),
            warnings: Mutex::default(),
        })
    }

    /// What is known of a host; `name` as references spell it.
    pub(crate) fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(|e| e.into_inner());
        let new = || {
            let on_pause = self.config.on_pause.clone();
            Arc::new(Host::new(name, self.config.chunk_size, on_pause))
        };
        hosts.entry(name.to_owned()).or_insert_with(new).clone()
    }

    /// The attempts that one thing has.
    pub(crate) fn attempts(&self) -> Attempts {
        let config = &self.config;
        Attempts::new(config.retries, config.backoff, config.retry_budget)
    }

    /// Warnings that servers sent since the last time, each once, with the host in front.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.lock().unwrap_or_else(|e| e.into_inner());
        std::mem::take(&mut *warnings).into_iter().collect()
    }

    /// Makes a request until there is an answer that trying again would not change.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, RegistryError> {
        let mut attempts = self.attempts();
        loop {
            let error = match self.attempt(call).await {
                Ok(answer) if !retry::is_transient(answer.status()) => return Ok(answer),
                Ok(answer) => self.error(answer).await,
                Err(error) => error,
            };
            attempts.pause(error, &call.host.gate).await?;
        }
    }

    /// Makes a request once; once more where the first time only showed what authentication it
    /// takes, or that a token had run out.
    pub(crate) async fn attempt(&self, call: &Call) -> Result<Answer, RegistryError> {
        let base = self.base(&call.host).await?;
        let pass = match call.beside {
            true => {
                call.host.gate.wait().await;
                None
            }
            false => Some(call.host.gate.enter().await),
        };
        let mut answer = self.authorized(call, base).await?;
        if !retry::is_transient(answer.status()) {
            call.host.gate.answered();
        }
        // Only reads have an answer that takes its time.
        answer.pass = pass.filter(|_| call.method == Method::GET);
        Ok(answer)
    }

    async fn authorized(&self, call: &Call, base: &Base) -> Result<Answer, RegistryError> {
        if !origin::same_origin(&call.url, &base.url) {
            // An upload that the registry sent elsewhere: nothing of ours goes along.
            return self.follow(call, None).await;
        }
        let mut challenges = call.host.challenges(base);
        let mut scopes = call.host.scopes(&call.scopes);
        let to = recipient(call, base, &challenges, &scopes);
        let shown = self.auth.header(&self.http, &to).await?;
        let answer = self.follow(call, shown.clone()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || answer.foreign {
            return Ok(answer);
        }
        if let Some(refused) = &shown {
            self.auth.reject(&to, refused).await;
        }
        // Some registries (gcr.io) say how only when pinged; then that still holds.
        let offered = challenge::parse(answer.headers());
        // The scope is that of this request; one that was learned may be of another.
        let wanted = bearer(&offered).and_then(|c| c.parameter("scope"));
        if let Some(more) = wanted.and_then(|wanted| scopes.merged(wanted)) {
            scopes = more;
        }
        if !offered.is_empty() {
            call.host.learn(offered.clone());
            challenges = offered;
        }
        let to = recipient(call, base, &challenges, &scopes);
        let fresh = self.auth.header(&self.http, &to).await?;
        match fresh {
            Some(fresh) if Some(&fresh) != shown.as_ref() => {
                let answer = self.follow(call, Some(fresh)).await?;
                if answer.status() != StatusCode::UNAUTHORIZED && scopes != call.scopes {
                    // Or the next body would go over the line twice.
                    call.host.learn_scopes(&call.scopes, scopes);
                }
                Ok(answer)
            }
            _ => match unsupported(&challenges) {
                Some(offered) => Err(RegistryError::UnsupportedAuth {
                    asked: answer.asked,
                    offered,
                }),
                None => Ok(answer),
            },
        }
    }

    /// Sends a request and goes where redirects lead. What is shown to the first origin is shown
    /// to no other, and not to the first again on the way back.
    pub(super) async fn follow(
        &self,
        call: &Call,
        mut authorization: Option<HeaderValue>,
    ) -> Result<Answer, RegistryError> {
        let mut asked = call.asked();
        let mut url = call.url.clone();
        let mut foreign = false;
        let mut redirects = 0;
        let mut anonymous_tried = false;
        loop {
            let mut response = self
                .exchange(call, &url, authorization.clone(), &asked)
                .await?;
            let status = response.status();
            if is_redirect(status) {
                let refused = |target: String, reason| RegistryError::RedirectRefused {
                    asked: asked.clone(),
                    target,
                    reason,
                };
                let next = location(&response, &url).ok_or_else(|| {
                    refused("nowhere".to_owned(), "the address is missing or none")
                })?;
                let target = origin::show(&next);
                if !matches!(call.method, Method::GET | Method::HEAD) {
                    return Err(refused(target, "only reads are redirected"));
                }
                redirects += 1;
                if redirects > MAX_REDIRECTS {
                    return Err(refused(target, "there are too many redirects"));
                }
                origin::check_target(&url, &next, Purpose::Redirect, &self.config.plain_http)
                    .map_err(|reason| refused(target, reason))?;
                self.drain(&mut response, &asked).await;
                if !origin::same_origin(&url, &next) {
                    authorization = None;
                    foreign = true;
                    asked.origin = origin::show(&next);
                }
                url = next;
                continue;
            }
            if foreign && status == StatusCode::UNAUTHORIZED && !anonymous_tried {
                anonymous_tried = true;
                let offered = challenge::parse(response.headers());
                let header = self.auth.anonymous_header(&self.http, &url, &offered).await;
                authorization = match header {
                    Err(error) if error.is_transient() => return Err(error),
                    // Not everybody gets a token; then the refusal of the host stands.
                    other => other.unwrap_or(None),
                };
                if authorization.is_some() {
                    self.drain(&mut response, &asked).await;
                    continue;
                }
            }
            self.note_warnings(&call.host.name, response.headers());
            return Ok(Answer {
                response,
                asked,
                foreign,
                pace: Pace::default(),
                pass: None,
            });
        }
    }

    async fn exchange(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<HeaderValue>,
        asked: &Asked,
    ) -> Result<Response, RegistryError> {
        let (body, length, progress) = call.body.open(self.http.rate_limit());
        let mut request = self
            .http
            .request(call.method.clone(), url)?
            .headers(call.headers.clone());
        if !matches!(call.method, Method::GET | Method::HEAD | Method::DELETE) {
            request = request.header(CONTENT_LENGTH, length).body(body);
            if length >= LAST_BODY && call.host.cuts_bodies() {
                request = request.header(CONNECTION, "close");
            }
        }
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let response = self.http.execute(request, &progress, asked).await;
        if length >= LAST_BODY && response.as_ref().is_err_and(RegistryError::is_broken) {
            call.host.learn_cut();
        }
        match call.body.source_failure() {
            Some(failure) => Err(RegistryError::Source(failure)),
            None => response,
        }
    }

    /// Reads the rest of a small body, so that its connection can be used again.
    async fn drain(&self, response: &mut Response, asked: &Asked) {
        if response
            .content_length()
            .is_some_and(|n| n <= MAX_ERROR_BODY as u64)
        {
            // When that fails, the connection is closed; nobody needs this body.
            let _ = self.http.body(response, MAX_ERROR_BODY, asked).await;
        }
    }

    fn note_warnings(&self, host: &str, headers: &HeaderMap) {
        for value in headers.get_all(WARNING).iter().take(MAX_WARNINGS) {
            // Distribution specification, "Warnings": only code 299 from agent `-` is for users.
            let text = value.to_str().ok().and_then(|v| v.strip_prefix("299 - "));
            let Some(text) = text.map(|t| t.trim_matches('"')) else {
                continue;
            };
            self.warn(host, &media::clip(text));
        }
    }

    /// Keeps a warning about a host for the user, once.
    pub(super) fn warn(&self, host: &str, text: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(|e| e.into_inner());
        if warnings.len() < MAX_WARNINGS {
            warnings.insert(format!("{host}: {text}"));
        }
    }

    /// Reads a body of at most `cap` bytes; one that the server encoded is refused.
    pub(crate) async fn body(
        &self,
        answer: &mut Answer,
        cap: usize,
    ) -> Result<Bytes, RegistryError> {
        answer.refuse_encoding()?;
        self.encoded_body(answer, cap).await
    }

    /// Reads a body of at most `cap` bytes as it comes.
    pub(crate) async fn encoded_body(
        &self,
        answer: &mut Answer,
        cap: usize,
    ) -> Result<Bytes, RegistryError> {
        let body = self
            .http
            .body(&mut answer.response, cap, &answer.asked)
            .await;
        answer.pass = None;
        body
    }

    /// The next piece of a body.
    pub(crate) async fn chunk(&self, answer: &mut Answer) -> Result<Option<Bytes>, RegistryError> {
        self.http
            .chunk(&mut answer.response, &mut answer.pace, &answer.asked)
            .await
    }

    /// Makes an error of an answer, with what the server says about it.
    pub(crate) async fn error(&self, mut answer: Answer) -> RegistryError {
        let retry_after = answer
            .header(RETRY_AFTER.as_str())
            .and_then(|value| retry::retry_after(value, SystemTime::now()));
        let server = self.first_words(&mut answer).await;
        RegistryError::Status {
            asked: answer.asked,
            status: answer.response.status(),
            server: Box::new(server),
            retry_after,
        }
    }

    /// Reads as much of an error body as is read of any; what is longer still tells its beginning.
    async fn first_words(&self, answer: &mut Answer) -> ServerMessage {
        let mut start = Vec::new();
        let read = async {
            while start.len() < MAX_ERROR_BODY {
                match answer.response.chunk().await {
                    Ok(Some(chunk)) => {
                        let room = MAX_ERROR_BODY - start.len();
                        start.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    }
                    Ok(None) | Err(_) => break,
                }
            }
        };
        // The status is known; its explanation is not worth a long wait.
        let _ = tokio::time::timeout(self.http.stall(), read).await;
        media::server_message(&start)
    }

    /// The host's base address and challenges; pings it the first time.
    pub(crate) async fn base<'h>(&self, host: &'h Host) -> Result<&'h Base, RegistryError> {
        host.base
            .get_or_try_init(|| async {
                let mut attempts = self.attempts().for_first_contact();
                loop {
                    match self.probe(host).await {
                        Ok(base) => {
                            host.gate.answered();
                            return Ok(base);
                        }
                        Err(error) => attempts.pause(error, &host.gate).await?,
                    }
                }
            })
            .await
    }

    /// One GET, without credentials, outside of everything that needs a base address.
    pub(crate) async fn plain_get(
        &self,
        host: &Arc<Host>,
        url: Url,
        what: String,
    ) -> Result<Answer, RegistryError> {
        let call = Call {
            method: Method::GET,
            url,
            host: host.clone(),
            path: String::new(),
            scopes: Scopes::default(),
            headers: HeaderMap::new(),
            body: Payload::Empty,
            what,
            beside: false,
        };
        self.follow(&call, None).await
    }
}

fn recipient<'a>(
    call: &'a Call,
    base: &'a Base,
    challenges: &'a [Challenge],
    scopes: &'a Scopes,
) -> Recipient<'a> {
    Recipient {
        host: &call.host.name,
        path: &call.path,
        url: &base.url,
        challenges,
        scopes,
    }
}

/// The schemes on offer, when none of them is one of ours.
fn unsupported(challenges: &[Challenge]) -> Option<String> {
    let ours = |c: &Challenge| matches!(c.scheme.as_str(), "basic" | "bearer");
    if challenges.is_empty() || challenges.iter().any(ours) {
        return None;
    }
    let schemes: Vec<_> = challenges.iter().map(|c| c.scheme.as_str()).collect();
    Some(media::clip(&schemes.join(", ")))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn location(response: &Response, from: &Url) -> Option<Url> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    from.join(text).ok()
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The `Content-Length` header, which an answer to HEAD has as well.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH.as_str())?.trim().parse().ok()
    }

    /// The address that answered.
    pub(crate) fn url(&self) -> &Url {
        self.response.url()
    }

    /// Bytes were asked for as they are; anything else would be hashed wrongly.
    pub(crate) fn refuse_encoding(&self) -> Result<(), RegistryError> {
        match self.header(CONTENT_ENCODING.as_str()) {
            None | Some("" | "identity") => Ok(()),
            Some(encoding) => Err(self.unexpected(format!(
                "it is encoded as `{}`, which was not asked for",
                media::clip(encoding)
            ))),
        }
    }

    pub(crate) fn unexpected(&self, detail: String) -> RegistryError {
        RegistryError::Unexpected {
            asked: self.asked.clone(),
            detail,
        }
    }
}
