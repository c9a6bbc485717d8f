//! Upload sessions (distribution specification, "Pushing blobs").

use std::{
    collections::hash_map::Entry,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use tokio::{sync::Mutex, time::timeout};

use super::{
    Api, ApiError, CONTENT_DIGEST, Code,
    body::{self, Received, Session},
    empty, query, ranges,
    route::parse_digest,
    set, unblock,
};
use crate::{
    oci::{Algorithm, Digest},
    serve::{
        names::{RepositoryName, UploadId},
        store::Upload,
    },
};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// How long a request waits for another one that uses the same session.
const BUSY: Duration = Duration::from_secs(10);

/// `POST`: mounts a blob, takes a whole one, or opens a session.
pub(super) async fn start(
    api: Arc<Api>,
    parts: &Parts,
    body: &mut Body,
    name: RepositoryName,
) -> Result<Response, ApiError> {
    if let Some(digest) = query(parts, "mount") {
        let digest = parse_digest(&digest)?;
        // A source that cannot be used is no error: the client is offered a session.
        if let Some(from) = query(parts, "from").and_then(|from| RepositoryName::parse(&from)) {
            let target = name.clone();
            let mounted = api
                .blocking(move |store| store.mount_blob(&target, &from, &digest))
                .await?;
            if mounted {
                return Ok(created(&name, &digest));
            }
        }
    }
    let whole = match query(parts, "digest") {
        Some(digest) => Some(parse_digest(&digest)?),
        None => None,
    };
    let algorithm = match (&whole, query(parts, "digest-algorithm").as_deref()) {
        (Some(digest), _) => digest.algorithm(),
        (None, None | Some("sha256")) => Algorithm::Sha256,
        (None, Some("sha512")) => Algorithm::Sha512,
        (None, Some(other)) => {
            let message = "unsupported digest algorithm: expected sha256 or sha512";
            let error = ApiError::bad_request(Code::DigestInvalid, message);
            return Err(error.about("algorithm", other));
        }
    };
    let repository = name.clone();
    let (upload, swept) = api
        .blocking(move |store| {
            let swept = store.sweep_uploads()?;
            let upload = Upload::begin(Arc::clone(store), repository, algorithm)?;
            Ok::<_, std::io::Error>((upload, swept))
        })
        .await?;
    for id in swept {
        sessions(&api).remove(&id);
    }
    let Some(digest) = whole else {
        let response = progress(StatusCode::ACCEPTED, &upload);
        let id = upload.id().clone();
        sessions(&api).insert(id, Arc::new(Mutex::new(upload)));
        return Ok(response);
    };
    // Nobody knows the session's name, so that nobody could go on with it: it ends here.
    let session = Arc::new(Mutex::new(upload)).lock_owned().await;
    let (session, received) = take(session, parts, body).await;
    match received {
        Ok(()) => finish(session, digest).await?,
        Err(error) => {
            cancel_session(session).await?;
            return Err(error);
        }
    }
    Ok(created(&name, &digest))
}

/// `GET`: how far a session is.
pub(super) async fn status(
    api: Arc<Api>,
    name: RepositoryName,
    id: UploadId,
) -> Result<Response, ApiError> {
    let session = open(&api, &name, id).await?;
    Ok(progress(StatusCode::NO_CONTENT, &session))
}

/// `PATCH`: the next chunk, or, without `Content-Range`, all that the client has to send.
pub(super) async fn patch(
    api: Arc<Api>,
    parts: &Parts,
    body: &mut Body,
    name: RepositoryName,
    id: UploadId,
) -> Result<Response, ApiError> {
    let session = open(&api, &name, id).await?;
    let (session, received) = take(session, parts, body).await;
    received?;
    Ok(progress(StatusCode::ACCEPTED, &session))
}

/// `PUT`: the last chunk or the whole blob, if there is a body, and the digest.
pub(super) async fn complete(
    api: Arc<Api>,
    parts: &Parts,
    body: &mut Body,
    name: RepositoryName,
    id: UploadId,
) -> Result<Response, ApiError> {
    let digest = query(parts, "digest").ok_or_else(|| {
        ApiError::bad_request(Code::DigestInvalid, "the digest parameter is missing")
    })?;
    let digest = parse_digest(&digest)?;
    let session = open(&api, &name, id.clone()).await?;
    let (session, received) = take(session, parts, body).await;
    received?;
    let finished = finish(session, digest).await;
    if matches!(finished, Ok(()) | Err(Finish::Closed(_))) {
        sessions(&api).remove(&id);
    }
    finished?;
    Ok(created(&name, &digest))
}

/// `DELETE`: gives the session up.
pub(super) async fn cancel(
    api: Arc<Api>,
    name: RepositoryName,
    id: UploadId,
) -> Result<Response, ApiError> {
    let session = open(&api, &name, id.clone()).await?;
    cancel_session(session).await?;
    sessions(&api).remove(&id);
    Ok(empty(StatusCode::NO_CONTENT))
}

type Sessions = std::collections::HashMap<UploadId, Arc<Mutex<Upload>>>;

fn sessions(api: &Api) -> MutexGuard<'_, Sessions> {
    // A panic elsewhere cannot leave the map half changed.
    api.uploads.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds a session, of an earlier process too, and waits for its exclusive use.
async fn open(api: &Arc<Api>, name: &RepositoryName, id: UploadId) -> Result<Session, ApiError> {
    let known = sessions(api).get(&id).cloned();
    let shared = match known {
        Some(shared) => shared,
        None => {
            let wanted = id.clone();
            let found = api
                .blocking(move |store| Upload::reopen(Arc::clone(store), wanted))
                .await?
                .ok_or_else(ApiError::upload_unknown)?;
            match sessions(api).entry(id) {
                Entry::Occupied(entry) => Arc::clone(entry.get()),
                Entry::Vacant(entry) => Arc::clone(entry.insert(Arc::new(Mutex::new(found)))),
            }
        }
    };
    let session = timeout(BUSY, shared.lock_owned()).await.map_err(|_| {
        let status = StatusCode::TOO_MANY_REQUESTS;
        ApiError::new(
            status,
            Code::TooManyRequests,
            "another request uses this upload",
        )
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    })?;
    if session.is_closed() || session.repository() != name {
        return Err(ApiError::upload_unknown());
    }
    Ok(session)
}

/// Appends the request's body to the session. A request that contradicts itself leaves the session
/// as it was; one whose connection broke leaves what had arrived, for the client to go on from.
async fn take(session: Session, parts: &Parts, body: &mut Body) -> (Session, Result<(), ApiError>) {
    let range = match parts.headers.get(header::CONTENT_RANGE) {
        None => None,
        Some(value) => match value.to_str().ok().and_then(ranges::chunk) {
            Some((first, length)) if first == session.offset() => Some(length),
            _ => {
                let refused = out_of_order(&session);
                return (session, Err(refused));
            }
        },
    };
    let checkpoint = session.checkpoint();
    let (mut session, received) = body::receive(session, std::mem::take(body), range).await;
    session.pause();
    let outcome = match received {
        Err(error) => Err(error.into()),
        Ok(Received::All(length)) if range.is_none_or(|announced| announced == length) => Ok(()),
        Ok(Received::All(_) | Received::TooMany) => {
            session.roll_back(checkpoint);
            let message = "the body does not have the length of its Content-Range";
            Err(ApiError::bad_request(Code::SizeInvalid, message))
        }
        Ok(Received::Broken) => {
            let message = "the request body ended early";
            Err(ApiError::bad_request(Code::BlobUploadInvalid, message))
        }
    };
    (session, outcome)
}

fn out_of_order(upload: &Upload) -> ApiError {
    let message = "a chunk must start where the one before ended";
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let mut error = ApiError::new(status, Code::BlobUploadInvalid, message);
    for (name, value) in position(upload) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            error = error.header(name, value);
        }
    }
    error
}

/// Why a session was not finished: whether it can be tried again.
enum Finish {
    Closed(ApiError),
    Open(ApiError),
}

impl From<Finish> for ApiError {
    fn from(finish: Finish) -> Self {
        match finish {
            Finish::Closed(error) | Finish::Open(error) => error,
        }
    }
}

async fn finish(mut session: Session, digest: Digest) -> Result<(), Finish> {
    let finishing = move || {
        session
            .finish(&digest)
            .map_err(|error| match session.is_closed() {
                true => Finish::Closed(error.into()),
                false => Finish::Open(error.into()),
            })
    };
    unblock(finishing).await
}

async fn cancel_session(mut session: Session) -> Result<(), ApiError> {
    Ok(unblock(move || session.cancel()).await?)
}

fn created(name: &RepositoryName, digest: &Digest) -> Response {
    let mut response = empty(StatusCode::CREATED);
    set(
        &mut response,
        header::LOCATION,
        &format!("/v2/{name}/blobs/{digest}"),
    );
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    response
}

fn progress(status: StatusCode, upload: &Upload) -> Response {
    let mut response = empty(status);
    for (name, value) in position(upload) {
        set(&mut response, name, &value);
    }
    response
}

/// The headers that tell where an upload stands. `0-0` means nothing so far, as well as one byte:
/// the specification's notation has no other way to say it.
fn position(upload: &Upload) -> [(HeaderName, String); 3] {
    let id = upload.id().as_str();
    let location = format!("/v2/{}/blobs/uploads/{id}", upload.repository());
    let range = format!("0-{}", upload.offset().saturating_sub(1));
    [
        (header::LOCATION, location),
        (header::RANGE, range),
        (UPLOAD_ID, id.to_owned()),
    ]
}
