//! What an answer is: media types of manifests, and the words of error bodies.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::error::ServerMessage;
use crate::oci::media_type;

/// What a manifest request accepts. Some registries say 404 for a tag whose type is not listed;
/// schema 1 is listed only so that it can be refused by its name.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.5, \
    application/vnd.docker.distribution.manifest.v1+json;q=0.5, */*;q=0.1";

/// Longest error code that is shown, in characters.
const MAX_CODE: usize = 60;
/// Longest text of a server that is shown, in characters.
const MAX_MESSAGE: usize = 300;

/// A media type without its parameters, lower case; `None` when there is none.
pub(crate) fn essence(content_type: &str) -> Option<String> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    (!essence.is_empty()).then(|| essence.to_ascii_lowercase())
}

/// Why a document is not a manifest that can be carried.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Docker schema 1.
    Schema1,
    /// Not JSON, or not a manifest; the text says why.
    NotAManifest(String),
}

/// The members that tell manifests apart. Duplicates of them are an error, for two readers could
/// then see two manifests.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

/// The media type of a manifest, from what the server said and from what it is.
///
/// The server's word counts where it says something; a general word such as `text/plain` is
/// replaced by what the document itself says, or by its shape. A document that contradicts the
/// server, or itself, is refused (image-spec 1.1, "Manifest", property `mediaType`).
pub(crate) fn manifest_type(content_type: Option<&str>, bytes: &[u8]) -> Result<String, Unfit> {
    let unfit = |text: &str| Err(Unfit::NotAManifest(text.to_owned()));
    let said = content_type.and_then(essence);
    let schema1 = |t: &str| {
        matches!(
            t,
            media_type::DOCKER_SCHEMA1 | media_type::DOCKER_SCHEMA1_SIGNED
        )
    };
    if said.as_deref().is_some_and(schema1) {
        return Err(Unfit::Schema1);
    }
    if looks_like_html(bytes) || said.as_deref() == Some("text/html") {
        return unfit("an HTML page");
    }
    if bytes.is_empty() {
        return unfit("nothing");
    }
    // A list of values would also do for the structure.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return unfit("not a JSON object");
    }
    let shape: Shape = match serde_json::from_slice(bytes) {
        Ok(shape) => shape,
        Err(error) => {
            return Err(Unfit::NotAManifest(format!(
                "not a JSON manifest: {}",
                clip(&error.to_string())
            )));
        }
    };
    if shape.schema_version == Some(1) && shape.fs_layers.is_some() {
        return Err(Unfit::Schema1);
    }
    let index = shape.manifests.is_some();
    let image = shape.layers.is_some() || shape.config.is_some();
    if index && image {
        return unfit("both an index and an image manifest");
    }
    let own = shape.media_type.as_deref().and_then(essence);
    let general = |t: &str| {
        matches!(
            t,
            "application/json" | "text/plain" | "application/octet-stream" | "binary/octet-stream"
        )
    };
    if let Some(said) = said.filter(|t| !general(t)) {
        return match own {
            Some(own) if own != said => Err(Unfit::NotAManifest(format!(
                "served as {} but calls itself {}",
                clip(&said),
                clip(&own)
            ))),
            _ => contradiction(&said, index, image).map_or(Ok(said), Err),
        };
    }
    if let Some(own) = own {
        return contradiction(&own, index, image).map_or(Ok(own), Err);
    }
    match (index, image) {
        (true, _) => Ok(media_type::OCI_INDEX.to_owned()),
        (_, true) => Ok(media_type::OCI_MANIFEST.to_owned()),
        _ => unfit("JSON, but not a manifest"),
    }
}

fn contradiction(media_type: &str, index: bool, image: bool) -> Option<Unfit> {
    let wrong = (media_type::is_index(media_type) && image)
        || (media_type::is_manifest(media_type) && index);
    wrong.then(|| Unfit::NotAManifest(format!("served as {media_type}, which it is not")))
}

/// Whether a body is a web page, whatever its media type.
pub(crate) fn looks_like_html(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'<')
}

/// The first of the errors in an error body (distribution specification, "Error Codes"), or the
/// other forms that registries and token services use. At most 300 characters in all.
pub(crate) fn server_message(bytes: &[u8]) -> ServerMessage {
    let only = |message: String| ServerMessage {
        message: (!message.is_empty()).then_some(message),
        ..ServerMessage::default()
    };
    if looks_like_html(bytes) {
        return only("(an HTML page)".to_owned());
    }
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return only(clip(String::from_utf8_lossy(bytes).trim()));
    };
    let first = value.get("errors").and_then(|e| e.get(0)).unwrap_or(&value);
    let text = |names: &[&str]| {
        let found = names.iter().find_map(|n| first.get(*n)?.as_str());
        found.filter(|t| !t.is_empty()).map(str::to_owned)
    };
    let mut left = MAX_MESSAGE;
    let mut part = |text: String, most: usize| {
        let clipped = clip_to(&text, most.min(left));
        left -= clipped.chars().count();
        (!clipped.is_empty()).then_some(clipped)
    };
    let code = text(&["code"]).and_then(|code| part(code, MAX_CODE));
    let message = text(&["message", "details", "error_description", "error"]);
    let detail = first.get("detail").and_then(detail);
    let detail = detail.filter(|detail| Some(detail) != message.as_ref());
    ServerMessage {
        code,
        message: message.and_then(|message| part(message, MAX_MESSAGE)),
        detail: detail.and_then(|detail| part(detail, MAX_MESSAGE)),
    }
}

/// What an error says in detail, where that is something.
fn detail(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Object(members) if members.is_empty() => None,
        Value::Array(items) if items.is_empty() => None,
        other => Some(other.to_string()),
    }
}

/// Foreign text, short and on one line.
pub(crate) fn clip(text: &str) -> String {
    clip_to(text, MAX_MESSAGE)
}

fn clip_to(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(most).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INDEX: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;
    const IMAGE: &[u8] = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;

    #[test]
    fn the_servers_word_counts_where_it_says_something() {
        let of = |t: &str, bytes: &[u8]| manifest_type(Some(t), bytes).unwrap();
        assert_eq!(
            of(
                "application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8",
                INDEX
            ),
            media_type::DOCKER_LIST
        );
        assert_eq!(
            of("Application/Vnd.OCI.image.manifest.v1+JSON", IMAGE),
            media_type::OCI_MANIFEST
        );
        for general in ["application/json", "text/plain; charset=utf-8", ""] {
            assert_eq!(of(general, INDEX), media_type::OCI_INDEX);
            assert_eq!(of(general, IMAGE), media_type::OCI_MANIFEST);
            let docker = br#"{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","layers":[]}"#;
            assert_eq!(of(general, docker), media_type::DOCKER_MANIFEST);
        }
        assert_eq!(
            manifest_type(None, IMAGE).unwrap(),
            media_type::OCI_MANIFEST
        );
        assert_eq!(
            of("application/vnd.custom+json", b"{}"),
            "application/vnd.custom+json"
        );
    }

    #[test]
    fn schema_1_is_recognised_by_type_and_by_shape() {
        let old = br#"{"schemaVersion":1,"name":"a","fsLayers":[],"history":[]}"#;
        assert_eq!(manifest_type(None, old), Err(Unfit::Schema1));
        assert_eq!(
            manifest_type(Some("application/json"), old),
            Err(Unfit::Schema1)
        );
        assert_eq!(
            manifest_type(Some(media_type::DOCKER_SCHEMA1_SIGNED), b"{}"),
            Err(Unfit::Schema1)
        );
    }

    #[test]
    fn what_is_two_things_or_none_is_refused() {
        for (content_type, body) in [
            (None, &br#"{"manifests":[],"layers":[]}"#[..]),
            (None, br#"{"layers":[],"layers":[]}"#),
            (Some(media_type::OCI_INDEX), IMAGE),
            (Some(media_type::OCI_MANIFEST), INDEX),
            (
                Some(media_type::OCI_MANIFEST),
                br#"{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","layers":[]}"#,
            ),
            (Some("application/json"), b"{}"),
            (Some("application/json"), b"[]"),
            (Some("application/json"), b""),
            (Some("application/json"), b"<html>"),
            (Some(media_type::OCI_INDEX), b" \n<!DOCTYPE html>"),
            (Some("text/html"), IMAGE),
        ] {
            let result = manifest_type(content_type, body);
            assert!(matches!(result, Err(Unfit::NotAManifest(_))), "{content_type:?} {result:?}");
        }
    }

    #[test]
    fn error_bodies_of_all_kinds_are_read() {
        let read = |text: &str| server_message(text.as_bytes()).to_string();
        assert_eq!(
            read(r#"{"errors":[{"code":"DENIED","message":"no\nway","detail":{}}]}"#),
            ": DENIED: no way"
        );
        assert_eq!(
            read(r#"{"errors":[{"code":"DENIED","message":"no","detail":[{"Name":"a\tb"}]}]}"#),
            r#": DENIED: no ([{"Name":"a\tb"}])"#
        );
        assert_eq!(
            read(r#"{"errors":[{"code":"DENIED","detail":"say\u0007 it"},{"code":"X"}]}"#),
            ": DENIED (say  it)"
        );
        assert_eq!(
            read(r#"{"errors":[{"code":"D","message":"same","detail":"same"}]}"#),
            ": D: same"
        );
        assert_eq!(read(r#"{"detail":"not found"}"#), ": not found");
        assert_eq!(
            read(r#"{"details":"incorrect username or password"}"#),
            ": incorrect username or password"
        );
        assert_eq!(read("<html>x"), ": (an HTML page)");
        assert_eq!(read("plain"), ": plain");
        assert_eq!(read(""), "");
        assert!(read(&"x".repeat(10_000)).len() < 310);
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_short_and_on_one_line(
            code in ".{0,400}", message in ".{0,400}", detail in ".{0,400}", cut in 0..2000_usize,
        ) {
            let error = serde_json::json!({"code": code, "message": message, "detail": [detail]});
            let mut body = serde_json::json!({"errors": [error]}).to_string().into_bytes();
            for _ in 0..2 {
                let said = server_message(&body);
                let parts = [&said.code, &said.message, &said.detail];
                let all: String = parts.into_iter().flatten().map(String::as_str).collect();
                prop_assert!(all.chars().count() <= MAX_MESSAGE);
                prop_assert!(!all.contains(char::is_control));
                body.truncate(cut);
            }
        }
    }
}
