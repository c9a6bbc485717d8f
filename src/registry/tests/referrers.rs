//! What refers to a manifest: registries that list it, and those that do not.

use super::*;
use crate::{
    oci::{Descriptor, media_type},
    registry::{RegistryError, referrers_tag},
};

fn subject() -> Digest {
    Digest::sha256_of(b"subject")
}

fn index(of: &[&[u8]]) -> (String, Vec<Digest>) {
    let of: Vec<_> = of
        .iter()
        .map(|content| Digest::sha256_of(content))
        .collect();
    let listed: Vec<_> = of
        .iter()
        .map(|digest| {
            format!(
                r#"{{"mediaType":"{}","digest":"{digest}","size":7}}"#,
                media_type::OCI_MANIFEST
            )
        })
        .collect();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        media_type::OCI_INDEX,
        listed.join(",")
    );
    (text, of)
}

/// A registry that answers the list so, and the tag so.
async fn serving(list: impl IntoIterator<Item = Reply>, tag: Option<Reply>) -> TestServer {
    let server = TestServer::start(|request| match request.path() {
        "/v2/" => Reply::new(200).body("{}"),
        _ => Reply::new(404).body("{}"),
    })
    .await;
    let api = format!("/v2/a/b/referrers/{}", subject());
    server.on("GET", &api, list);
    let fallback = format!("/v2/a/b/manifests/{}", referrers_tag(&subject()));
    if let Some(tag) = tag {
        server.on("GET", &fallback, [tag]);
    }
    server
}

async fn referrers(server: &TestServer) -> Result<Vec<Digest>, RegistryError> {
    let repository = repository(server, "a/b");
    let found = client(server).referrers(&repository, &subject()).await?;
    let digest = |descriptor: Descriptor| descriptor.digest;
    Ok(found.into_iter().map(digest).collect())
}

fn list(body: &str) -> Reply {
    Reply::new(200)
        .header("Content-Type", media_type::OCI_INDEX)
        .body(body)
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let (first, one) = index(&[b"1", b"2"]);
    let (second, two) = index(&[b"3"]);
    let next = format!("</v2/a/b/referrers/{}?page=2>; rel=\"next\"", subject());
    let server = serving([list(&first).header("Link", next), list(&second)], None).await;
    assert_eq!(referrers(&server).await.unwrap(), [one, two].concat());
}

#[tokio::test]
async fn without_a_list_the_tag_is_asked_for() {
    let (tagged, found) = index(&[b"1"]);
    for without in [
        Reply::new(404).body("404 page not found"),
        Reply::new(400).body("{}"),
        Reply::new(405),
        Reply::new(501),
        Reply::new(200)
            .header("Content-Type", "text/html")
            .body("<html>"),
    ] {
        let server = serving([without.clone()], Some(list(&tagged))).await;
        assert_eq!(referrers(&server).await.unwrap(), found);
        let server = serving([without], None).await;
        assert_eq!(referrers(&server).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_had_is_not_an_empty_one() {
    let elsewhere = "<http://127.0.0.1:1/v2/a/b/referrers/x>; rel=\"next\"";
    for answer in [
        Reply::new(403).body("{}"),
        Reply::new(401).body("{}"),
        Reply::new(500).body("{}"),
        list("{}"),
        list(&index(&[b"1"]).0).header("Link", elsewhere),
    ] {
        let answers = std::iter::repeat_n(answer, 5);
        let server = serving(answers, Some(list(&index(&[]).0))).await;
        assert!(referrers(&server).await.is_err());
    }
    let server = serving(
        [Reply::new(404).body("{}")],
        Some(Reply::new(403).body("{}")),
    )
    .await;
    assert!(referrers(&server).await.is_err());
}
