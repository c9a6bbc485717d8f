//! Manifests with a subject: every registry takes them and has them by digest; not every one lists
//! them.

use serde_json::Value;

use super::{Door, Place, Traveller, is_ready};
use crate::support::{
    embedded::Embedded,
    images::{Blob, Family, artifact, empty_config, sample},
    product::Product::{self, *},
};

/// What the referrers API answers about a subject; `None` where there is no such API.
fn listed(place: &Place, subject: &str) -> Option<Vec<String>> {
    let url = format!("{}/v2/team/app/referrers/{subject}", place.access.url);
    let answer = crate::support::background::block_on(async move {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.get(url).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.bytes().await.unwrap())
    });
    if answer.0 == 404 {
        return None;
    }
    assert_eq!(answer.0, 200, "{answer:?}");
    let index: Value = serde_json::from_slice(&answer.1).expect("an index");
    let entries = index["manifests"].as_array().expect("a list").iter();
    Some(
        entries
            .map(|e| e["digest"].as_str().unwrap().to_owned())
            .collect(),
    )
}

#[track_caller]
fn takes_referrers(product: Product, lists: bool) {
    if !is_ready(&[product], &[]) {
        return;
    }
    let traveller = Traveller::new();
    let source = Embedded::start();
    let image = sample(61, Family::Oci, "linux/amd64");
    let report = artifact(
        Some("application/vnd.example.report"),
        empty_config(),
        vec![Blob::new("text/plain", &b"nothing found"[..])],
        Some(&image),
    );
    source.client().push("team/app", "1", &image);
    source.client().push_untagged("team/app", &report);
    let place = |name: String| format!("{}/team/app{name}", source.host());
    let names = [place(":1".to_owned()), place(format!("@{}", report.digest))];
    let file = traveller.create(&names, &[]);

    let place = traveller.place(product, Door::Open);
    let loaded = traveller.load(&file, &place.host, &[]).success();
    let client = place.client(&[]);
    client.assert_holds("team/app", "1", &image);
    client.assert_holds("team/app", &report.digest.to_string(), &report);
    assert_eq!(loaded.json()["images"].as_array().unwrap().len(), 2);
    let expected = lists.then(|| vec![report.digest.to_string()]);
    assert_eq!(listed(&place, &image.digest.to_string()), expected);
    let again = traveller.load(&file, &place.host, &[]).success().json();
    assert_eq!(super::moved(&again), [0, 0], "{again}");
}

#[test]
fn q69_distribution_2_takes_referrers_and_does_not_list_them() {
    takes_referrers(Distribution2, false);
}

#[test]
fn q69_distribution_3_takes_referrers_and_does_not_list_them() {
    takes_referrers(Distribution3, false);
}

#[test]
fn q69_ggcr_takes_referrers_and_does_not_list_them() {
    takes_referrers(Ggcr, false);
}

#[test]
fn q69_zot_takes_referrers_and_lists_them() {
    takes_referrers(Zot, true);
}
