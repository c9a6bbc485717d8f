//! containerd and skopeo pull an image by its original name, from where it was moved to.

use sneakernet::handoff::Destination;

use super::{hand_off, moved, write};
use crate::support::{
    containerd::{Containerd, Pull},
    distribution::{Options, Registry},
    images::{Family, sample, sample_index},
    pki::TestCa,
    tools::{Home, require, run, temp_dir},
};

const NAME: &str = "quay.io/tigera/operator:v1.29.4";
const USER: &str = "somebody";

#[test]
fn containerd_pulls_by_the_original_name() {
    require!("docker-registry", "htpasswd", "containerd", "ctr", "root");
    let ca = TestCa::new();
    let options = Options::default().with_tls(&ca, &[]);
    let registry = Registry::start(options.with_user(USER, "password"));
    let image = sample_index(31, Family::Oci);
    let client = registry.client();
    client.push("mirror/tigera/operator", "v1.29.4", &image);
    let dir = temp_dir("handoff");
    let ca_file = ca.write_to(dir.path());
    let to = Destination {
        host: registry.host(),
        prefix: "mirror",
        plain_http: false,
        ca_file: ca_file.to_str(),
    };
    let handoff = hand_off(to, &[moved(NAME, image.digest, &to)], &[]);
    write(&handoff, dir.path());
    let containerd = Containerd::start();
    let mut how = Pull {
        hosts_dir: Some(dir.path().join("certs.d")),
        platform: Some("linux/amd64".to_owned()),
        ..Pull::default()
    };
    // The registry is asked, and nobody else: without a user it says no, and that is the end.
    let refused = containerd.pull(NAME, &how).failure();
    assert!(
        format!("{refused:?}").contains(registry.host()),
        "{refused:?}"
    );
    how.user = Some((USER.to_owned(), "password".to_owned()));
    containerd.pull(NAME, &how).success();
    let digest = image.digest.to_string();
    assert_eq!(containerd.images(), [(NAME.to_owned(), digest)]);
    assert!(containerd.is_unpacked(NAME));
}

#[test]
fn skopeo_reads_by_the_original_name() {
    require!("docker-registry", "skopeo");
    let image = sample(32, Family::Oci, "linux/amd64");
    let registry = Registry::start(Options::default());
    let client = registry.client();
    client.push("mirror/tigera/operator", "v1.29.4", &image);
    client.push("mirror/library/nginx", "1.27", &image);
    let to = Destination {
        host: registry.host(),
        prefix: "mirror",
        plain_http: true,
        ca_file: None,
    };
    let names = [NAME, "docker.io/library/nginx:1.27"];
    let handoff = hand_off(to, &names.map(|name| moved(name, image.digest, &to)), &[]);
    let dir = temp_dir("handoff");
    write(&handoff, dir.path());
    for name in names {
        let home = Home::new();
        let mut skopeo = home.tool("skopeo");
        skopeo.arg("--registries-conf");
        skopeo.arg(dir.path().join("registries.conf"));
        skopeo.args(["inspect", "--raw"]);
        skopeo.arg(format!("docker://{name}"));
        assert_eq!(run(skopeo).success().stdout, image.bytes, "{name}");
    }
}
