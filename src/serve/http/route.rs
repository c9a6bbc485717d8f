//! From a request path to a checked endpoint.

use super::error::{ApiError, Code};
use crate::{
    oci::{Digest, TagOrDigest},
    serve::names::{RepositoryName, UploadId, is_tag},
};

/// An endpoint of the distribution specification; every name in it has passed its grammar.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Base,
    Catalog,
    Tags(RepositoryName),
    Referrers(RepositoryName, Digest),
    Manifest(RepositoryName, TagOrDigest),
    Blob(RepositoryName, Digest),
    Uploads(RepositoryName),
    Upload(RepositoryName, UploadId),
}

impl Route {
    /// Takes the path apart from its end, because a repository may itself have components
    /// called `blobs` or `manifests`.
    pub(super) fn parse(path: &str) -> Result<Self, ApiError> {
        // The one escape that clients use: nothing else in a valid path ever needs one, and what
        // still holds a percent sign fails the grammar.
        let path = path.replace("%3A", ":").replace("%3a", ":");
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some("/_catalog") => return Ok(Self::Catalog),
            Some(rest) => rest
                .strip_prefix('/')
                .ok_or_else(ApiError::no_such_endpoint)?,
            None => return Err(ApiError::no_such_endpoint()),
        };
        let upload = rest
            .rsplit_once("/blobs/uploads")
            .and_then(|(name, id)| match id {
                "" => Some((name, "")),
                _ => Some((name, id.strip_prefix('/')?)),
            })
            .filter(|(_, id)| !id.contains('/'));
        if let Some((name, id)) = upload {
            let name = repository(name)?;
            if id.is_empty() {
                return Ok(Self::Uploads(name));
            }
            let id = UploadId::parse(id).ok_or_else(ApiError::upload_unknown)?;
            return Ok(Self::Upload(name, id));
        }
        let (front, last) = rest
            .rsplit_once('/')
            .ok_or_else(ApiError::no_such_endpoint)?;
        let (name, kind) = front
            .rsplit_once('/')
            .ok_or_else(ApiError::no_such_endpoint)?;
        match (kind, last) {
            ("tags", "list") => Ok(Self::Tags(repository(name)?)),
            ("blobs", digest) => Ok(Self::Blob(repository(name)?, parse_digest(digest)?)),
            ("referrers", digest) => Ok(Self::Referrers(repository(name)?, parse_digest(digest)?)),
            ("manifests", what) => Ok(Self::Manifest(repository(name)?, tag_or_digest(what)?)),
            _ => Err(ApiError::no_such_endpoint()),
        }
    }
}

fn repository(path: &str) -> Result<RepositoryName, ApiError> {
    RepositoryName::parse(path).ok_or_else(|| {
        ApiError::bad_request(Code::NameInvalid, "not a valid repository name").about("name", path)
    })
}

fn tag_or_digest(text: &str) -> Result<TagOrDigest, ApiError> {
    if text.contains(':') {
        return parse_digest(text).map(TagOrDigest::Digest);
    }
    check_tag(text)?;
    Ok(TagOrDigest::Tag(text.to_owned()))
}

/// Refuses what is no tag by its grammar.
pub(super) fn check_tag(text: &str) -> Result<(), ApiError> {
    if is_tag(text) {
        return Ok(());
    }
    Err(ApiError::bad_request(Code::TagInvalid, "not a valid tag").about("tag", text))
}

/// Parses a digest from a path or a query.
pub(super) fn parse_digest(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(
            Code::DigestInvalid,
            "not a valid digest: expected sha256 or sha512 in lower-case hexadecimal",
        )
        .about("digest", text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> RepositoryName {
        RepositoryName::parse(path).unwrap()
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = Digest::sha256_of(b"x");
        let id = UploadId::random().unwrap();
        let escaped = digest.to_string().replace(':', "%3A");
        for (path, route) in [
            ("/v2".to_owned(), Route::Base),
            ("/v2/".to_owned(), Route::Base),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            ("/v2/a/tags/list".to_owned(), Route::Tags(name("a"))),
            (
                "/v2/a/manifests/tags/list".to_owned(),
                Route::Tags(name("a/manifests")),
            ),
            (
                "/v2/blobs/uploads/manifests/v1".to_owned(),
                Route::Manifest(name("blobs/uploads"), TagOrDigest::Tag("v1".into())),
            ),
            (
                format!("/v2/a/b/blobs/{digest}"),
                Route::Blob(name("a/b"), digest),
            ),
            (
                format!("/v2/a/b/blobs/{escaped}"),
                Route::Blob(name("a/b"), digest),
            ),
            (
                format!("/v2/a/referrers/{digest}"),
                Route::Referrers(name("a"), digest),
            ),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads".to_owned(), Route::Uploads(name("a"))),
            (
                format!("/v2/a/blobs/uploads/{}", id.as_str()),
                Route::Upload(name("a"), id.clone()),
            ),
        ] {
            assert_eq!(Route::parse(&path).unwrap(), route, "{path}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_store() {
        for path in [
            "/",
            "/v1/",
            "/v2x",
            "/v2//tags/list",
            "/v2/../tags/list",
            "/v2/a/../b/tags/list",
            "/v2/a/%2e%2e/tags/list",
            "/v2/a%2F..%2Fb/tags/list",
            "/v2/_tags/tags/list",
            "/v2/a/manifests/..",
            "/v2/a/manifests/%2e%2e",
            "/v2/a/manifests/../../x",
            "/v2/a/manifests/sha256:../../../etc/passwd",
            "/v2/a/blobs/sha256:..",
            "/v2/a/blobs/..",
            "/v2/a/blobs/uploads/..",
            "/v2/a/blobs/uploads/../../x",
            "/v2/A/tags/list",
        ] {
            assert!(Route::parse(path).is_err(), "{path}");
        }
    }
}
