//! By their real names, with no mirror at all; and behind the gap, where no packet goes anywhere
//! but to the destination.

use super::{BUNDLE, Project, load};
use crate::support::{
    distribution::{Options, Registry},
    netns::NetNs,
    pki::TestCa,
    seed::{SeedWorld, WINDOWS_URLS},
    tools::{Home, PATIENCE, require, run, run_with},
};

#[test]
fn q85_from_the_real_names_to_a_gap_in_which_nothing_else_is_spoken_to() {
    require!("docker-registry", "htpasswd", "nft", "root", "helm3");
    let outside = NetNs::new();
    let ca = TestCa::new();
    let world = SeedWorld::inside(&outside, &ca);
    let project = Project::new();
    let ca_file = ca.write_to(project.home.path());
    world.log_in(&project.home);
    let mut create = project.bundle(["create", "--key", "cosign.key", "--ca-file"]);
    create.arg(&ca_file);
    run(outside.wrap(&create)).success();
    let content = std::sync::Arc::clone(&world.content);
    drop((world, outside));

    let (gap, beyond) = (NetNs::new(), NetNs::new());
    gap.connect(&beyond, "10.88.0.1", "10.88.0.2");
    // The origins have an address here, on which a packet would be lost and counted.
    gap.hosts(&[
        ("10.88.0.2", "registry.local"),
        (
            "203.0.113.1",
            "quay.io auth.quay.io us-docker.pkg.dev docker.io index.docker.io \
             registry-1.docker.io auth.docker.io mcr.microsoft.com",
        ),
    ]);
    let options = Options {
        allow_urls: vec![WINDOWS_URLS.to_owned()],
        ..Options::default()
    };
    let registry = Registry::start(
        options
            .with_tls(&ca, &["registry.local"])
            .with_user("operator", "of the gap")
            .inside(&beyond, "10.88.0.2:5000"),
    );
    gap.count_packets("10.88.0.2:5000".parse().unwrap());

    let home = Home::new();
    let mut login = home.bundle();
    login.args(["login", "registry.local:5000", "--username", "operator"]);
    login.arg("--password-stdin").arg("--ca-file").arg(&ca_file);
    run_with(gap.wrap(&login), b"of the gap\n".to_vec(), PATIENCE).success();
    let (file, key) = (project.path(BUNDLE), project.path("cosign.pub"));
    let mut load = load(&home, &file, &key, "registry.local:5000");
    load.arg("--ca-file").arg(&ca_file);
    // Proxies of the environment are for the connected side.
    load.env("HTTPS_PROXY", "http://203.0.113.1:3128");
    load.env("ALL_PROXY", "http://203.0.113.1:3128");
    run(gap.wrap(&load)).success();

    let packets = gap.packets();
    assert!(packets.expected > 1000, "{packets:?}");
    assert_eq!(packets.other, 0, "only the destination was spoken to");
    // From within, for the address is of there.
    beyond.enter(|| {
        let log = registry.log();
        for seed in &content.images {
            let put = format!("PUT /v2/{}/manifests/{} ", seed.repository, seed.tag);
            assert!(log.contains(&put), "{put}");
        }
    });
}
