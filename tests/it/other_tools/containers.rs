//! containerd, as a Kubernetes node runs it: imports the decompressed bundle, and pulls and unpacks
//! what `bundle load` has put into a registry.

use crate::support::{
    containerd::{Containerd, Pull},
    distribution::{Options, Registry},
    samples::{Bundled, Kind},
    tools::{Home, require, run},
};

#[test]
fn containerd_imports_the_decompressed_bundle() {
    require!("docker-registry", "zstd", "containerd", "ctr", "root");
    let bundled = Bundled::get();
    let containerd = Containerd::start();
    containerd.import(bundled.tar().to_vec()).success();
    let mut images = containerd.images();
    images.sort();
    let mut expected: Vec<(String, String)> = bundled
        .samples
        .iter()
        .map(|sample| (sample.reference.clone(), sample.digest()))
        .collect();
    expected.sort();
    assert_eq!(
        images, expected,
        "all names, and nothing of the bundle's own"
    );
    // Everything is there that an image needs to be run, none of it from a network.
    for name in [
        "registry.example.com/apps/big:v2.0",
        "docker.io/library/alpine:3.20",
    ] {
        let export = ["images", "export", "/dev/null", name];
        containerd.ctr(export).success();
    }
}

#[test]
fn containerd_pulls_and_unpacks_what_was_loaded() {
    require!("docker-registry", "zstd", "containerd", "ctr", "root");
    let bundled = Bundled::get();
    let registry = Registry::start(Options::default());
    let home = Home::new();
    let mut load = bundled.bundle(&home, "load");
    load.args(["--to", registry.host()]);
    run(load).success();
    let containerd = Containerd::start();
    let how = Pull {
        plain_http: true,
        platform: Some("linux/amd64".to_owned()),
        ..Pull::default()
    };
    for sample in &bundled.samples {
        let client = registry.client();
        client.assert_holds(&sample.repository, &sample.tag, &sample.image);
        if sample.kind == Kind::Artifact {
            continue;
        }
        let separator = if sample.is_untagged() { '@' } else { ':' };
        let (repository, tag) = (&sample.repository, &sample.tag);
        let reference = format!("{}/{repository}{separator}{tag}", registry.host());
        containerd.pull(&reference, &how).success();
        assert!(containerd.is_unpacked(&reference), "{reference}");
        assert!(
            containerd
                .images()
                .contains(&(reference.clone(), sample.digest()))
        );
        let (path, content) = match sample.repository.as_str() {
            "apps/zstd" => ("etc/sample", "zstd\n"),
            "apps/big" => ("etc/sample", "big\n"),
            "library/alpine" => ("etc/sample", "docker\n"),
            "apps/attested" => ("etc/platform", "linux/amd64 1\n"),
            "apps/list" => ("etc/platform", "linux/amd64 2\n"),
            "apps/pinned" => ("etc/platform", "linux/amd64 7\n"),
            "apps/both" => ("etc/platform", "linux/amd64 8\n"),
            other => panic!("{other}: which file tells it?"),
        };
        let found = containerd.read_file(&reference, path);
        let found = found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(found.as_deref(), Some(content), "{reference}");
    }
}
