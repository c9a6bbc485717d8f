//! A token service as the registries of this world have one (Docker's "Token Authentication
//! Specification"), with tokens that Distribution accepts.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::DecodePrivateKey,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    background::runtime,
    distribution::TokenAuth,
    pki::{Identity, TestCa},
    tls_listener::TlsListener,
};

/// What somebody without a user name gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Status 401.
    #[default]
    Refused,
    /// A token to pull with.
    Pulls,
}

/// What the service is like.
#[derive(Default)]
pub struct Options {
    /// Its socket, in place of a free port on 127.0.0.1.
    pub listener: Option<TcpListener>,
    /// The name that its URL shall have (with the port where it is not the usual one).
    pub name: Option<String>,
    /// The server certificate; plain HTTP without.
    pub tls: Option<Identity>,
    /// The `service` of the tokens: the name of the registry.
    pub service: String,
    /// Users and passwords.
    pub users: Vec<(String, String)>,
    /// What others get.
    pub anonymous: Anonymous,
}

/// A request that the service has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// GET, or POST for the OAuth 2 form.
    pub method: String,
    /// The user who was let in.
    pub user: Option<String>,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// The status of the answer.
    pub status: u16,
}

/// A running service; it ends when dropped.
pub struct TokenService {
    shared: Arc<Shared>,
    realm: String,
    task: JoinHandle<()>,
}

struct Shared {
    service: String,
    users: Vec<(String, String)>,
    anonymous: Anonymous,
    ca_pem: String,
    signer: Identity,
    requests: Mutex<Vec<TokenRequest>>,
}

const ISSUER: &str = "sneakernet test issuer";
const LIFETIME: u64 = 300;

impl TokenService {
    /// Starts the service.
    pub fn start(options: Options) -> Self {
        let ca = TestCa::new();
        let shared = Arc::new(Shared {
            service: options.service,
            users: options.users,
            anonymous: options.anonymous,
            ca_pem: ca.pem(),
            signer: ca.issue(&["token signer"]),
            requests: Mutex::default(),
        });
        let listener = options
            .listener
            .unwrap_or_else(|| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let address: SocketAddr = listener.local_addr().expect("bound");
        listener.set_nonblocking(true).expect("a socket");
        let name = options.name.unwrap_or_else(|| address.to_string());
        let scheme = if options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let app = Router::new()
            .route("/token", any(answer))
            .with_state(Arc::clone(&shared));
        let task = runtime().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let served = match options.tls {
                Some(identity) => axum::serve(TlsListener::new(listener, &identity), app).await,
                None => axum::serve(listener, app).await,
            };
            served.expect("it serves until it is dropped");
        });
        Self {
            shared,
            realm: format!("{scheme}://{name}/token"),
            task,
        }
    }

    /// The URL of the service.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The part of a registry's configuration that makes it take these tokens.
    pub fn auth(&self) -> TokenAuth {
        TokenAuth {
            realm: self.realm.clone(),
            service: self.shared.service.clone(),
            issuer: ISSUER.to_owned(),
            root_pem: self.shared.ca_pem.clone(),
        }
    }

    /// A token for these scopes (`repository:NAME:pull,push`), without asking for one.
    pub fn token(&self, scopes: &[&str]) -> String {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.shared.token("test", &scopes, true)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a request asks for, in either form.
struct Asked {
    scopes: Vec<String>,
    service: Option<String>,
    login: Login,
}

enum Login {
    Nobody,
    As(String),
    Wrong,
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let asked = if method == Method::POST {
        shared.asked_by_form(&body)
    } else {
        shared.asked_by_query(&headers, query.as_deref().unwrap_or_default())
    };
    let (status, user, document) = shared.decide(&asked);
    shared.requests.lock().unwrap().push(TokenRequest {
        method: method.to_string(),
        user,
        scopes: asked.scopes,
        status: status.as_u16(),
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    (status, json, document.to_string()).into_response()
}

impl Shared {
    fn asked_by_query(&self, headers: &HeaderMap, query: &str) -> Asked {
        let login = match headers.get(header::AUTHORIZATION) {
            None => Login::Nobody,
            Some(value) => self.basic(value.to_str().unwrap_or_default()),
        };
        let pairs = || url::form_urlencoded::parse(query.as_bytes());
        Asked {
            scopes: pairs()
                .filter(|(key, _)| key == "scope")
                .map(|(_, value)| value.into_owned())
                .collect(),
            service: pairs()
                .find(|(key, _)| key == "service")
                .map(|(_, value)| value.into_owned()),
            login,
        }
    }

    fn asked_by_form(&self, body: &[u8]) -> Asked {
        let field = |name: &str| {
            url::form_urlencoded::parse(body)
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let login = match field("grant_type").as_deref() {
            Some("password") => self.check(
                &field("username").unwrap_or_default(),
                &field("password").unwrap_or_default(),
            ),
            Some("refresh_token") => self.refresh(&field("refresh_token").unwrap_or_default()),
            _ => Login::Wrong,
        };
        // The form has all scopes in one field, parted by spaces (RFC 6749, section 3.3).
        let scopes = field("scope").unwrap_or_default();
        Asked {
            scopes: scopes.split_whitespace().map(str::to_owned).collect(),
            service: field("service"),
            login,
        }
    }

    fn basic(&self, value: &str) -> Login {
        let decoded = value
            .strip_prefix("Basic ")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) => self.check(user, password),
            None => Login::Wrong,
        }
    }

    fn check(&self, user: &str, password: &str) -> Login {
        let known = self.users.iter().any(|(u, p)| u == user && p == password);
        if known {
            Login::As(user.to_owned())
        } else {
            Login::Wrong
        }
    }

    fn refresh(&self, token: &str) -> Login {
        let mut users = self.users.iter().map(|(user, _)| user);
        match users.find(|user| refresh_token(user) == token) {
            Some(user) => Login::As(user.clone()),
            None => Login::Wrong,
        }
    }

    fn decide(&self, asked: &Asked) -> (StatusCode, Option<String>, Value) {
        let refused = |code: &str| json!({"errors": [{"code": code, "message": "refused"}]});
        if asked.service.as_deref() != Some(&self.service) {
            let document = refused("SERVICE_UNKNOWN");
            return (StatusCode::BAD_REQUEST, None, document);
        }
        let user = match &asked.login {
            Login::As(user) => Some(user.clone()),
            Login::Nobody if self.anonymous == Anonymous::Pulls => None,
            Login::Nobody | Login::Wrong => {
                return (StatusCode::UNAUTHORIZED, None, refused("UNAUTHORIZED"));
            }
        };
        let subject = user.clone().unwrap_or_default();
        let token = self.token(&subject, &asked.scopes, user.is_some());
        let document = json!({
            "token": token,
            "access_token": token,
            "refresh_token": refresh_token(&subject),
            "expires_in": LIFETIME,
        });
        (StatusCode::OK, user, document)
    }

    /// A JSON Web Token, its key's certificate in the header, as Distribution checks it.
    fn token(&self, subject: &str, scopes: &[String], all_actions: bool) -> String {
        let access: Vec<Value> = scopes
            .iter()
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let actions: Vec<&str> = actions
                    .split(',')
                    .filter(|action| all_actions || *action == "pull")
                    .collect();
                Some(json!({"type": kind, "name": name, "actions": actions}))
            })
            .collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        let header = json!({
            "typ": "JWT",
            "alg": "ES256",
            "x5c": [STANDARD.encode(&self.signer.certificate_der)],
        });
        let claims = json!({
            "iss": ISSUER,
            "sub": subject,
            "aud": self.service,
            "exp": now + LIFETIME,
            "nbf": now - 10,
            "iat": now,
            "jti": format!("{now}"),
            "access": access,
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let key = SigningKey::from_pkcs8_der(&self.signer.key_der).expect("a P-256 key");
        let signature: Signature = key.sign(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.to_bytes());
        format!("{signed}.{signature}")
    }
}

fn refresh_token(user: &str) -> String {
    format!("refresh-{}", hex::encode(user))
}
