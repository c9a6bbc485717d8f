//! Lists: tags, referrers (distribution specification, "Content Discovery"), and the catalog of
//! repositories that the specification reserves for historical use.

use std::sync::Arc;

use axum::{
    http::{HeaderName, StatusCode, header, request::Parts},
    response::Response,
};
use serde_json::json;
use url::form_urlencoded::Serializer;

use super::{Api, ApiError, Code, json as json_response, query, route::parse_digest, set};
use crate::{
    oci::{Digest, MAX_DOCUMENT_BYTES, media_type},
    serve::names::RepositoryName,
};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// Descriptions on one page of referrers, in bytes; leaves room for the frame around them.
const REFERRERS_PAGE: usize = MAX_DOCUMENT_BYTES - 1024;

pub(super) async fn tags(
    api: Arc<Api>,
    parts: &Parts,
    name: RepositoryName,
) -> Result<Response, ApiError> {
    let page = Page::of(parts)?;
    let repository = name.clone();
    let tags = api
        .blocking(move |store| {
            if !store.repository_exists(&repository)? {
                return Err(ApiError::repository_unknown());
            }
            Ok(store.tags(&repository)?)
        })
        .await?;
    let (tags, next) = page.cut(tags);
    let text = json!({"name": name.as_str(), "tags": tags}).to_string();
    Ok(page.link(parts, next, json_response(StatusCode::OK, text)))
}

pub(super) async fn catalog(api: Arc<Api>, parts: &Parts) -> Result<Response, ApiError> {
    let page = Page::of(parts)?;
    let names = api.blocking(|store| store.repositories()).await?;
    let names = names.iter().map(|name| name.as_str().to_owned()).collect();
    let (names, next) = page.cut(names);
    let text = json!({"repositories": names}).to_string();
    Ok(page.link(parts, next, json_response(StatusCode::OK, text)))
}

pub(super) async fn referrers(
    api: Arc<Api>,
    parts: &Parts,
    name: RepositoryName,
    subject: Digest,
) -> Result<Response, ApiError> {
    // A media type has no space; one in the query is a plus sign that was not escaped.
    let artifact_type = query(parts, "artifactType").map(|text| text.replace(' ', "+"));
    let after: Option<Digest> = match query(parts, "last") {
        Some(last) => Some(parse_digest(&last)?),
        None => None,
    };
    let filter = artifact_type.clone();
    let (found, more) = api
        .blocking(move |store| {
            let filter = filter.as_deref();
            store.referrers(&name, &subject, after.as_ref(), filter, REFERRERS_PAGE)
        })
        .await?;
    let next = found.last().filter(|_| more).map(|last| last.digest);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": found,
    });
    let mut response = json_response(StatusCode::OK, index.to_string());
    set(&mut response, header::CONTENT_TYPE, media_type::OCI_INDEX);
    if artifact_type.is_some() {
        set(&mut response, FILTERS_APPLIED, "artifactType");
    }
    if let Some(last) = next {
        let mut query = Serializer::new(String::new());
        if let Some(artifact_type) = &artifact_type {
            query.append_pair("artifactType", artifact_type);
        }
        query.append_pair("last", &last.to_string());
        link(&mut response, parts, &query.finish());
    }
    Ok(response)
}

/// The `n` and `last` parameters of a list.
struct Page {
    limit: Option<usize>,
    last: Option<String>,
}

impl Page {
    fn of(parts: &Parts) -> Result<Self, ApiError> {
        let limit = match query(parts, "n") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                ApiError::bad_request(Code::PaginationInvalid, "n is not a number")
                    .about("n", &text)
            })?),
        };
        let last = query(parts, "last");
        Ok(Self { limit, last })
    }

    /// The part of a sorted list that was asked for, and the name after which it goes on.
    fn cut(&self, mut names: Vec<String>) -> (Vec<String>, Option<String>) {
        if let Some(last) = &self.last {
            names.drain(..names.partition_point(|name| name <= last));
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let more = names.len() > limit;
        names.truncate(limit);
        let next = names.last().filter(|_| more).cloned();
        (names, next)
    }

    fn link(&self, parts: &Parts, next: Option<String>, mut response: Response) -> Response {
        if let (Some(next), Some(limit)) = (next, self.limit) {
            let mut query = Serializer::new(String::new());
            query.append_pair("n", &limit.to_string());
            query.append_pair("last", &next);
            link(&mut response, parts, &query.finish());
        }
        response
    }
}

/// The next page (RFC 8288), relative to the host.
fn link(response: &mut Response, parts: &Parts, query: &str) {
    let path = parts.uri.path();
    set(
        response,
        header::LINK,
        &format!("<{path}?{query}>; rel=\"next\""),
    );
}
