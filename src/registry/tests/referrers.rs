//! What refers to a manifest: registries that list it, and those that do not.
//!
//! What is written for the latter is in `referrers_tag`.

use super::*;
use crate::{
    oci::{Descriptor, media_type},
    registry::{RegistryError, referrers_tag, test_server::Fault},
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
                r#"{{"mediaType":"{}","artifactType":"x/y","digest":"{digest}","size":7}}"#,
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
async fn q73_a_list_is_read_page_by_page() {
    let (first, one) = index(&[b"1", b"2"]);
    let (second, two) = index(&[b"3"]);
    let next = format!("</v2/a/b/referrers/{}?page=2>; rel=\"next\"", subject());
    let server = serving([list(&first).header("Link", next), list(&second)], None).await;
    assert_eq!(referrers(&server).await.unwrap(), [one, two].concat());
}

#[tokio::test]
async fn q73_a_list_of_which_a_page_is_missing_is_none() {
    let next = || format!("</v2/a/b/referrers/{}?page=2>; rel=\"next\"", subject());
    let (first, _) = index(&[b"1", b"2"]);
    let page = Reply::new(200).header("Content-Type", "text/html");
    for missing in [Reply::new(404).body("{}"), page.body("<html>")] {
        let answers = [list(&first).header("Link", next()), missing];
        let server = serving(answers, None).await;
        assert!(referrers(&server).await.is_err());
    }
    // One that breaks off is fetched again.
    let broken = list(&first).fault(Fault::CutAfter(9));
    let (last, found) = index(&[b"3"]);
    let server = serving([broken, list(&last)], None).await;
    assert_eq!(referrers(&server).await.unwrap(), found);
}

#[tokio::test]
async fn q70_what_keeps_no_lists_is_asked_once_for_a_repository_and_what_fails_is_not_taken_for_it()
{
    let other = Digest::sha256_of(b"other");
    let lists = [subject(), other].map(|of| format!("/v2/a/b/referrers/{of}"));
    let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#;
    for (answer, asked_again) in [
        (Reply::new(404).body("404 page not found"), 0),
        (Reply::new(405), 0),
        (Reply::new(404).body(unknown), 1),
        (Reply::new(400).body("{}"), 1),
    ] {
        let server = serving([answer], None).await;
        let (found, digests) = index(&[b"1"]);
        server.on("GET", &lists[1], [list(&found)]);
        let (client, repository) = (client(&server), repository(&server, "a/b"));
        for of in [subject(), other] {
            let all = client.all_referrers(&repository, &of).await.unwrap();
            let all: Vec<_> = all.referrers.iter().map(|one| one.digest).collect();
            let expected = (of == other && asked_again == 1).then(|| digests.clone());
            assert_eq!(all, expected.unwrap_or_default());
        }
        assert_eq!(server.count("GET", &lists[0]), 1);
        assert_eq!(server.count("GET", &lists[1]), asked_again);
    }
}

#[tokio::test]
async fn q72_nothing_that_either_list_has_is_missed() {
    let (listed, one) = index(&[b"1", b"2"]);
    let (tagged, two) = index(&[b"2", b"3"]);
    let server = serving([list(&listed)], None).await;
    let tag = format!("/v2/a/b/manifests/{}", referrers_tag(&subject()));
    for method in ["HEAD", "GET"] {
        server.on(method, &tag, [list(&tagged)]);
    }
    let repository = repository(&server, "a/b");
    let all = client(&server).all_referrers(&repository, &subject()).await;
    let all = all.unwrap();
    let digests: Vec<_> = all.referrers.iter().map(|one| one.digest).collect();
    assert_eq!(digests, [&one[..], &two[1..]].concat());
    assert!(all.has_tag);
}

#[tokio::test]
async fn q69_without_a_list_the_tag_is_asked_for() {
    let (tagged, found) = index(&[b"1"]);
    for without in [
        Reply::new(404).body("404 page not found"),
        Reply::new(400).body("{}"),
        Reply::new(405),
        Reply::new(406),
        Reply::new(501),
        Reply::new(200)
            .header("Content-Type", "text/html")
            .body("<html>"),
        // JSON, but no index.
        Reply::new(200)
            .header("Content-Type", "application/json")
            .body(r#"{"status":"ok"}"#),
    ] {
        let server = serving([without.clone()], Some(list(&tagged))).await;
        assert_eq!(referrers(&server).await.unwrap(), found);
        let server = serving([without], None).await;
        assert_eq!(referrers(&server).await.unwrap(), []);
    }
}

#[tokio::test]
async fn q69_a_list_that_cannot_be_had_is_not_an_empty_one() {
    let elsewhere = "<http://127.0.0.1:1/v2/a/b/referrers/x>; rel=\"next\"";
    for answer in [
        Reply::new(403).body("{}"),
        Reply::new(401).body("{}"),
        Reply::new(429).body("{}"),
        Reply::new(500).body("{}"),
        Reply::new(502).body("{}"),
        Reply::new(503).body("{}"),
        Reply::new(504).body("{}"),
        list("{}"),
        list(&index(&[b"1"]).0).header("Link", elsewhere),
    ] {
        let answers = std::iter::repeat_n(answer, 5);
        let server = serving(answers, Some(list(&index(&[]).0))).await;
        assert!(referrers(&server).await.is_err());
    }
    for status in [401, 403, 429, 500, 503] {
        let none = [Reply::new(404).body("{}")];
        let server = serving(none, Some(Reply::new(status).body("{}"))).await;
        assert!(referrers(&server).await.is_err(), "{status}");
    }
}

#[tokio::test]
async fn q70_a_tag_that_is_taken_for_the_digest_is_no_list() {
    let child = br#"{"schemaVersion":2,"config":{"mediaType":"x/y","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
    let child_digest = Digest::sha256_of(child);
    let (size, kind) = (child.len(), media_type::OCI_MANIFEST);
    let platform = r#"{"os":"linux","architecture":"amd64"}"#;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{kind}","digest":"{child_digest}","size":{size},"platform":{platform}}}]}}"#,
        media_type::OCI_INDEX,
    );
    // The very index that was asked about, and one with its children that has another digest.
    let other = index.replace("]}", "],\"annotations\":{}}");
    for (served, subject) in [
        (&index, Digest::sha256_of(index.as_bytes())),
        (&other, subject()),
    ] {
        let (content, server) = registry().await;
        let tag = referrers_tag(&subject);
        content.add_manifest("a/b", &tag, media_type::OCI_INDEX, served);
        content.add_manifest("a/b", "child", kind, child);
        let repository = repository(&server, "a/b");
        let found = client(&server).referrers(&repository, &subject).await;
        assert_eq!(found.unwrap(), []);
    }
    // An entry without artifact type that is a referrer is one.
    let (content, server) = registry().await;
    let about = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"x/y","digest":"{child_digest}","size":2}},"layers":[],"subject":{{"mediaType":"{kind}","digest":"{}","size":7}}}}"#,
        subject()
    );
    let referrer = content.add_manifest("a/b", "referrer", kind, &about);
    let list = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{kind}","digest":"{referrer}","size":{}}}]}}"#,
        about.len()
    );
    content.add_manifest(
        "a/b",
        &referrers_tag(&subject()),
        media_type::OCI_INDEX,
        list,
    );
    assert_eq!(
        referrers(&server).await.unwrap(),
        [referrer.parse().unwrap()]
    );
}

#[tokio::test]
async fn q72_an_empty_list_may_come_from_one_who_knows_of_none() {
    let (tagged, found) = index(&[b"1"]);
    let empty = list(&index(&[]).0);
    let server = serving([empty.clone()], Some(list(&tagged))).await;
    assert_eq!(referrers(&server).await.unwrap(), found);
    let server = serving([empty], None).await;
    assert_eq!(referrers(&server).await.unwrap(), []);
}

#[tokio::test]
async fn q75_a_list_that_is_asked_for_too_often_is_waited_for() {
    let (listed, found) = index(&[b"1"]);
    let busy = || Reply::new(429).body(r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#);
    let (tagged, _) = index(&[b"2"]);
    let server = serving([busy(), busy(), list(&listed)], Some(list(&tagged))).await;
    assert_eq!(referrers(&server).await.unwrap(), found);
    let tag = format!("/v2/a/b/manifests/{}", referrers_tag(&subject()));
    assert_eq!(server.count("GET", &tag), 0, "busy is not the same as none");

    let server = serving([busy()], Some(list(&tagged))).await;
    let failed = referrers(&server).await.unwrap_err();
    assert_eq!(failed.status().map(|s| s.as_u16()), Some(429));
    assert_eq!(server.count("GET", &tag), 0);

    // The pause that one list was told holds for everybody who asks this host.
    let told = busy().header("Retry-After", "1");
    let server = serving([told, list(&listed)], None).await;
    let (client, repository) = (client(&server), repository(&server, "a/b"));
    let start = std::time::Instant::now();
    client.referrers(&repository, &subject()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}
