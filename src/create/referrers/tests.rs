//! What refers to what refers to a chart.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::*;
use crate::registry::{
    ClientConfig, CredentialConfig,
    test_registry::TestRegistry,
    test_server::{Reply, TestServer},
};

/// A registry with lists: the referrers by the digest of their subject.
async fn registry(lists: BTreeMap<Digest, Vec<Descriptor>>, content: TestRegistry) -> TestServer {
    TestServer::start(move |request| {
        let Some((_, subject)) = request.path().split_once("/referrers/") else {
            return content.answer(request);
        };
        let listed = lists.get(&subject.parse().unwrap());
        let list = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": listed.map_or(&[][..], Vec::as_slice),
        });
        let reply = Reply::new(200).header("content-type", media_type::OCI_INDEX);
        reply.body(list.to_string())
    })
    .await
}

async fn found(server: &TestServer, chart: &Descriptor) -> Result<Vec<String>, ChartFault> {
    let client = Client::new(ClientConfig {
        plain_http: vec![server.host()],
        backoff: Duration::from_millis(2),
        credentials: CredentialConfig::anonymous(),
        ..ClientConfig::default()
    });
    let repository = Repository::new(&server.host(), "charts/shop").unwrap();
    let found = of_chart(&client.unwrap(), &repository, chart).await?;
    let rest = |reference: Reference| reference.to_string().replace(&repository.to_string(), "");
    Ok(found.into_iter().map(rest).collect())
}

fn descriptor(content: &str) -> Descriptor {
    let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, content.as_bytes());
    descriptor.artifact_type = Some("x/y".to_owned());
    descriptor
}

fn by_digest(of: &[&Descriptor]) -> Vec<String> {
    let mut all: Vec<_> = of.iter().map(|d| format!("@{}", d.digest)).collect();
    all.sort();
    all
}

#[tokio::test]
async fn q73_referrers_of_referrers_are_found_and_circles_end() {
    let [chart, signature, of_signature] = ["chart", "signature", "of it"].map(descriptor);
    let lists = BTreeMap::from([
        (chart.digest, vec![signature.clone()]),
        (
            signature.digest,
            vec![of_signature.clone(), signature.clone()],
        ),
        // A list that goes round in a circle.
        (of_signature.digest, vec![chart.clone(), signature.clone()]),
    ]);
    let server = registry(lists, TestRegistry::new()).await;
    let all = found(&server, &chart).await.unwrap();
    assert_eq!(all, by_digest(&[&signature, &of_signature]));
    for of in [&chart, &signature, &of_signature] {
        let list = format!("/v2/charts/shop/referrers/{}", of.digest);
        assert_eq!(server.count("GET", &list), 1, "each is asked about once");
    }
}

#[tokio::test]
async fn q73_chains_without_an_end_have_one() {
    let chain: Vec<_> = (0..20).map(|n| descriptor(&n.to_string())).collect();
    let lists = |of: &[Descriptor]| {
        let pairs = of.windows(2);
        pairs
            .map(|pair| (pair[0].digest, vec![pair[1].clone()]))
            .collect()
    };
    let server = registry(lists(&chain[..8]), TestRegistry::new()).await;
    let all = found(&server, &chain[0]).await.unwrap();
    assert_eq!(all, by_digest(&chain[1..8].iter().collect::<Vec<_>>()));
    let server = registry(lists(&chain), TestRegistry::new()).await;
    let failed = found(&server, &chain[0]).await.unwrap_err();
    assert!(failed.to_string().contains("more than 8 deep"), "{failed}");
}

#[tokio::test]
async fn q73_children_of_an_index_have_referrers_too() {
    let content = TestRegistry::new();
    let (chart, child, of_child) = (
        descriptor("chart"),
        descriptor("child"),
        descriptor("of child"),
    );
    let index = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [child],
    })
    .to_string();
    content.add_manifest("charts/shop", "index", media_type::OCI_INDEX, &index);
    let index = Descriptor::of(media_type::OCI_INDEX, index.as_bytes());
    let lists = BTreeMap::from([
        (chart.digest, vec![index.clone()]),
        (child.digest, vec![of_child.clone()]),
    ]);
    let server = registry(lists, content).await;
    // The child itself travels with its index.
    let expected = by_digest(&[&index, &of_child]);
    assert_eq!(found(&server, &chart).await.unwrap(), expected);
    assert_eq!(
        found(&server, &index).await.unwrap(),
        by_digest(&[&of_child])
    );
}

#[tokio::test]
async fn q75_a_registry_that_limits_requests_is_waited_for_and_never_taken_for_none() {
    let (chart, signature) = (descriptor("chart"), descriptor("signature"));
    let lists = BTreeMap::from([(chart.digest, vec![signature.clone()])]);
    let server = registry(lists, TestRegistry::new()).await;
    let list = format!("/v2/charts/shop/referrers/{}", chart.digest);
    let listed = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [signature],
    });
    let answer = Reply::new(200).header("content-type", media_type::OCI_INDEX);
    let busy = || Reply::new(429).body("{}");
    server.on(
        "GET",
        &list,
        [busy(), busy(), answer.body(listed.to_string())],
    );
    assert_eq!(
        found(&server, &chart).await.unwrap(),
        by_digest(&[&signature])
    );
    server.on("GET", &list, [busy()]);
    let failed = found(&server, &chart).await.unwrap_err();
    assert!(failed.to_string().contains("429"), "{failed}");
}
