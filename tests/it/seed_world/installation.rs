//! What `helm install` will do inside: the chart comes from the registry, and so does every image
//! that it names, with the digest that was locked.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};
use sneakernet::oci::{Digest, Reference};

use super::{Carried, Private, with_helm};
use crate::support::{
    calico_cloud::{self, VERSION},
    helm::{HELMS, HelmCli},
    tools::{Finished, Home, require, run},
};

/// The bundle in the private registry, with its hand-off.
struct Loaded {
    carried: std::sync::Arc<Carried>,
    private: Private,
    home: Home,
    ca_file: std::path::PathBuf,
    finished: Finished,
}

impl Loaded {
    fn new(more: &[&str]) -> Self {
        let carried = Carried::get();
        let private = Private::start();
        let home = Home::new();
        let ca_file = private.log_in(&home);
        let mut load = carried.load(&home, private.registry.host());
        with_helm(&mut load);
        load.arg("--ca-file").arg(&ca_file);
        load.args(["--handoff", "handoff", "--format", "json"]);
        load.args(more);
        let finished = run(load).success();
        Self {
            carried,
            private,
            home,
            ca_file,
            finished,
        }
    }

    fn host(&self) -> &str {
        self.private.registry.host()
    }

    fn handoff(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join("handoff").join(name)
    }

    fn yaml(&self, name: &str) -> Value {
        let text = std::fs::read_to_string(self.handoff(name)).unwrap();
        serde_saphyr::from_str(&text).unwrap()
    }

    fn check(&self) -> Finished {
        let mut check = self.home.bundle();
        with_helm(&mut check);
        check.args(["check", "handoff", "--ca-file"]);
        run_in(check, &self.ca_file)
    }

    /// What this `helm` renders with the values of the hand-off.
    fn template(&self, cli: &HelmCli, chart: &[&str]) -> String {
        let (values, overlay) = (
            self.handoff("values/calico-cloud/values.yaml"),
            self.handoff("values-calico-cloud.yaml"),
        );
        let mut command = cli.command();
        command.args(["template", "calico-cloud"]).args(chart);
        command.args(["-n", "calico-cloud", "-f"]).arg(values);
        command.arg("-f").arg(overlay);
        command.arg("--ca-file").arg(&self.ca_file);
        run(command).success().text()
    }

    /// The digest of what the registry has by this name, as skopeo sees it.
    fn served(&self, reference: &str) -> Digest {
        let mut skopeo = self.home.tool("skopeo");
        skopeo.args(["inspect", "--raw", "--cert-dir"]);
        skopeo.arg(self.home.path());
        skopeo.arg(format!("docker://{reference}"));
        Digest::sha256_of(&run(skopeo).success().stdout)
    }

    /// The digest that the image has had since it was locked.
    fn locked(&self, tag: &str, name: &str) -> Digest {
        let images = &self.carried.content.images;
        let found = images
            .iter()
            .find(|seed| seed.tag == tag && seed.repository.ends_with(name));
        found.unwrap_or_else(|| panic!("{name}:{tag}")).image.digest
    }
}

fn run_in(mut command: std::process::Command, ca_file: &Path) -> Finished {
    command.arg(ca_file);
    run(command)
}

/// What stands behind `image:` and `image=`.
fn images_in(rendered: &str) -> BTreeSet<String> {
    let named = rendered.lines().filter_map(|line| {
        let (_, image) = line
            .split_once("image: ")
            .or_else(|| line.split_once("image="))?;
        Some(image.trim_matches(['"', '\'', ' ']).to_owned())
    });
    named.collect()
}

#[test]
fn what_helm_renders_is_in_the_registry_with_the_digests_of_the_lock() {
    require!("docker-registry", "htpasswd", "skopeo", "helm3", "helm4");
    let loaded = Loaded::new(&["--layout", "last2"]);
    let host = loaded.host();
    let found = format!("release calico-cloud: 3 of 3 images will be found");
    let stderr = &loaded.finished.stderr;
    assert!(stderr.contains(&found), "{stderr}");
    assert!(!stderr.contains("by a mirror"), "{stderr}");
    loaded.check().success();

    let chart = format!("{host}/charts/calico-cloud");
    let digest = loaded.served(&format!("{chart}:{}", VERSION.replace('+', "_")));
    let receipt = loaded.finished.json();
    assert_eq!(receipt["charts"][0]["digest"], digest.to_string());
    let (by_tag, by_digest) = (format!("oci://{chart}"), format!("oci://{chart}@{digest}"));
    let expected: BTreeSet<String> = [
        "calico-cloud-public/cc-operator:3.16.1-g0",
        "tigera/cc-core:v0.1.5",
        "tigera/operator:v1.29.4",
    ]
    .map(|name| format!("{host}/{name}"))
    .into();
    for name in HELMS {
        let cli = HelmCli::new(name);
        cli.log_in(&[(host, Private::USER, Private::PASSWORD)]);
        let rendered = loaded.template(&cli, &[&by_tag, "--version", VERSION]);
        assert_eq!(loaded.template(&cli, &[&by_digest]), rendered, "{name}");
        assert_eq!(images_in(&rendered), expected, "{name}: {rendered}");
        for origin in ["quay.io", "us-docker.pkg.dev", "docker.io"] {
            assert!(!rendered.contains(origin), "{name}: {rendered}");
        }
        for settled in [
            format!("registry: \"{host}/\"\n"),
            "clusterName: \"production\"\n".to_owned(),
        ] {
            assert!(rendered.contains(&settled), "{name}: {rendered}");
        }
        let secrets = rendered.matches("- name: registry-credentials").count();
        assert_eq!(secrets, 4, "every pod and the installer: {rendered}");
    }
    for image in &expected {
        let reference: Reference = image.parse().unwrap();
        let place = reference.repository();
        let name = place.path().rsplit('/').next().unwrap();
        let locked = loaded.locked(reference.tag().unwrap(), name);
        assert_eq!(loaded.served(image), locked, "{image}");
        assert_eq!(loaded.served(&format!("{place}@{locked}")), locked);
    }
}

#[test]
fn the_image_set_has_the_digest_of_every_image_that_the_operator_knows() {
    require!("docker-registry", "htpasswd", "helm3");
    let loaded = Loaded::new(&["--layout", "last2"]);
    let set = loaded.yaml("imageset.yaml");
    assert_eq!(set["metadata"]["name"], "enterprise-v3.16.1");
    let images = &loaded.carried.content.images;
    let of_operator = images
        .iter()
        .filter(|seed| seed.repository.starts_with("tigera/"))
        // A tool of the installer, which the operator does not know.
        .filter(|seed| seed.repository != "tigera/cc-core");
    let mut expected: Vec<Value> = of_operator
        .map(|seed| json!({"image": seed.repository, "digest": seed.image.digest}))
        .collect();
    expected.sort_by_key(|image| image["image"].to_string());
    assert_eq!(expected.len(), 38);
    assert_eq!(set["spec"]["images"], Value::Array(expected));
}

#[test]
fn the_hand_off_has_everything_that_the_installation_needs() {
    require!("docker-registry", "htpasswd", "helm3");
    let loaded = Loaded::new(&["--layout", "last2", "--pull-secret", "private-registry"]);
    let host = loaded.host();
    assert_eq!(
        loaded.yaml("values-calico-cloud.yaml"),
        json!({
            "installer": {"registry": format!("{host}/")},
            "imagePullSecrets": {"name": "private-registry"},
            "tigera-operator": {
                "installation": {"imagePullSecrets": [{"name": "private-registry"}]},
                "tigeraOperator": {"registry": host},
            },
        })
    );
    let mine = include_bytes!("../../../examples/calico-cloud/values.yaml");
    let carried = std::fs::read(loaded.handoff("values/calico-cloud/values.yaml")).unwrap();
    assert_eq!(carried, mine);
    let guide = std::fs::read_to_string(loaded.handoff("INSTALL.md")).unwrap();
    let install = format!(
        "helm upgrade --install calico-cloud oci://{host}/charts/calico-cloud --version {VERSION} \
         -n calico-cloud --create-namespace -f values/calico-cloud/values.yaml \
         -f values-calico-cloud.yaml\n"
    );
    assert!(guide.contains(&install), "{guide}");
    let moved = std::fs::read_to_string(loaded.handoff("images.csv")).unwrap();
    for seed in &loaded.carried.content.images {
        let source = format!("{}/{}:{}", seed.host, seed.repository, seed.tag);
        let line = moved.lines().find(|line| line.contains(&source));
        let line = line.unwrap_or_else(|| panic!("{source}: {moved}"));
        assert!(line.contains(&seed.image.digest.to_string()), "{line}");
    }
}

#[test]
fn the_chart_arrives_as_its_repository_has_it() {
    require!("docker-registry", "htpasswd", "helm3", "helm4");
    let loaded = Loaded::new(&[]);
    let published = calico_cloud::chart(VERSION).archive();
    for name in HELMS {
        let cli = HelmCli::new(name);
        cli.log_in(&[(loaded.host(), Private::USER, Private::PASSWORD)]);
        let chart = format!("oci://{}/charts/calico-cloud", loaded.host());
        let pull = ["pull", &chart, "--version", VERSION];
        cli.run_with_ca(&pull, &loaded.ca_file).success();
        let files = std::fs::read_dir(cli.home().path()).unwrap();
        let archives: Vec<_> = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "tgz"))
            .collect();
        assert_eq!(archives.len(), 1, "{name}: {archives:?}");
        let pulled = std::fs::read(&archives[0]).unwrap();
        assert!(pulled == published, "{name}: other bytes");
    }
}

#[test]
fn a_moved_tag_and_an_image_that_is_gone_are_found_by_the_check() {
    require!("docker-registry", "htpasswd", "helm3");
    let loaded = Loaded::new(&["--layout", "last2"]);
    loaded.check().success();
    let images = &loaded.carried.content.images;
    let other = images.iter().find(|seed| seed.repository == "tigera/cni");
    let client = loaded.private.registry.client();
    client.push("tigera/operator", "v1.29.4", &other.unwrap().image);
    let found = loaded.check().failure();
    let said = format!("{found:?}");
    assert!(said.contains("ANOTHER IMAGE"), "{said}");
    assert!(said.contains("tigera/operator:v1.29.4"), "{said}");
}
