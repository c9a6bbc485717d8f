//! The world of the seed is there, whole, under either kind of name.

use sneakernet::oci::{Digest, media_type};

use crate::support::{
    images::{self, Image},
    netns::NetNs,
    pki::TestCa,
    seed::{self, SeedWorld},
    tools::{Home, require, run},
};

#[test]
fn the_seed_world_holds_all_references_on_loopback() {
    require!("docker-registry", "skopeo");
    let world = SeedWorld::on_loopback();
    let images = &world.content.images;
    assert_eq!(images.len(), 41);
    for seed in images {
        let access = world.access(&seed.host, &seed.repository);
        let served = access.client().manifest(&seed.repository, &seed.tag);
        let served = served.unwrap_or_else(|| panic!("{} is missing", seed.written));
        assert_eq!(served.bytes, seed.image.bytes, "{}", seed.written);
        assert_eq!(served.media_type, seed.image.media_type, "{}", seed.written);
    }
    let of_type = |media_type: &str| {
        let documents = images.iter().flat_map(|seed| seed.image.documents());
        documents.filter(|d| d.media_type == media_type).count()
    };
    for media_type in [
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_LIST,
        media_type::DOCKER_MANIFEST,
    ] {
        assert!(of_type(media_type) > 1, "{media_type}");
    }
    let foreign = images::DOCKER_FOREIGN_LAYER.as_bytes();
    let mentions = |image: &Image| {
        let mut documents = image.documents().into_iter();
        documents.any(|d| d.bytes.windows(foreign.len()).any(|part| part == foreign))
    };
    let windows: Vec<&str> = images
        .iter()
        .filter(|seed| mentions(&seed.image))
        .map(|seed| seed.repository.as_str())
        .collect();
    assert_eq!(windows, ["tigera/fluentd-windows"]);
    let blobs: std::collections::BTreeMap<Digest, usize> = images
        .iter()
        .flat_map(|seed| seed.image.all_blobs())
        .map(|blob| (blob.digest, blob.bytes.len()))
        .collect();
    let total: usize = blobs.values().sum();
    assert!((40 << 20..90 << 20).contains(&total), "{total} bytes");

    // A mirror is no way around the login.
    assert_eq!(world.mirrors().len(), 10);
    let home = Home::new();
    let place = format!("docker://{}/tigera/operator:v1.29.4", world.quay.host());
    let manifest = || {
        let mut skopeo = home.tool("skopeo");
        skopeo.args(["inspect", "--raw", "--tls-verify=false", &place]);
        run(skopeo)
    };
    manifest().failure();
    world.log_in(&home);
    let operator = images
        .iter()
        .find(|seed| seed.repository == "tigera/operator");
    assert_eq!(manifest().success().stdout, operator.unwrap().image.bytes);
}

#[test]
fn the_seed_world_answers_by_its_real_names_in_a_namespace() {
    require!("docker-registry", "crane", "root");
    let netns = NetNs::new();
    let ca = TestCa::new();
    let world = SeedWorld::inside(&netns, &ca);
    let home = Home::new();
    let ca_file = ca.write_to(home.path());
    world.log_in(&home);
    for name in ["cc-operator", "fluentd-windows", "alpine"] {
        let seed = world
            .content
            .images
            .iter()
            .find(|seed| seed.repository.ends_with(name))
            .unwrap();
        let mut crane = home.tool("crane");
        crane.args(["manifest", &seed.written]);
        crane.env("SSL_CERT_FILE", &ca_file);
        let finished = run(netns.wrap(&crane)).success();
        assert_eq!(finished.stdout, seed.image.bytes, "{name}");
    }
    let users: Vec<_> = world.quay_tokens.requests();
    assert_eq!(
        users.last().and_then(|r| r.user.as_deref()),
        Some(seed::USER)
    );
    assert!(!world.hub_tokens.requests().is_empty());
}
