//! The endpoints of the OCI distribution specification on top of the store.

mod blobs;
mod body;
mod error;
mod listing;
mod manifests;
mod ranges;
mod route;
mod uploads;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use url::form_urlencoded;

pub(super) use error::{ApiError, Code};
use route::Route;

use super::{
    auth::BasicAuth,
    names::UploadId,
    store::{Store, Upload},
};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// What all requests share.
pub(super) struct Api {
    pub(super) store: Arc<Store>,
    pub(super) read_only: bool,
    pub(super) allow_delete: bool,
    pub(super) allow_sparse_indexes: bool,
    pub(super) auth: Option<BasicAuth>,
    /// Sessions that this process has seen; a request holds the lock of its session.
    pub(super) uploads: Mutex<HashMap<UploadId, Arc<tokio::sync::Mutex<Upload>>>>,
}

impl Api {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store: Arc::new(store),
            read_only: false,
            allow_delete: false,
            allow_sparse_indexes: false,
            auth: None,
            uploads: Mutex::default(),
        }
    }

    /// Answers one request. Handlers take the body when they read it; what an error leaves of it is
    /// read here, so that the client sees the answer and not a broken connection.
    pub(super) async fn answer(self: Arc<Self>, request: Request) -> Response {
        let (parts, mut body) = request.into_parts();
        let head = parts.method == Method::HEAD;
        let mut response = match self.dispatch(&parts, &mut body).await {
            Ok(response) => response,
            Err(error) => {
                body::drain(body).await;
                error.into_response()
            }
        };
        let version = HeaderValue::from_static("registry/2.0");
        response.headers_mut().insert(API_VERSION, version);
        if head {
            *response.body_mut() = Body::empty();
        }
        response
    }

    async fn dispatch(
        self: Arc<Self>,
        parts: &Parts,
        body: &mut Body,
    ) -> Result<Response, ApiError> {
        if let Some(auth) = &self.auth
            && !auth.admits(&parts.headers)
        {
            return Err(ApiError::unauthorized());
        }
        let method = match parts.method {
            Method::HEAD => Method::GET,
            ref method => method.clone(),
        };
        let route = Route::parse(parts.uri.path())?;
        if method != Method::GET {
            self.check_may_change(&method, &route)?;
        }
        match (method, route) {
            (Method::GET, Route::Base) => Ok(json(StatusCode::OK, "{}".to_owned())),
            (Method::GET, Route::Catalog) => listing::catalog(self, parts).await,
            (Method::GET, Route::Tags(name)) => listing::tags(self, parts, name).await,
            (Method::GET, Route::Referrers(name, subject)) => {
                listing::referrers(self, parts, name, subject).await
            }
            (Method::GET, Route::Manifest(name, what)) => manifests::get(self, name, what).await,
            (Method::PUT, Route::Manifest(name, what)) => {
                manifests::put(self, parts, body, name, what).await
            }
            (Method::DELETE, Route::Manifest(name, what)) => {
                manifests::delete(self, name, what).await
            }
            (Method::GET, Route::Blob(name, digest)) => blobs::get(self, parts, name, digest).await,
            (Method::DELETE, Route::Blob(name, digest)) => blobs::delete(self, name, digest).await,
            (Method::POST, Route::Uploads(name)) => uploads::start(self, parts, body, name).await,
            (Method::GET, Route::Upload(name, id)) => uploads::status(self, name, id).await,
            (Method::PATCH, Route::Upload(name, id)) => {
                uploads::patch(self, parts, body, name, id).await
            }
            (Method::PUT, Route::Upload(name, id)) => {
                uploads::complete(self, parts, body, name, id).await
            }
            (Method::DELETE, Route::Upload(name, id)) => uploads::cancel(self, name, id).await,
            (method, _) => Err(ApiError::method_not_allowed(&method)),
        }
    }

    fn check_may_change(&self, method: &Method, route: &Route) -> Result<(), ApiError> {
        if self.read_only {
            return Err(ApiError::unsupported("this registry is read-only"));
        }
        let deletes_content = matches!(route, Route::Manifest(..) | Route::Blob(..));
        if *method == Method::DELETE && deletes_content && !self.allow_delete {
            return Err(ApiError::unsupported(
                "deletion is switched off in this registry",
            ));
        }
        Ok(())
    }

    /// Runs work on the store on a thread that may block.
    async fn blocking<T, E>(
        &self,
        work: impl FnOnce(&Arc<Store>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
        E: Into<ApiError> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let outcome = unblock(move || work(&store)).await;
        outcome.map_err(Into::into)
    }
}

/// Runs work on a thread that may block. A panic in it goes on here.
async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(spawn_blocking(work)).await
}

async fn joined<T>(task: JoinHandle<T>) -> T {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // Only a runtime that is shutting down cancels such tasks: this one ends as well.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// An answer with a JSON body.
fn json(status: StatusCode, text: String) -> Response {
    let mut response = with_body(status, text.len() as u64, Body::from(text));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn with_body(status: StatusCode, length: u64, body: Body) -> Response {
    let mut response = empty(status);
    // Said explicitly, for the answer to HEAD and for bodies that are streams.
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    *response.body_mut() = body;
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Adds a header whose value is made of names that were checked before: plain ASCII.
fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The first query parameter of this name, decoded.
fn query(parts: &Parts, name: &str) -> Option<String> {
    query_values(parts, name).next()
}

/// All query parameters of this name, decoded, in their order.
fn query_all(parts: &Parts, name: &str) -> Vec<String> {
    query_values(parts, name).collect()
}

fn query_values(parts: &Parts, name: &str) -> impl Iterator<Item = String> {
    let query = parts.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .filter(move |(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
