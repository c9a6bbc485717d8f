//! One platform of images that have several: the index keeps its bytes in the bundle, and at the
//! destination as far as the registry lets it.

use std::collections::BTreeSet;

use serde_json::Value;
use sneakernet::{
    oci::Digest,
    serve::{ServeOptions, Server},
};

use super::{Project, load, open_registry};
use crate::support::{
    background::block_on,
    distribution::{Options, Registry},
    images::{Family, Image, sample_index},
    pusher::{Access, Client},
    seed::{self, SeedImage, SeedWorld},
    tools::{Finished, require, run},
};

const AMD64: [&str; 2] = ["linux", "amd64"];

/// A registry that takes an index without all of its children.
struct Sparse {
    server: Option<Server>,
    _store: tempfile::TempDir,
    host: String,
}

impl Sparse {
    fn start() -> Self {
        let store = crate::support::tools::temp_dir("sparse");
        let mut options = ServeOptions::new(store.path().join("store"), ([127, 0, 0, 1], 0).into());
        options.allow_sparse_indexes = true;
        let server = block_on(Server::start(options)).unwrap();
        Self {
            host: server.local_addr().to_string(),
            server: Some(server),
            _store: store,
        }
    }

    fn client(&self) -> Client {
        let url = format!("http://{}", self.host);
        Access {
            url,
            ..Access::default()
        }
        .client()
    }
}

impl Drop for Sparse {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = block_on(server.shutdown());
        }
    }
}

/// What an index says of its children.
fn children(index: &[u8]) -> Vec<Value> {
    let index: Value = serde_json::from_slice(index).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

fn digest_of(child: &Value) -> Digest {
    child["digest"].as_str().unwrap().parse().unwrap()
}

/// The children that travel with `--platform linux/amd64`: the image and what attests it.
fn kept(image: &Image) -> Vec<Value> {
    let all = children(&image.bytes);
    let is_amd64 =
        |child: &Value| [&child["platform"]["os"], &child["platform"]["architecture"]] == AMD64;
    let amd64: Vec<Value> = all.iter().filter(|c| is_amd64(c)).cloned().collect();
    let attests = |child: &Value| {
        let about = &child["annotations"]["vnd.docker.reference.digest"];
        amd64.iter().any(|image| image["digest"] == *about)
    };
    let chosen = all.iter().filter(|c| is_amd64(c) || attests(c));
    chosen.cloned().collect()
}

/// Whether some of the image's platforms stay behind.
fn is_reduced(seed: &SeedImage) -> bool {
    seed.image.is_index() && kept(&seed.image).len() < children(&seed.image.bytes).len()
        // Which comes for Windows, all of it.
        && seed.repository != "tigera/fluentd-windows"
}

#[test]
fn q65_one_platform_travels_and_registries_get_what_they_take() {
    require!("docker-registry");
    let world = SeedWorld::on_loopback();
    let project = Project::new();
    world.log_in(&project.home);
    write_spec_for_one_platform(&project);
    let mut create = project.bundle(["create", "--key", "cosign.key", "--format", "json"]);
    create.args(world.mirrors());
    let created = run(create).success().json();
    let images = world.content.images.clone();
    drop(world);
    assert_absent(&created["lock"]["absent"], &images);

    let load_with = |host: &str, index: &str| -> Finished {
        let (file, key) = (project.path(super::BUNDLE), project.path("cosign.pub"));
        let mut load = load(&project.home, &file, &key, host);
        load.args(["--index", index, "--format", "json"]);
        run(load)
    };

    // Distribution insists on every child.
    let strict = open_registry();
    let refused = load_with(strict.host(), "keep").exits(6);
    let setting = "validation.manifests.indexes.platforms";
    assert!(refused.stderr.contains(setting), "{refused:?}");
    let receipt = load_with(strict.host(), "auto").success();
    assert_reduced(&strict.client(), &receipt, &images);
    let again = load_with(strict.host(), "auto").success().json();
    assert_eq!(again["blobs"]["sent"], 0);
    let tags = again["images"].as_array().unwrap();
    assert!(
        tags.iter().all(|image| image["tag"] == "present"),
        "{again}"
    );

    // The others' layers are not there.
    let client = strict.client();
    for (repository, blob) in blobs_left_out(&images) {
        assert_eq!(client.blob(&repository, blob), None, "{repository} {blob}");
    }

    // Where the index may be sparse it is kept, unless it is to be smaller.
    for mode in ["auto", "keep"] {
        let sparse = Sparse::start();
        let receipt = load_with(&sparse.host, mode).success().json();
        let client = sparse.client();
        for seed in &images {
            let served = client.manifest(&seed.repository, &seed.tag).unwrap();
            assert_eq!(served.bytes, seed.image.bytes, "{mode} {}", seed.written);
        }
        let loaded = receipt["images"].as_array().unwrap();
        assert!(loaded.iter().all(|image| image["reducedTo"].is_null()));
    }
    let sparse = Sparse::start();
    let receipt = load_with(&sparse.host, "filter").success();
    assert_reduced(&sparse.client(), &receipt, &images);
}

fn write_spec_for_one_platform(project: &Project) {
    let mut spec = "apiVersion: sneakernet/v1\nkind: Bundle\n\
                    metadata: {name: calico-cloud, version: \"3.16.1\"}\n\
                    platforms: [linux/amd64]\nimages:\n"
        .to_owned();
    for reference in seed::references() {
        if reference.contains("fluentd-windows") {
            spec += &format!("  - {{image: '{reference}', platforms: [windows/amd64]}}\n");
        } else {
            spec += &format!("  - '{reference}'\n");
        }
    }
    std::fs::write(project.path("bundle.yaml"), spec).unwrap();
}

fn assert_absent(absent: &Value, images: &[SeedImage]) {
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for seed in images.iter().filter(|seed| is_reduced(seed)) {
        let kept: Vec<Digest> = kept(&seed.image).iter().map(digest_of).collect();
        let all = children(&seed.image.bytes);
        let left_out = all.iter().map(digest_of).filter(|d| !kept.contains(d));
        expected.extend(left_out.map(|digest| digest.to_string()));
    }
    assert!(expected.len() >= 12, "{}", expected.len());
    let of_reason = |reason: &str| -> BTreeSet<String> {
        let all = absent.as_array().unwrap().iter();
        all.filter(|absent| absent["reason"] == reason)
            .map(|absent| absent["digest"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of_reason("platform"), expected);
    assert_eq!(of_reason("foreign").len(), 1);
}

/// Every index that is not complete is smaller now, by those children only; everything else is as
/// it was; and the receipt says so.
fn assert_reduced(client: &Client, finished: &Finished, images: &[SeedImage]) {
    let receipt = finished.json();
    let mut reduced = 0;
    for seed in images {
        let served = client.manifest(&seed.repository, &seed.tag).unwrap();
        let source = format!("{}/{}:{}", seed.host, seed.repository, seed.tag);
        let loaded = receipt["images"].as_array().unwrap().iter();
        let mut loaded = loaded.filter(|image| image["source"] == *source);
        let loaded = loaded.next().unwrap_or_else(|| panic!("{source}"));
        assert_eq!(loaded["digest"], seed.image.digest.to_string());
        if !is_reduced(seed) {
            assert_eq!(served.bytes, seed.image.bytes, "{}", seed.written);
            assert!(loaded["reducedTo"].is_null(), "{loaded}");
            continue;
        }
        reduced += 1;
        let smaller = Digest::sha256_of(&served.bytes).to_string();
        assert_eq!(loaded["reducedTo"], smaller);
        assert!(
            finished.stderr.contains(&smaller),
            "{smaller}: {finished:?}"
        );
        let mut expected: Value = serde_json::from_slice(&seed.image.bytes).unwrap();
        expected["manifests"] = Value::Array(kept(&seed.image));
        let found: Value = serde_json::from_slice(&served.bytes).unwrap();
        assert_eq!(found, expected, "{}", seed.written);
        assert_eq!(served.media_type, seed.image.media_type);
        for child in kept(&seed.image) {
            let digest = digest_of(&child);
            let original = seed.image.children.iter().find(|c| c.digest == digest);
            let original = original.unwrap();
            client.assert_holds(&seed.repository, &digest.to_string(), original);
        }
    }
    assert_eq!(reduced, 9);
}

fn blobs_left_out(images: &[SeedImage]) -> Vec<(String, Digest)> {
    let mut found = Vec::new();
    for seed in images.iter().filter(|seed| is_reduced(seed)) {
        let kept: Vec<Digest> = kept(&seed.image).iter().map(digest_of).collect();
        let (with, without): (Vec<&Image>, Vec<&Image>) = seed
            .image
            .children
            .iter()
            .partition(|c| kept.contains(&c.digest));
        let needed: BTreeSet<Digest> = with
            .iter()
            .flat_map(|child| child.blobs.iter().map(|blob| blob.digest))
            .collect();
        let others = without.iter().flat_map(|child| &child.blobs);
        let others = others.filter(|blob| !needed.contains(&blob.digest));
        found.extend(others.map(|blob| (seed.repository.clone(), blob.digest)));
    }
    assert!(found.len() >= 30, "{}", found.len());
    found
}

#[test]
fn q65_what_is_pinned_by_digest_is_never_made_smaller() {
    require!("docker-registry");
    let source = Registry::start(Options::default());
    let index = sample_index(31, Family::Docker);
    source.client().push("team/app", "1", &index);
    let project = Project::new();
    let name = format!("{}/team/app:1@{}", source.host(), index.digest);
    let file = project.path("app.bundle.tar.zst");
    let mut create = project.bundle(["create", "--key", "cosign.key", "--image", &name]);
    create.args(["--platform", "linux/amd64", "-o"]).arg(&file);
    run(create).success();

    for mode in ["auto", "filter", "keep"] {
        let strict = Registry::start(Options::default());
        let mut load = load(
            &project.home,
            &file,
            &project.path("cosign.pub"),
            strict.host(),
        );
        load.args(["--index", mode]);
        let refused = run(load).exits(6);
        for part in ["team/app", "validation.manifests.indexes.platforms"] {
            assert!(refused.stderr.contains(part), "{mode}: {part}: {refused:?}");
        }
        let pinned = refused.stderr.contains("pinned by digest");
        assert_eq!(pinned, mode != "keep", "{mode}: {refused:?}");
        assert_eq!(strict.client().tags("team/app"), [""; 0], "{mode}");
    }
    let sparse = Sparse::start();
    run(load(
        &project.home,
        &file,
        &project.path("cosign.pub"),
        &sparse.host,
    ))
    .success();
    let served = sparse.client().manifest("team/app", "1").unwrap();
    assert_eq!(served.bytes, index.bytes);
}

#[test]
fn a_later_bundle_with_more_platforms_completes_what_is_there() {
    let source = Sparse::start();
    let index = sample_index(32, Family::Oci);
    source.client().push("team/app", "1", &index);
    let project = Project::new();
    let name = format!("{}/team/app:1", source.host);
    let target = Sparse::start();
    for platforms in [&["--platform", "linux/amd64"][..], &[]] {
        let file = project.path("app.bundle.tar.zst");
        let mut create = project.bundle(["create", "--key", "cosign.key", "--image", &name]);
        create.args(platforms).args(["--force", "-o"]).arg(&file);
        run(create).success();
        let key = project.path("cosign.pub");
        run(load(&project.home, &file, &key, &target.host)).success();
    }
    target.client().assert_holds("team/app", "1", &index);
}
