//! The list of referrers that clients keep under a tag, where the registry keeps none.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::{
    oci::{Descriptor, Document, media_type},
    registry::{ReferrersTag, RegistryError, referrers_tag, test_registry::error},
};

const INDEX: &str = media_type::OCI_INDEX;

fn subject() -> Digest {
    Digest::sha256_of(b"subject")
}

fn tag_path() -> String {
    format!("/v2/a/b/manifests/{}", referrers_tag(&subject()))
}

/// A manifest about the subject, and what it is in a list.
fn referrer(annotation: &str) -> (String, Descriptor) {
    let config =
        json!({"mediaType": "application/x.config", "digest": Digest::sha256_of(b"{}"), "size": 2});
    let about = json!({"mediaType": IMAGE_TYPE, "digest": subject(), "size": 7});
    let text = json!({
        "schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": config, "layers": [],
        "subject": about, "annotations": {"name": annotation},
    })
    .to_string();
    let document = Document::parse(text.as_bytes(), IMAGE_TYPE).unwrap();
    let digest = Digest::sha256_of(text.as_bytes());
    let listed = document.as_referrer(IMAGE_TYPE, digest, text.len() as u64);
    (text, listed)
}

fn wanting(referrers: &[&Descriptor]) -> ReferrersTag {
    ReferrersTag {
        referrers: referrers.iter().copied().cloned().collect(),
        ..ReferrersTag::new(subject())
    }
}

async fn update(server: &TestServer, wanted: &ReferrersTag) -> Result<(), RegistryError> {
    let repository = repository(server, "a/b");
    client(server)
        .update_referrers_tag(&repository, wanted)
        .await
}

/// The list as the registry has it.
fn list(content: &TestRegistry) -> Value {
    let (media_type, bytes) = content.manifest("a/b", &referrers_tag(&subject())).unwrap();
    assert_eq!(media_type, INDEX);
    serde_json::from_slice(&bytes).unwrap()
}

fn digests(list: &Value) -> Vec<String> {
    let entries = list["manifests"].as_array().unwrap().iter();
    entries
        .map(|entry| entry["digest"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn q71_the_list_under_the_tag_is_made_and_added_to_once() {
    let (content, server) = registry().await;
    let (one, two) = (referrer("one"), referrer("two"));
    update(&server, &wanting(&[&one.1])).await.unwrap();
    let made = list(&content);
    assert_eq!(made["schemaVersion"], 2);
    assert_eq!(made["mediaType"], INDEX);
    let entry = json!({
        "mediaType": IMAGE_TYPE,
        "digest": Digest::sha256_of(one.0.as_bytes()),
        "size": one.0.len(),
        // The type of the configuration, for it has none of its own.
        "artifactType": "application/x.config",
        "annotations": {"name": "one"},
    });
    assert_eq!(made["manifests"], json!([entry]));

    update(&server, &wanting(&[&two.1, &one.1])).await.unwrap();
    let both = [one.1.digest, two.1.digest].map(|digest| digest.to_string());
    assert_eq!(digests(&list(&content)), both);
    let puts = server.count("PUT", &tag_path());
    assert_eq!(puts, 2);
    update(&server, &wanting(&[&two.1, &one.1])).await.unwrap();
    assert_eq!(
        server.count("PUT", &tag_path()),
        puts,
        "nothing was missing"
    );
}

#[test]
fn q71_a_referrer_is_described_by_its_own_type_before_that_of_its_configuration() {
    let (text, _) = referrer("x");
    let own = text.replacen('{', r#"{"artifactType":"application/x.own","#, 1);
    let digest = Digest::sha256_of(own.as_bytes());
    let document = Document::parse(own.as_bytes(), IMAGE_TYPE).unwrap();
    let listed = document.as_referrer(IMAGE_TYPE, digest, 1);
    assert_eq!(listed.artifact_type.as_deref(), Some("application/x.own"));
    let empty = text.replacen('{', r#"{"artifactType":"","#, 1);
    let document = Document::parse(empty.as_bytes(), IMAGE_TYPE).unwrap();
    let listed = document.as_referrer(IMAGE_TYPE, digest, 1);
    assert_eq!(
        listed.artifact_type.as_deref(),
        Some("application/x.config")
    );
    // An index has no configuration.
    let index = r#"{"schemaVersion":2,"manifests":[],"annotations":{"a":"b"}}"#;
    let document = Document::parse(index.as_bytes(), INDEX).unwrap();
    let listed = document.as_referrer(INDEX, digest, 1);
    assert_eq!(listed.artifact_type, None);
    assert_eq!(listed.annotations["a"], "b");
}

#[tokio::test]
async fn q71_what_others_have_put_into_the_list_stays_with_all_its_fields() {
    let (content, server) = registry().await;
    let theirs = json!({
        "mediaType": IMAGE_TYPE, "digest": Digest::sha256_of(b"theirs"), "size": 6,
        "artifactType": "x/y", "data": "dGhlaXJz", "x-unknown": [1, {"deep": true}],
    });
    let before = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [theirs],
        "annotations": {"kept": "yes"}, "x-other": {"b": 1, "a": null},
    });
    let tag = referrers_tag(&subject());
    content.add_manifest("a/b", &tag, INDEX, before.to_string());
    let (_, ours) = referrer("ours");
    update(&server, &wanting(&[&ours])).await.unwrap();
    let mut after = list(&content);
    assert_eq!(after["manifests"][0], theirs);
    assert_eq!(digests(&after)[1], ours.digest.to_string());
    after["manifests"].as_array_mut().unwrap().pop();
    assert_eq!(after, before);
}

#[tokio::test]
async fn q71_a_list_that_travelled_is_kept_as_it_is_or_added_to_the_one_there() {
    let (one, two) = (referrer("one").1, referrer("two").1);
    let entry = |of: &Descriptor| serde_json::to_value(of).unwrap();
    let carried = format!(
        "{{ \"schemaVersion\": 2, \"x\": 1,\n \"mediaType\": \"{INDEX}\", \"manifests\": [{}] }}",
        entry(&one)
    );
    let wanted = ReferrersTag {
        lists: vec![carried.clone().into()],
        ..wanting(&[&one])
    };
    let (content, server) = registry().await;
    update(&server, &wanted).await.unwrap();
    let tag = referrers_tag(&subject());
    assert_eq!(content.manifest("a/b", &tag).unwrap().1, carried.as_bytes());

    let (content, server) = registry().await;
    update(&server, &wanting(&[&two])).await.unwrap();
    update(&server, &wanted).await.unwrap();
    let both = [two.digest, one.digest].map(|digest| digest.to_string());
    assert_eq!(digests(&list(&content)), both);
}

#[tokio::test]
async fn q71_many_who_write_one_list_in_one_program_take_turns() {
    let (content, server) = registry().await;
    let (client, repository) = (client(&server), repository(&server, "a/b"));
    let all: Vec<_> = (0..8).map(|n| referrer(&n.to_string()).1).collect();
    let updates = all.iter().map(|referrer| {
        let (client, repository) = (client.clone(), repository.clone());
        let wanted = wanting(&[referrer]);
        async move { client.update_referrers_tag(&repository, &wanted).await }
    });
    for done in futures_util::future::join_all(updates).await {
        done.unwrap();
    }
    assert_eq!(digests(&list(&content)).len(), all.len());
    assert_eq!(
        server.count("PUT", &tag_path()),
        all.len(),
        "none was lost and written again"
    );
}

/// A registry in which another program writes the list right after each of the first `times` of our
/// own updates, as it read it before.
async fn with_another_writer(times: usize, theirs: &Descriptor) -> (TestRegistry, TestServer) {
    let registry = TestRegistry::new();
    let content = registry.clone();
    let written = AtomicUsize::new(0);
    let tag = referrers_tag(&subject());
    let stale = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [theirs]}).to_string();
    let server = TestServer::start(move |request| {
        let answer = content.answer(request);
        let ours = request.method == "PUT" && request.path().ends_with(&tag);
        if ours && written.fetch_add(1, Ordering::Relaxed) < times {
            content.add_manifest("a/b", &tag, INDEX, &stale);
        }
        answer
    })
    .await;
    (registry, server)
}

#[tokio::test]
async fn q71_what_another_writer_overwrote_is_written_again_but_not_for_ever() {
    let (ours, theirs) = (referrer("ours").1, referrer("theirs").1);
    for times in [1, 3] {
        let (content, server) = with_another_writer(times, &theirs).await;
        update(&server, &wanting(&[&ours])).await.unwrap();
        let both = [theirs.digest, ours.digest].map(|digest| digest.to_string());
        assert_eq!(digests(&list(&content)), both);
        assert_eq!(server.count("PUT", &tag_path()), times + 1);
    }
    let (_, server) = with_another_writer(usize::MAX, &theirs).await;
    let failed = update(&server, &wanting(&[&ours])).await.unwrap_err();
    assert!(
        failed.to_string().contains("loses what is added"),
        "{failed}"
    );
    assert!(failed.hint().is_some());
    assert_eq!(server.count("PUT", &tag_path()), 10);
}

#[tokio::test]
async fn q71_what_is_no_list_is_not_touched_and_a_failure_is_none() {
    let (_, ours) = referrer("ours");
    let (content, server) = registry().await;
    content.add_manifest("a/b", &referrers_tag(&subject()), IMAGE_TYPE, IMAGE);
    let failed = update(&server, &wanting(&[&ours])).await.unwrap_err();
    assert!(
        matches!(failed, RegistryError::ReferrersTag { .. }),
        "{failed}"
    );
    for status in [401, 403, 429, 500] {
        server.on("GET", &tag_path(), [error(status, "NO")]);
        assert!(
            update(&server, &wanting(&[&ours])).await.is_err(),
            "{status}"
        );
    }
    assert_eq!(server.count("PUT", &tag_path()), 0);
    let (_, server) = registry().await;
    server.on("PUT", &tag_path(), [error(403, "DENIED")]);
    let failed = update(&server, &wanting(&[&ours])).await.unwrap_err();
    assert!(failed.is_denied(), "{failed}");
}

#[tokio::test]
async fn q70_a_registry_that_takes_the_tag_for_the_digest_gets_a_new_list() {
    let (content, server) = registry().await;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string();
    let subject = Digest::sha256_of(index.as_bytes());
    content.add_manifest("a/b", &referrers_tag(&subject), INDEX, &index);
    let (_, ours) = referrer("ours");
    let wanted = ReferrersTag {
        referrers: vec![ours.clone()],
        ..ReferrersTag::new(subject)
    };
    update(&server, &wanted).await.unwrap();
    let (_, bytes) = content.manifest("a/b", &referrers_tag(&subject)).unwrap();
    let list: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(digests(&list), [ours.digest.to_string()]);
    // The subject itself is where it was.
    let (_, bytes) = content.manifest("a/b", &subject.to_string()).unwrap();
    assert_eq!(bytes, index.as_bytes());
}

#[tokio::test]
async fn q72_whether_the_registry_keeps_a_list_is_told_by_its_answer_to_the_manifest() {
    let (text, listed) = referrer("ours");
    let what = TagOrDigest::Digest(listed.digest);
    for (header, noted) in [
        (None, None),
        (Some(subject().to_string()), Some(subject())),
        (Some("true".to_owned()), None),
    ] {
        let server = TestServer::start(|_| Reply::new(200).body("{}")).await;
        // To a question for the list this registry says 200, as to everything.
        let path = format!("/v2/a/b/manifests/{what}");
        let reply = Reply::new(201);
        let reply = match &header {
            Some(value) => reply.header("OCI-Subject", value.clone()),
            None => reply,
        };
        server.on("PUT", &path, [reply]);
        let repository = repository(&server, "a/b");
        let taken = client(&server)
            .put_manifest(&repository, &what, IMAGE_TYPE, text.clone().into())
            .await
            .unwrap();
        assert_eq!(taken.subject, noted, "{header:?}");
    }
}
