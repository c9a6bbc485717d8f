//! Nodes that know nothing of the private registry but the files of the hand-off: containerd pulls
//! by the names from before, where no packet goes anywhere else.

use super::{Carried, Private, load, with_helm};
use crate::support::{
    containerd::{Containerd, Pull},
    distribution::{Options, Registry},
    netns::NetNs,
    pki::TestCa,
    seed::WINDOWS_URLS,
    tools::{Home, require, run},
};

const OPERATOR: &str = "quay.io/tigera/operator:v1.29.4";

#[test]
fn containerd_pulls_by_the_original_names_from_behind_the_gap() {
    require!("docker-registry", "htpasswd", "nft", "root", "helm3");
    require!("containerd", "ctr");
    let carried = Carried::get();
    let ca = TestCa::new();
    let (gap, beyond) = (NetNs::new(), NetNs::new());
    gap.connect(&beyond, "10.88.0.1", "10.88.0.2");
    // The origins have an address here, on which a packet would be lost and counted.
    gap.hosts(&[
        ("10.88.0.2", "registry.local"),
        ("203.0.113.1", "quay.io us-docker.pkg.dev docker.io"),
        ("203.0.113.1", "registry-1.docker.io auth.docker.io"),
    ]);
    let options = Options {
        allow_urls: vec![WINDOWS_URLS.to_owned()],
        ..Options::default()
    };
    let _registry = Registry::start(
        options
            .with_tls(&ca, &["registry.local"])
            .with_user(Private::USER, Private::PASSWORD)
            .inside(&beyond, "10.88.0.2:5000"),
    );
    gap.count_packets("10.88.0.2:5000".parse().unwrap());

    let home = Home::new();
    let ca_file = ca.write_to(home.path());
    home.log_in(&[("registry.local:5000", Private::USER, Private::PASSWORD)]);
    let mut load = load(
        &home,
        &carried.file(),
        &carried.key(),
        "registry.local:5000",
    );
    with_helm(&mut load);
    load.args(["--layout", "strip", "--handoff", "handoff"]);
    load.arg("--ca-file").arg(&ca_file);
    load.arg("--node-ca-file").arg(&ca_file);
    let loaded = run(gap.wrap(&load)).success();
    let found = "3 of 3 images will be found, 2 of them only by a mirror";
    assert!(loaded.stderr.contains(found), "{loaded:?}");

    let containerd = Containerd::start_in(&gap);
    let how = Pull {
        hosts_dir: Some(home.path().join("handoff/certs.d")),
        user: Some((Private::USER.to_owned(), Private::PASSWORD.to_owned())),
        platform: Some("linux/amd64".to_owned()),
        ..Pull::default()
    };
    let names = [
        OPERATOR,
        "us-docker.pkg.dev/tigera-prod-01/calico-cloud-public/cc-operator:3.16.1-g0",
        "docker.io/library/alpine:3.12.1",
    ];
    for name in names {
        containerd.pull(name, &how).success();
        assert!(containerd.is_unpacked(name), "{name}");
    }
    let mut expected: Vec<(String, String)> = names
        .iter()
        .map(|name| {
            let mut images = carried.content.images.iter();
            let seed = images
                .find(|seed| format!("{}/{}:{}", seed.host, seed.repository, seed.tag) == **name);
            ((*name).to_owned(), seed.unwrap().image.digest.to_string())
        })
        .collect();
    expected.sort();
    let mut images = containerd.images();
    images.sort();
    assert_eq!(images, expected);
    let packets = gap.packets();
    assert!(packets.expected > 100, "{packets:?}");
    assert_eq!(packets.other, 0, "only the registry was spoken to");
}
