//! From each registry into another one: everything that bundles carry, over TLS, with a password or
//! with tokens.

use super::{Door, Traveller, is_ready, moved};
use crate::support::{
    nginx,
    product::Product::{self, *},
    samples::{HOST, Sample, mirrors, push, samples},
    tools::run,
};

/// The samples but for the one with large layers, as far as these registries take them.
fn cargo(from: Product, to: Product) -> Vec<Sample> {
    let mut left_out = vec!["apps/big"];
    if [from, to].contains(&Zot) {
        // A layer of it has a media type with a parameter.
        left_out.push("charts/empty-config");
    }
    let mut samples = samples();
    samples.retain(|sample| !left_out.contains(&sample.repository.as_str()));
    assert_eq!(samples.len(), 9 - left_out.len());
    samples
}

/// Empty blobs, artifacts, indexes with attestations, Docker's types, layers of every compression
/// and names of every kind arrive as they were, and are not sent again.
#[track_caller]
fn travels(from: Product, to: Product, door: Door) {
    if !is_ready(&[from, to], &["htpasswd", nginx::TOOL, "oras"]) {
        return;
    }
    let (traveller, cargo) = (Traveller::new(), cargo(from, to));
    let (source, target) = (traveller.place(from, door), traveller.place(to, door));
    // By the names that the samples have in the mirror, and at the destination.
    let mut names: Vec<String> = cargo.iter().map(|s| s.repository.clone()).collect();
    names.extend(cargo.iter().map(|s| format!("hub/{}", s.repository)));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    push(&source.client(&names), &cargo);

    let asked: Vec<String> = cargo.iter().map(|sample| sample.written.clone()).collect();
    let mirrors = mirrors(&source.host);
    let mirrors: Vec<&str> = mirrors.iter().map(String::as_str).collect();
    let image = format!("{HOST}/apps/list:1");
    let mut refused = traveller.bundle(&["create", "--unsigned", "-o", "none", "--image", &image]);
    refused.args(&mirrors);
    let refused = run(refused).exits(5);
    assert!(refused.stderr.contains("401"), "{refused:?}");

    traveller.log_in(&[&source.host, &target.host]);
    let file = traveller.create(&asked, &mirrors);
    let first = traveller.load(&file, &target.host, &[]).success().json();
    assert!(moved(&first)[0] > 10, "{first}");
    let client = target.client(&names);
    for sample in &cargo {
        client.assert_holds(&sample.repository, &sample.tag, &sample.image);
    }
    let again = traveller.load(&file, &target.host, &[]).success().json();
    assert_eq!(moved(&again), [0, 0], "{again}");

    for sample in &cargo {
        let joint = if sample.is_untagged() { '@' } else { ':' };
        let name = format!("{}/{}{joint}{}", target.host, sample.repository, sample.tag);
        let mut oras = traveller.home.tool("oras");
        oras.arg("resolve")
            .arg("--ca-file")
            .arg(&traveller.ca_file)
            .arg(&name);
        let found = run(oras).success().text();
        assert_eq!(found.trim(), sample.digest(), "{name}");
    }
}

#[test]
fn q13_from_distribution_2_into_distribution_3_with_a_password() {
    travels(Distribution2, Distribution3, Door::Password);
}

#[test]
fn q13_from_distribution_3_into_ggcr_with_a_password() {
    travels(Distribution3, Ggcr, Door::Password);
}

#[test]
fn q13_from_ggcr_into_distribution_2_with_a_password() {
    travels(Ggcr, Distribution2, Door::Password);
}

#[test]
fn q13_from_distribution_2_into_zot_with_a_password() {
    travels(Distribution2, Zot, Door::Password);
}

#[test]
fn q13_from_zot_into_distribution_3_with_a_password() {
    travels(Zot, Distribution3, Door::Password);
}

#[test]
fn q01_from_distribution_2_into_distribution_3_with_tokens() {
    travels(Distribution2, Distribution3, Door::Token);
}

#[test]
fn q01_from_distribution_3_into_distribution_2_with_tokens() {
    travels(Distribution3, Distribution2, Door::Token);
}
