//! A private containerd does what a node does.

use crate::support::{
    containerd::{Containerd, Pull},
    distribution::{Options, Registry},
    images::{Family, sample, sample_index},
    pki::TestCa,
    tools::{Home, require, run, temp_dir},
};

const USER: &str = "somebody";

#[test]
fn containerd_pulls_and_unpacks_from_a_registry_with_tls_and_users() {
    require!("docker-registry", "htpasswd", "containerd", "ctr", "root");
    let ca = TestCa::new();
    let registry = Registry::start(
        Options::default()
            .with_tls(&ca, &[])
            .with_user(USER, "password"),
    );
    let image = sample_index(10, Family::Oci);
    registry.client().push("node/app", "1", &image);
    let containerd = Containerd::start();
    let reference = format!("{}/node/app:1", registry.host());
    let dir = temp_dir("ca");
    let mut how = Pull {
        ca_file: Some(ca.write_to(dir.path())),
        platform: Some("linux/amd64".to_owned()),
        ..Pull::default()
    };
    containerd.pull(&reference, &how).failure();
    how.user = Some((USER.to_owned(), "password".to_owned()));
    containerd.pull(&reference, &how).success();
    let digest = image.digest.to_string();
    assert_eq!(containerd.images(), [(reference.clone(), digest)]);
    assert!(containerd.is_unpacked(&reference));
    let platform = containerd.read_file(&reference, "etc/platform");
    assert_eq!(platform.as_deref(), Some(&b"linux/amd64 10\n"[..]));
    let name = containerd.read_file(&reference, "usr/share/base/name");
    assert_eq!(name.as_deref(), Some(&b"base\n"[..]));
    let removed = containerd.read_file(&reference, "usr/share/base/run.sh");
    assert_eq!(removed, None, "the upper layer takes it away");
}

#[test]
fn containerd_imports_an_archive() {
    require!("docker-registry", "skopeo", "containerd", "ctr", "root");
    let registry = Registry::start(Options::default());
    let image = sample(11, Family::Oci, "linux/amd64");
    registry.client().push("app", "1", &image);
    let dir = temp_dir("archive");
    let file = dir.path().join("image.tar");
    let mut skopeo = Home::new().tool("skopeo");
    skopeo.args(["copy", "--src-tls-verify=false", "--preserve-digests"]);
    skopeo.arg(format!("docker://{}/app:1", registry.host()));
    skopeo.arg(format!("oci-archive:{}:example.test/app:1", file.display()));
    skopeo.current_dir(dir.path());
    run(skopeo).success();
    let containerd = Containerd::start();
    let archive = std::fs::read(&file).unwrap();
    containerd.import(archive).success();
    let digest = image.digest.to_string();
    let images = containerd.images();
    assert!(
        images.iter().any(|(_, found)| *found == digest),
        "{images:?}"
    );
    containerd.import(b"not an archive".to_vec()).failure();
}
