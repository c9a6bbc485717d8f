//! Manifests and tags (distribution specification, "Pulling manifests", "Pushing Manifests",
//! "Deleting Manifests", "Deleting tags").

use std::{io, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderName, StatusCode, header, request::Parts},
    response::Response,
};

use super::{
    Api, ApiError, CONTENT_DIGEST, Code, body, empty, query_all, route::check_tag, set, with_body,
};
use crate::{
    oci::{Digest, TagOrDigest, media_type},
    serve::{
        document::{Descriptor, Document},
        names::RepositoryName,
        store::{NewManifest, Store},
    },
};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAGS: HeaderName = HeaderName::from_static("oci-tag");
/// Most tags that one push by digest may set.
const MAX_TAGS: usize = 64;
/// Longest media type that is stored (RFC 6838 permits 127 on each side of the slash).
const MAX_MEDIA_TYPE: usize = 255;

pub(super) async fn get(
    api: Arc<Api>,
    name: RepositoryName,
    what: TagOrDigest,
) -> Result<Response, ApiError> {
    let wanted = what.clone();
    let found = api
        .blocking(move |store| {
            let digest = match &wanted {
                TagOrDigest::Digest(digest) => Some(*digest),
                TagOrDigest::Tag(tag) => store.resolve_tag(&name, tag)?,
            };
            let Some(digest) = digest else {
                return Ok(None);
            };
            let manifest = store.manifest(&name, &digest)?;
            Ok::<_, io::Error>(manifest.map(|manifest| (digest, manifest)))
        })
        .await?;
    let (digest, manifest) = found.ok_or_else(|| ApiError::manifest_unknown(&what.to_string()))?;
    let length = manifest.bytes.len() as u64;
    let mut response = with_body(StatusCode::OK, length, Body::from(manifest.bytes));
    set(&mut response, header::CONTENT_TYPE, &manifest.media_type);
    set(&mut response, header::ETAG, &format!("\"{digest}\""));
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    Ok(response)
}

pub(super) async fn put(
    api: Arc<Api>,
    parts: &Parts,
    body: &mut Body,
    name: RepositoryName,
    what: TagOrDigest,
) -> Result<Response, ApiError> {
    let bytes = body::document(std::mem::take(body))
        .await
        .map_err(|_| ApiError::manifest_invalid("the request body ended early"))?
        .ok_or_else(too_large)?;
    let digest = match &what {
        TagOrDigest::Tag(_) => Digest::sha256_of(&bytes),
        TagOrDigest::Digest(wanted) => {
            let actual = wanted.of_same_algorithm(&bytes);
            if actual != *wanted {
                let code = Code::DigestInvalid;
                return Err(
                    ApiError::bad_request(code, "the content has another digest")
                        .about("actual", &actual.to_string()),
                );
            }
            actual
        }
    };
    let tags = tags(parts, &what)?;
    let (media_type, document) = examine(parts, &bytes)?;
    let size = bytes.len() as u64;
    let refers_to = document.as_ref().and_then(|document| {
        let subject = document.subject.as_ref()?.digest;
        Some((subject, document.as_referrer(digest, &media_type, size)))
    });
    let subject = refers_to.as_ref().map(|(subject, _)| *subject);
    let repository = name.clone();
    let sparse = api.allow_sparse_indexes;
    // Answered for those tags only that came as parameters.
    let accepted = match &what {
        TagOrDigest::Tag(_) => String::new(),
        TagOrDigest::Digest(_) => tags.join(", "),
    };
    api.blocking(move |store| {
        if let Some(document) = &document {
            check_pieces(store, &repository, &media_type, document, sparse)?;
        }
        let manifest = NewManifest {
            digest,
            media_type: &media_type,
            bytes: &bytes,
            tags: &tags,
            refers_to,
        };
        store.put_manifest(&repository, &manifest)?;
        Ok::<_, ApiError>(())
    })
    .await?;
    let mut response = empty(StatusCode::CREATED);
    let location = format!("/v2/{name}/manifests/{digest}");
    set(&mut response, header::LOCATION, &location);
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    if let Some(subject) = subject {
        set(&mut response, SUBJECT, &subject.to_string());
    }
    if !accepted.is_empty() {
        set(&mut response, TAGS, &accepted);
    }
    Ok(response)
}

/// The tags that a push is to set: the one in its path, or, where that is a digest, those in `tag`
/// parameters. Only so can a tag point to a digest of another algorithm than SHA-256.
fn tags(parts: &Parts, what: &TagOrDigest) -> Result<Vec<String>, ApiError> {
    if let TagOrDigest::Tag(tag) = what {
        return Ok(vec![tag.clone()]);
    }
    let tags = query_all(parts, "tag");
    if tags.len() > MAX_TAGS {
        let message = "too many tags for one push: at most 64";
        return Err(ApiError::new(
            StatusCode::URI_TOO_LONG,
            Code::TagInvalid,
            message,
        ));
    }
    for tag in &tags {
        check_tag(tag)?;
    }
    Ok(tags)
}

pub(super) async fn delete(
    api: Arc<Api>,
    name: RepositoryName,
    what: TagOrDigest,
) -> Result<Response, ApiError> {
    let wanted = what.clone();
    let deleted = api
        .blocking(move |store| match &wanted {
            TagOrDigest::Tag(tag) => store.delete_tag(&name, tag),
            TagOrDigest::Digest(digest) => store.delete_manifest(&name, digest),
        })
        .await?;
    match deleted {
        true => Ok(empty(StatusCode::ACCEPTED)),
        false => Err(ApiError::manifest_unknown(&what.to_string())),
    }
}

fn too_large() -> ApiError {
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    ApiError::new(status, Code::SizeInvalid, "a manifest may have 4 MiB")
}

/// The media type of a pushed document, and its known parts. Documents of the OCI and Docker types
/// must be what they say; those of other types may be anything.
fn examine(parts: &Parts, bytes: &[u8]) -> Result<(String, Option<Document>), ApiError> {
    let header = parts.headers.get(header::CONTENT_TYPE);
    let declared = match header {
        None => None,
        Some(value) => {
            let text = value.to_str().map_err(|_| invalid_media_type())?;
            // Parameters such as a charset are no part of the type.
            Some(text.split(';').next().unwrap_or_default().trim())
        }
    };
    let document = Document::parse(bytes);
    let inner = document.as_ref().ok().and_then(|d| d.media_type.as_deref());
    let media_type = declared
        .filter(|declared| !declared.is_empty())
        .or(inner)
        .ok_or_else(|| ApiError::manifest_invalid("the request has no Content-Type"))?;
    if media_type.len() > MAX_MEDIA_TYPE || !media_type.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(invalid_media_type());
    }
    if let Some(inner) = inner
        && inner != media_type
    {
        return Err(
            ApiError::manifest_invalid("Content-Type and mediaType differ")
                .about("contentType", media_type)
                .about("mediaType", inner),
        );
    }
    let media_type = media_type.to_owned();
    if !is_known(&media_type) {
        return Ok((media_type, document.ok()));
    }
    let document = document.map_err(|error| {
        ApiError::manifest_invalid("not a manifest of its type").about("reason", &error.to_string())
    })?;
    if document.schema_version != Some(2) {
        return Err(ApiError::manifest_invalid("schemaVersion must be 2"));
    }
    Ok((media_type, Some(document)))
}

fn invalid_media_type() -> ApiError {
    ApiError::manifest_invalid("not a valid media type")
}

fn is_known(media_type: &str) -> bool {
    media_type::is_manifest(media_type) || media_type::is_index(media_type)
}

/// Everything that a manifest names must be in the repository, with the size that it says.
fn check_pieces(
    store: &Store,
    repository: &RepositoryName,
    media_type: &str,
    document: &Document,
    sparse: bool,
) -> Result<(), ApiError> {
    let mut missing = Vec::new();
    let mut check = |piece: &Descriptor, size: Option<u64>| match size {
        None => {
            missing.push(piece.digest);
            Ok(())
        }
        Some(size) if size == piece.size => Ok(()),
        Some(_) => Err(ApiError::bad_request(
            Code::SizeInvalid,
            "a descriptor says another size than its content has",
        )
        .about("digest", &piece.digest.to_string())),
    };
    if media_type::is_manifest(media_type) {
        for blob in document.blobs() {
            check(blob, store.blob_size(repository, &blob.digest)?)?;
        }
    }
    if media_type::is_index(media_type) {
        for child in document.children() {
            let size = store.manifest_size(repository, &child.digest)?;
            if size.is_some() || !sparse {
                check(child, size)?;
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort_unstable();
    missing.dedup();
    Err(ApiError::manifest_pieces_unknown(&missing))
}
