//! Pull secrets of Kubernetes, which hold a credentials file in themselves.

use std::collections::BTreeMap;

use base64::prelude::*;
use serde::{Deserialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::registry::Secret;

/// What is said of a file that is nothing known.
const NEITHER: &str = "neither Docker's JSON nor a Kubernetes Secret";
/// What holds Docker's file in a Secret of type `kubernetes.io/dockerconfigjson`.
const CONFIG_JSON: &str = ".dockerconfigjson";
/// The same in a Secret of type `kubernetes.io/dockercfg`, in the older form.
const CONFIG: &str = ".dockercfg";

/// What tells a manifest from Docker's file.
#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

/// A Secret (API `v1`), with what is needed of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    data: Option<BTreeMap<String, Option<Secret>>>,
    #[serde(default)]
    string_data: Option<BTreeMap<String, Option<Secret>>>,
}

/// The credentials file inside a Secret; `None` when the text is JSON and no manifest.
///
/// # Errors
/// What is wrong with it, without any content.
pub(super) fn unwrap(text: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let json = text.trim_ascii_start().first() == Some(&b'{');
    let kind: Result<Kind, String> = if json {
        from_json(text)
    } else {
        from_yaml(text)
    };
    match kind {
        Ok(Kind { kind: Some(kind) }) if kind == "Secret" => {}
        Ok(Kind { kind: Some(_) }) => {
            return Err("a Kubernetes object that is no Secret".to_owned());
        }
        // Whoever reads it as Docker's file tells what is wrong with it.
        _ if json => return Ok(None),
        Ok(Kind { kind: None }) => return Err(NEITHER.to_owned()),
        Err(at) => return Err(format!("{NEITHER}{at}")),
    }
    let manifest: Manifest = if json {
        from_json(text)
    } else {
        from_yaml(text)
    }
    .map_err(|at| format!("a Kubernetes Secret that cannot be read{at}"))?;
    // As in the API: what is in `stringData` replaces what is in `data`.
    let plain = manifest.string_data.unwrap_or_default();
    let encoded = manifest.data.unwrap_or_default();
    for name in [CONFIG_JSON, CONFIG] {
        if let Some(Some(text)) = plain.get(name) {
            return Ok(Some(Zeroizing::new(text.expose().as_bytes().to_vec())));
        }
        if let Some(Some(text)) = encoded.get(name) {
            let packed: String = text.expose().split_ascii_whitespace().collect();
            let packed = Zeroizing::new(packed);
            let decoded = BASE64_STANDARD
                .decode(packed.as_bytes())
                .map_err(|_| format!("`data` of the Secret: `{name}` is not base64"))?;
            return Ok(Some(Zeroizing::new(decoded)));
        }
    }
    Err(format!(
        "a Kubernetes Secret without `{CONFIG_JSON}`: make one with `kubectl create secret docker-registry`"
    ))
}

/// The error is only the place: messages of parsers may quote the content.
fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    serde_json::from_slice(text)
        .map_err(|error| format!(" (line {}, column {})", error.line(), error.column()))
}

fn from_yaml<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(text).map_err(|_| String::new())?;
    serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(at) => format!(" (line {}, column {})", at.line(), at.column()),
        None => String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"auths":{"h.io":{"auth":"dTpwOnc="}}}"#;

    fn unwrapped(text: &str) -> Result<Option<String>, String> {
        let inner = unwrap(text.as_bytes())?;
        Ok(inner.map(|inner| String::from_utf8(inner.to_vec()).unwrap()))
    }

    #[test]
    fn q12_a_secret_is_read_in_all_its_forms() {
        let encoded = BASE64_STANDARD.encode(FILE);
        let (start, end) = encoded.split_at(20);
        for text in [
            format!(
                "# made by hand\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: pull\n\
                 type: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: {encoded}\n"
            ),
            format!("kind: Secret\ndata:\n  .dockerconfigjson: |\n    {start}\n    {end}\n"),
            format!("kind: Secret\nstringData:\n  .dockerconfigjson: '{FILE}'\n"),
            format!("kind: Secret\nstringData:\n  .dockerconfigjson: |\n    {FILE}\n"),
            format!(
                "kind: Secret\ndata: {{.dockerconfigjson: bm90aGluZw==}}\n\
                 stringData:\n  .dockerconfigjson: '{FILE}'\n"
            ),
            format!(
                "kind: Secret\ntype: kubernetes.io/dockercfg\ndata:\n  .dockercfg: {encoded}\n"
            ),
            serde_json::json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                "data": {".dockerconfigjson": encoded, "other": null},
            })
            .to_string(),
            serde_json::json!({"kind": "Secret", "stringData": {".dockerconfigjson": FILE}})
                .to_string(),
        ] {
            let inner = unwrapped(&text).unwrap().unwrap();
            assert_eq!(inner.trim_end(), FILE, "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_is_said_or_left_to_others() {
        assert_eq!(unwrapped(FILE), Ok(None));
        assert_eq!(unwrapped("{broken"), Ok(None));
        for (text, said) in [
            ("kind: ConfigMap\ndata: {a: hunter2}\n", "no Secret"),
            ("kind: Secret\ndata: {a: aHVudGVyMg==}\n", "create secret"),
            (
                "kind: Secret\ndata: {.dockerconfigjson: 'hunter2!'}\n",
                "base64",
            ),
            ("kind: Secret\ndata: [hunter2]\n", "line 2"),
            (r#"{"kind":"Secret","data":["hunter2"]}"#, "line 1"),
            ("auths:\n  h.io: {auth: hunter2}\n", "neither"),
            ("kind: Secret\n---\nkind: Secret\n", "neither"),
            ("hunter2", "neither"),
            ("kind: Secret\nkind: Secret\ndata: {}\n", "neither"),
        ] {
            let failed = unwrapped(text).unwrap_err();
            assert!(
                failed.contains(said) && !failed.contains("hunter2"),
                "{failed}"
            );
        }
    }
}
