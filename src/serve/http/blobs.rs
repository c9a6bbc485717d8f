//! Blobs: download and deletion (distribution specification, "Pulling blobs", "Deleting Blobs").

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};

use super::{
    Api, ApiError, CONTENT_DIGEST, body, empty,
    ranges::{self, Selection},
    set, with_body,
};
use crate::{
    oci::{Digest, media_type},
    serve::names::RepositoryName,
};

pub(super) async fn get(
    api: Arc<Api>,
    parts: &Parts,
    name: RepositoryName,
    digest: Digest,
) -> Result<Response, ApiError> {
    let opened = api
        .blocking(move |store| store.open_blob(&name, &digest))
        .await?;
    let (file, size) = opened.ok_or_else(|| ApiError::blob_unknown(&digest))?;
    let tag = format!("\"{digest}\"");
    let text = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    // A range of something else than what is here was asked for: send what is here.
    let applies = text(header::IF_RANGE).is_none_or(|wanted| wanted == tag);
    let range = text(header::RANGE).filter(|_| applies);
    let (status, first, end) = match ranges::select(range, size) {
        Selection::Whole => (StatusCode::OK, 0, size),
        Selection::Part(first, end) => (StatusCode::PARTIAL_CONTENT, first, end),
        Selection::Unsatisfiable => {
            let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
            set(
                &mut response,
                header::CONTENT_RANGE,
                &format!("bytes */{size}"),
            );
            return Ok(response);
        }
    };
    let content = match parts.method == Method::HEAD || first == end {
        true => Body::empty(),
        false => body::from_file(file, first, end),
    };
    let mut response = with_body(status, end - first, content);
    set(
        &mut response,
        header::CONTENT_TYPE,
        media_type::OCTET_STREAM,
    );
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::ETAG, &tag);
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {first}-{}/{size}", end - 1);
        set(&mut response, header::CONTENT_RANGE, &range);
    }
    Ok(response)
}

pub(super) async fn delete(
    api: Arc<Api>,
    name: RepositoryName,
    digest: Digest,
) -> Result<Response, ApiError> {
    let deleted = api
        .blocking(move |store| store.delete_blob(&name, &digest))
        .await?;
    match deleted {
        true => Ok(empty(StatusCode::ACCEPTED)),
        false => Err(ApiError::blob_unknown(&digest)),
    }
}
