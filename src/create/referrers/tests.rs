//! What refers to what refers to an image or a chart.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use super::*;
use crate::{
    oci::{Descriptor, media_type},
    progress::Silent,
    registry::{
        ClientConfig, CredentialConfig,
        test_registry::TestRegistry,
        test_server::{Fault, Reply, TestServer},
    },
    request::RequestBuilder,
};

const REPOSITORY: &str = "team/app";
const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// The referrers by the digest of their subject.
type Lists = BTreeMap<Digest, Vec<Descriptor>>;

/// A registry whose manifests and whose lists of referrers a test writes.
struct World {
    content: TestRegistry,
    lists: Arc<Mutex<Lists>>,
    server: TestServer,
    /// How long an answer may stand still.
    patience: Duration,
}

impl World {
    /// Keeps lists, or answers 404 to who asks for one.
    async fn start(keeps_lists: bool) -> Self {
        let (content, lists) = (TestRegistry::new(), Arc::new(Mutex::new(Lists::new())));
        let (answering, listed) = (content.clone(), Arc::clone(&lists));
        let server = TestServer::start(move |request| {
            let Some((_, subject)) = request.path().split_once("/referrers/") else {
                return answering.answer(request);
            };
            if !keeps_lists {
                return Reply::new(404).body("404 page not found");
            }
            let lists = listed.lock().unwrap();
            let list = lists.get(&subject.parse().unwrap());
            let reply = Reply::new(200).header("content-type", media_type::OCI_INDEX);
            reply.body(index(list.map_or(&[], Vec::as_slice)))
        })
        .await;
        Self {
            content,
            lists,
            server,
            patience: Duration::from_secs(60),
        }
    }

    /// An artifact without content of its own, under a tag of its name.
    fn artifact(&self, name: &str) -> Descriptor {
        let config =
            json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY, "size": 2});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": "x/y",
            "config": config, "layers": [], "annotations": {"name": name},
        });
        self.add(name, media_type::OCI_MANIFEST, &manifest.to_string())
    }

    fn add(&self, tag: &str, media_type: &str, bytes: &str) -> Descriptor {
        let content = &self.content;
        content.add_manifest(REPOSITORY, tag, media_type, bytes);
        let mut descriptor = Descriptor::of(media_type, bytes.as_bytes());
        descriptor.artifact_type = Some("x/y".to_owned());
        descriptor
    }

    fn list(&self, subject: &Descriptor, referrers: &[&Descriptor]) {
        let referrers = referrers.iter().map(|r| (*r).clone()).collect();
        self.lists.lock().unwrap().insert(subject.digest, referrers);
    }

    /// What comes along with the image of a tag, without the repository, and why.
    async fn collect(&self, tag: &str, choice: ReferrerChoice) -> Result<Collected, CreateError> {
        let client = Client::new(ClientConfig {
            plain_http: vec![self.server.host()],
            backoff: Duration::from_millis(2),
            stall_timeout: self.patience,
            credentials: CredentialConfig::anonymous(),
            ..ClientConfig::default()
        });
        let client = client.unwrap();
        let resolver = Resolver::new(&client, 4, HashMap::new());
        let repository = format!("{}/{REPOSITORY}", self.server.host());
        let image = format!("{repository}:{tag}");
        let mut request = RequestBuilder::new();
        request.image(&image);
        let mut request = request.build().unwrap();
        request.referrers = choice;
        let mut resolved = resolver.resolve(&request, None, &Silent).await?;
        let subjects = resolved.subjects(|_| None);
        collect(&resolver, &mut request, &mut resolved, subjects, &Silent).await?;
        let rest = |text: String| text.replace(&repository, "");
        let images = resolved.images.into_iter();
        let found = images.filter(|found| found.requested.is_only_referrer());
        let found = found.map(|found| {
            let origins = found.requested.origins.iter();
            let why = origins.map(|origin| rest(origin.to_string()));
            (rest(found.requested.reference.to_string()), why.collect())
        });
        Ok(found.collect())
    }
}

/// Each referrer, and what it refers to.
type Collected = BTreeMap<String, Vec<String>>;

fn index(of: &[Descriptor]) -> String {
    let list = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": of});
    list.to_string()
}

fn refers(pairs: &[(&Descriptor, &Descriptor)]) -> Collected {
    let pair = |(referrer, subject): &(&Descriptor, &Descriptor)| {
        let why = format!("refers to @{}", subject.digest);
        (format!("@{}", referrer.digest), vec![why])
    };
    pairs.iter().map(pair).collect()
}

fn types(of: &[&str]) -> ReferrerChoice {
    ReferrerChoice::of_types(of.iter().map(|one| (*one).to_owned()).collect())
}

#[tokio::test]
async fn q73_referrers_of_referrers_are_found_and_circles_end() {
    let world = World::start(true).await;
    let [image, signature, of_signature] = ["1", "signature", "of it"].map(|n| world.artifact(n));
    world.list(&image, &[&signature]);
    world.list(&signature, &[&of_signature, &signature]);
    // A list that goes round in a circle.
    world.list(&of_signature, &[&image, &signature]);
    let all = world.collect("1", ReferrerChoice::All).await.unwrap();
    let mut expected = refers(&[(&signature, &image), (&of_signature, &signature)]);
    let also = format!("refers to @{}", of_signature.digest);
    let of_signature_too = expected.get_mut(&format!("@{}", signature.digest)).unwrap();
    for more in [format!("refers to @{}", signature.digest), also] {
        of_signature_too.push(more);
    }
    of_signature_too.sort();
    assert_eq!(all, expected);
    for of in [&image, &signature, &of_signature] {
        let list = format!("/v2/{REPOSITORY}/referrers/{}", of.digest);
        assert_eq!(
            world.server.count("GET", &list),
            1,
            "each is asked about once"
        );
    }
}

#[tokio::test]
async fn q73_chains_without_an_end_have_one() {
    let world = World::start(true).await;
    let chain: Vec<_> = (0..20).map(|n| world.artifact(&n.to_string())).collect();
    for pair in chain.windows(2) {
        world.list(&pair[0], &[&pair[1]]);
    }
    let all = world.collect("12", ReferrerChoice::All).await.unwrap();
    assert_eq!(all.len(), 7, "{all:?}");
    let failed = world.collect("0", ReferrerChoice::All).await.unwrap_err();
    let why = failed.details().join("\n");
    assert!(why.contains("more than 8 deep"), "{why}");
}

#[tokio::test]
async fn q73_children_of_an_index_have_referrers_too() {
    let world = World::start(true).await;
    let [child, of_child, of_index] = ["child", "of child", "of index"].map(|n| world.artifact(n));
    let index = world.add(
        "1",
        media_type::OCI_INDEX,
        &index(std::slice::from_ref(&child)),
    );
    world.list(&index, &[&of_index]);
    world.list(&child, &[&of_child]);
    let all = world.collect("1", ReferrerChoice::All).await.unwrap();
    assert_eq!(all, refers(&[(&of_child, &child), (&of_index, &index)]));
}

#[tokio::test]
async fn q74_tags_of_cosign_come_along_with_what_refers_to_them() {
    let world = World::start(true).await;
    let image = world.artifact("1");
    let tag = |subject: &Descriptor, end: &str| format!("{}{end}", referrers_tag(&subject.digest));
    let sbom = world.artifact(&tag(&image, ".sbom"));
    world.artifact(&tag(&sbom, ".sig"));
    let of_sbom = world.artifact("of the SBOM");
    world.list(&sbom, &[&of_sbom]);
    let mut expected = refers(&[(&of_sbom, &sbom)]);
    for (subject, end) in [(&image, ".sbom"), (&sbom, ".sig")] {
        let why = format!("refers to @{}", subject.digest);
        expected.insert(format!(":{}", tag(subject, end)), vec![why]);
    }
    let all = world.collect("1", ReferrerChoice::All).await.unwrap();
    assert_eq!(all, expected);
    let only = world.collect("1", types(&[".sbom"])).await.unwrap();
    let names: Vec<_> = only.into_keys().collect();
    assert_eq!(names, [format!(":{}", tag(&image, ".sbom"))]);
    let list = format!("/v2/{REPOSITORY}/referrers/{}", image.digest);
    assert_eq!(
        world.server.count("GET", &list),
        1,
        "only who wants it asks for it"
    );
}

#[tokio::test]
async fn q70_a_list_that_clients_keep_comes_along_only_with_all_that_it_names() {
    let world = World::start(false).await;
    let [image, one, mut other] = ["1", "one", "other"].map(|n| world.artifact(n));
    other.artifact_type = Some("x/other".to_owned());
    let tag = referrers_tag(&image.digest);
    world.add(
        &tag,
        media_type::OCI_INDEX,
        &index(&[one.clone(), other.clone()]),
    );
    let mut expected = refers(&[(&one, &image), (&other, &image)]);
    let why = format!("refers to @{}", image.digest);
    expected.insert(format!(":{tag}"), vec![why]);
    assert_eq!(
        world.collect("1", ReferrerChoice::All).await.unwrap(),
        expected
    );
    let both = types(&["x/y", "x/other"]);
    assert_eq!(world.collect("1", both).await.unwrap(), expected);
    let only = world.collect("1", types(&["x/y"])).await.unwrap();
    assert_eq!(only, refers(&[(&one, &image)]));
    let asked = world.server.log().len();
    let none = world.collect("1", ReferrerChoice::None).await.unwrap();
    assert_eq!(none, Collected::new());
    assert_eq!(
        world.server.log().len() - asked,
        2,
        "the manifest, and whether it is a registry"
    );
}

#[tokio::test]
async fn where_nothing_is_signed_each_manifest_costs_four_requests_and_a_list_at_most() {
    for (keeps_lists, lists) in [(true, 3), (false, 1)] {
        let world = World::start(keeps_lists).await;
        let children = ["amd64", "arm64"].map(|n| world.artifact(n));
        world.add("1", media_type::OCI_INDEX, &index(&children));
        world.collect("1", ReferrerChoice::None).await.unwrap();
        let resolved = world.server.log().len();
        // One at a time, so that the first answer is known when the second list is wanted.
        assert!(
            world
                .collect("1", ReferrerChoice::All)
                .await
                .unwrap()
                .is_empty()
        );
        let log = world.server.log();
        let looks = &log[2 * resolved..];
        let of = |method: &str| looks.iter().filter(|asked| asked.method == method).count();
        assert_eq!(of("HEAD"), 3 * 4, "three tags of cosign, one of the schema");
        assert!(of("GET") >= lists && of("GET") <= 3, "{}", of("GET"));
    }
}

#[tokio::test]
async fn q75_a_registry_that_limits_requests_is_waited_for_and_never_taken_for_none() {
    let world = World::start(true).await;
    let [image, signature] = ["1", "signature"].map(|n| world.artifact(n));
    let list = format!("/v2/{REPOSITORY}/referrers/{}", image.digest);
    let answer = Reply::new(200).header("content-type", media_type::OCI_INDEX);
    let busy = || Reply::new(429).body("{}");
    let found = answer.body(index(std::slice::from_ref(&signature)));
    world.server.on("GET", &list, [busy(), busy(), found]);
    let all = world.collect("1", ReferrerChoice::All).await.unwrap();
    assert_eq!(all, refers(&[(&signature, &image)]));
    world.server.on("GET", &list, [busy()]);
    let failed = world.collect("1", ReferrerChoice::All).await.unwrap_err();
    let why = failed.details().join("\n");
    assert!(why.contains("429"), "{why}");
}

#[tokio::test]
async fn q69_what_is_no_answer_is_not_taken_for_none() {
    let page = || {
        let page = Reply::new(200).header("content-type", "text/html");
        page.body("<html>Log in</html>")
    };
    let refused = |status| Reply::new(status).body("{}");
    for answer in [
        Reply::new(200).fault(Fault::NoAnswer),
        page(),
        refused(401),
        refused(403),
        refused(429),
        refused(500),
        refused(503),
    ] {
        let world = World::start(true).await;
        let image = world.artifact("1");
        let tag = referrers_tag(&image.digest);
        let list = format!("/v2/{REPOSITORY}/referrers/{}", image.digest);
        let mut places = vec![list];
        for end in ["", ".sig", ".att", ".sbom"] {
            places.push(format!("/v2/{REPOSITORY}/manifests/{tag}{end}"));
        }
        for place in places {
            for method in ["HEAD", "GET"] {
                world
                    .server
                    .on(method, &place, std::iter::repeat_n(answer.clone(), 9));
            }
            let failed = world.collect("1", ReferrerChoice::All).await;
            assert!(failed.is_err(), "{place}: {}", answer.status);
            let gone = || Reply::new(404).body("{}");
            for method in ["HEAD", "GET"] {
                world.server.on(method, &place, [gone()]);
            }
        }
    }
}

#[tokio::test]
async fn q69_an_answer_that_never_comes_is_not_taken_for_none() {
    let mut world = World::start(true).await;
    world.patience = Duration::from_millis(300);
    let image = world.artifact("1");
    let list = format!("/v2/{REPOSITORY}/referrers/{}", image.digest);
    let silent = Reply::new(200).fault(Fault::StallAfter(0)).body("{}");
    world
        .server
        .on("GET", &list, std::iter::repeat_n(silent, 9));
    let failed = world.collect("1", ReferrerChoice::All).await.unwrap_err();
    assert!(
        matches!(failed, CreateError::Referrers { .. }),
        "{failed:?}"
    );
    assert!(world.server.count("GET", &list) > 1, "tried again first");
}

#[test]
fn a_lock_brings_its_own_referrers() {
    let lock = |types: Option<&[&str]>| -> Lock {
        let image = |reference: &str, origin: Value| {
            json!({
                "asWritten": reference, "contentSize": 2, "digest": EMPTY, "reference": reference,
                "mediaType": media_type::OCI_MANIFEST, "requestedBy": [origin], "size": 2,
            })
        };
        let subject = "quay.io/a/b@".to_owned() + EMPTY;
        let origin = json!({"kind": "referrer", "subject": subject});
        let mut lock = json!({
            "apiVersion": "sneakernet/v1", "created": "2026-11-23T00:00:00Z", "kind": "Lock",
            "metadata": {"name": "x", "version": "1"},
            "images": [image("quay.io/a/b:1", json!({"kind": "argument"})), image("quay.io/a/b:x.sig", origin)],
        });
        if let Some(types) = types {
            lock["referrerTypes"] = json!(types);
        }
        serde_json::from_value(lock).unwrap()
    };
    let request = |choice| {
        let mut request = RequestBuilder::new();
        request.image("quay.io/a/b:1");
        let mut request = request.build().unwrap();
        request.referrers = choice;
        request
    };
    let mut all = request(ReferrerChoice::All);
    pinned(&mut all, &lock(None)).unwrap();
    assert_eq!(all.images.len(), 2);
    assert!(all.images[1].is_only_referrer());
    for (choice, locked) in [
        (ReferrerChoice::None, None),
        (ReferrerChoice::All, Some(&[][..])),
        (types(&[".att"]), Some(&[".sig"])),
    ] {
        pinned(&mut request(choice), &lock(locked)).unwrap_err();
    }
    pinned(&mut request(types(&[".sig"])), &lock(Some(&[".sig"]))).unwrap();
}
