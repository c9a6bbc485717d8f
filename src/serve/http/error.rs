//! Error answers (distribution specification, "Error Codes").

use std::io;

use axum::{
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use serde_json::{Value, json};

use super::json as json_response;
use crate::{
    oci::Digest,
    serve::{names::clip, store::FinishError},
};

/// An error code of the specification, or one of its predecessors'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    PaginationInvalid,
    SizeInvalid,
    TagInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    Unknown,
}

impl Code {
    const fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::PaginationInvalid => "PAGINATION_NUMBER_INVALID",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// An error answer: a status, one or more errors, and headers.
#[derive(Debug)]
pub(in crate::serve) struct ApiError {
    status: StatusCode,
    errors: Vec<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(in crate::serve) fn new(status: StatusCode, code: Code, message: &str) -> Self {
        Self {
            status,
            errors: vec![json!({"code": code.name(), "message": message})],
            headers: Vec::new(),
        }
    }

    pub(super) fn bad_request(code: Code, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    fn not_found(code: Code, message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// Adds a foreign string to the details of the (last) error, clipped.
    pub(super) fn about(mut self, key: &str, value: &str) -> Self {
        if let Some(Value::Object(error)) = self.errors.last_mut() {
            let detail = error.entry("detail").or_insert_with(|| json!({}));
            detail[key] = Value::String(clip(value));
        }
        self
    }

    /// Adds a header.
    pub(in crate::serve) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn no_such_endpoint() -> Self {
        let status = StatusCode::NOT_FOUND;
        Self::new(status, Code::Unsupported, "no such endpoint")
    }

    pub(super) fn method_not_allowed(method: &Method) -> Self {
        Self::unsupported("the endpoint does not know this method").about("method", method.as_str())
    }

    pub(super) fn unsupported(message: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, message)
    }

    pub(super) fn unauthorized() -> Self {
        let status = StatusCode::UNAUTHORIZED;
        Self::new(status, Code::Unauthorized, "authentication required").header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"registry\", charset=\"UTF-8\""),
        )
    }

    pub(super) fn repository_unknown() -> Self {
        Self::not_found(Code::NameUnknown, "repository unknown to the registry")
    }

    pub(super) fn blob_unknown(digest: &Digest) -> Self {
        Self::not_found(Code::BlobUnknown, "blob unknown to the repository")
            .about("digest", &digest.to_string())
    }

    pub(super) fn manifest_unknown(what: &str) -> Self {
        Self::not_found(Code::ManifestUnknown, "manifest unknown to the repository")
            .about("reference", what)
    }

    pub(super) fn upload_unknown() -> Self {
        Self::not_found(Code::BlobUploadUnknown, "upload unknown to the repository")
    }

    pub(super) fn manifest_invalid(message: &str) -> Self {
        Self::bad_request(Code::ManifestInvalid, message)
    }

    /// One error for each missing piece of a manifest.
    pub(super) fn manifest_pieces_unknown(missing: &[Digest]) -> Self {
        let errors = missing
            .iter()
            .map(|digest| {
                json!({
                    "code": Code::ManifestBlobUnknown.name(),
                    "message": "the manifest names content that is unknown to the repository",
                    "detail": {"digest": digest},
                })
            })
            .collect();
        Self {
            status: StatusCode::NOT_FOUND,
            errors,
            headers: Vec::new(),
        }
    }

    pub(in crate::serve) fn into_response(self) -> Response {
        let text = json!({"errors": self.errors}).to_string();
        let mut response = json_response(self.status, text);
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, Code::Unknown, "the registry's storage failed")
            .about("reason", &error.to_string())
    }
}

impl From<FinishError> for ApiError {
    fn from(error: FinishError) -> Self {
        match error {
            FinishError::Io(error) => error.into(),
            FinishError::Mismatch(actual) => {
                Self::bad_request(Code::DigestInvalid, "the content has another digest")
                    .about("actual", &actual.to_string())
            }
        }
    }
}
