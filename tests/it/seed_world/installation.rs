//! What `helm install` will do inside: the chart comes from the registry, and so does every image
//! that it names, with the digest that was locked.

use std::{collections::BTreeSet, path::PathBuf, process::Command, sync::Arc};

use serde_json::{Value, json};
use sneakernet::oci::{Digest, Reference};

use super::{Carried, Private, with_helm};
use crate::support::{
    calico_cloud::{self, VERSION},
    distribution::{Options, Registry},
    helm::{HELMS, HelmCli},
    netns::NetNs,
    pki::TestCa,
    seed::WINDOWS_URLS,
    tools::{Finished, Home, require, run},
};

/// The bundle in the private registry, with its hand-off.
struct Loaded {
    carried: Arc<Carried>,
    registry: Registry,
    /// The registry as everybody there calls it.
    host: String,
    netns: Option<NetNs>,
    home: Home,
    ca_file: PathBuf,
    /// What the load said.
    said: Finished,
}

impl Loaded {
    /// The registry on loopback, for the program itself and for the client of the tests.
    fn on_loopback(more: &[&str]) -> Self {
        let ca = TestCa::new();
        let registry = Registry::start(Self::options(&ca, &[]));
        let host = registry.host().to_owned();
        Self::load(&ca, registry, host, None, more)
    }

    /// The registry as `registry.local:5000` inside a namespace of the network, for `helm` takes
    /// loopback for plain HTTP.
    fn inside(more: &[&str]) -> Self {
        let ca = TestCa::new();
        let netns = NetNs::new();
        netns.hosts(&[("127.0.1.9", "registry.local")]);
        let options = Self::options(&ca, &["registry.local"]);
        let registry = Registry::start(options.inside(&netns, "127.0.1.9:5000"));
        let host = "registry.local:5000".to_owned();
        Self::load(&ca, registry, host, Some(netns), more)
    }

    fn options(ca: &TestCa, names: &[&str]) -> Options {
        let options = Options {
            allow_urls: vec![WINDOWS_URLS.to_owned()],
            ..Options::default()
        };
        let options = options.with_tls(ca, names);
        options.with_user(Private::USER, Private::PASSWORD)
    }

    fn load(
        ca: &TestCa,
        registry: Registry,
        host: String,
        netns: Option<NetNs>,
        more: &[&str],
    ) -> Self {
        let (carried, home) = (Carried::get(), Home::new());
        let ca_file = ca.write_to(home.path());
        home.log_in(&[(&host, Private::USER, Private::PASSWORD)]);
        let mut load = carried.load(&home, &host);
        with_helm(&mut load);
        load.arg("--ca-file").arg(&ca_file);
        load.args(["--handoff", "handoff", "--format", "json"]);
        load.args(more);
        Self {
            said: run(wrapped(netns.as_ref(), load)).success(),
            carried,
            registry,
            host,
            netns,
            home,
            ca_file,
        }
    }

    fn run(&self, command: Command) -> Finished {
        run(wrapped(self.netns.as_ref(), command))
    }

    fn handoff(&self, name: &str) -> PathBuf {
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
        check.arg(&self.ca_file);
        self.run(check)
    }

    /// A `helm` that is logged in.
    fn helm(&self, name: &'static str) -> HelmCli {
        let cli = HelmCli::new(name);
        cli.log_in(&[(&self.host, Private::USER, Private::PASSWORD)]);
        cli
    }

    /// What this `helm` renders with the values of the hand-off.
    fn template(&self, cli: &HelmCli, chart: &[&str]) -> String {
        let mut command = cli.command();
        command.args(["template", "calico-cloud"]).args(chart);
        command.args(["-n", "calico-cloud"]);
        for values in [
            "values/calico-cloud/values.yaml",
            "values-calico-cloud.yaml",
        ] {
            command.arg("-f").arg(self.handoff(values));
        }
        command.arg("--ca-file").arg(&self.ca_file);
        self.run(command).success().text()
    }

    /// The digest of what the registry has by this name, as skopeo sees it.
    fn served(&self, reference: &str) -> Digest {
        let mut skopeo = self.home.tool("skopeo");
        skopeo.args(["inspect", "--raw", "--cert-dir"]);
        skopeo.arg(self.home.path());
        skopeo.arg(format!("docker://{reference}"));
        Digest::sha256_of(&self.run(skopeo).success().stdout)
    }

    /// The digest that the image has had since it was locked.
    fn locked(&self, tag: &str, name: &str) -> Digest {
        let mut images = self.carried.content.images.iter();
        let found = images.find(|seed| seed.tag == tag && seed.repository.ends_with(name));
        found.unwrap_or_else(|| panic!("{name}:{tag}")).image.digest
    }
}

fn wrapped(netns: Option<&NetNs>, command: Command) -> Command {
    match netns {
        Some(netns) => netns.wrap(&command),
        None => command,
    }
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
    require!("root");
    let loaded = Loaded::inside(&["--layout", "last2"]);
    let host = &loaded.host;
    let stderr = &loaded.said.stderr;
    let found = "release calico-cloud: 3 of 3 images will be found";
    assert!(stderr.contains(found), "{stderr}");
    assert!(!stderr.contains("by a mirror"), "{stderr}");
    loaded.check().success();

    let chart = format!("{host}/charts/calico-cloud");
    let digest = loaded.served(&format!("{chart}:{}", VERSION.replace('+', "_")));
    let receipt = loaded.said.json();
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
        let cli = loaded.helm(name);
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
    assert_the_key_is_given_inside(&loaded, &by_tag);
    for image in &expected {
        let reference: Reference = image.parse().unwrap();
        let place = reference.repository();
        let name = place.path().rsplit('/').next().unwrap();
        let locked = loaded.locked(reference.tag().unwrap(), name);
        assert_eq!(loaded.served(image), locked, "{image}");
        assert_eq!(loaded.served(&format!("{place}@{locked}")), locked);
    }
}

/// The command of `install.md` is that of the hand-off, and the key, which did not travel, in a file.
#[track_caller]
fn assert_the_key_is_given_inside(loaded: &Loaded, chart: &str) {
    let page = include_str!("../../../examples/calico-cloud/install.md");
    let mut lines = page
        .lines()
        .filter_map(|line| line.trim().strip_prefix("$ "));
    let command = lines.find(|line| line.starts_with("helm upgrade"));
    let command = command
        .unwrap()
        .strip_suffix(" --set-file apiKey=api-key.txt");
    let guide = std::fs::read_to_string(loaded.handoff("INSTALL.md")).unwrap();
    let command = format!("\n{}\n", command.unwrap());
    assert!(guide.contains(&command), "{command}: {guide}");

    let key = loaded.home.path().join("api-key.txt");
    std::fs::write(&key, "8f2b0c71").unwrap();
    let set = format!("apiKey={}", key.display());
    for name in HELMS {
        let arguments = [chart, "--version", VERSION, "--set-file", &set];
        let rendered = loaded.template(&loaded.helm(name), &arguments);
        assert!(
            rendered.contains("key: \"8f2b0c71\"\n"),
            "{name}: {rendered}"
        );
    }
}

#[test]
fn the_image_set_has_the_digest_of_every_image_that_the_operator_knows() {
    require!("docker-registry", "htpasswd", "helm3");
    let loaded = Loaded::on_loopback(&["--layout", "last2"]);
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
    let loaded = Loaded::on_loopback(&["--layout", "last2", "--pull-secret", "private-registry"]);
    let host = &loaded.host;
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
         -f values-calico-cloud.yaml --ca-file ca.crt\n"
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
    require!("root");
    let loaded = Loaded::inside(&[]);
    let published = calico_cloud::chart(VERSION).archive();
    for name in HELMS {
        let cli = loaded.helm(name);
        let mut pull = cli.command();
        pull.arg("pull");
        pull.arg(format!("oci://{}/charts/calico-cloud", loaded.host));
        pull.args(["--version", VERSION, "--ca-file"]);
        pull.arg(&loaded.ca_file);
        loaded.run(pull).success();
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
fn a_tag_that_has_moved_since_is_found_by_the_check() {
    require!("docker-registry", "htpasswd", "helm3");
    let loaded = Loaded::on_loopback(&["--layout", "last2"]);
    loaded.check().success();
    let images = &loaded.carried.content.images;
    let other = images.iter().find(|seed| seed.repository == "tigera/cni");
    let client = loaded.registry.client();
    client.push("tigera/operator", "v1.29.4", &other.unwrap().image);
    let found = loaded.check().failure();
    let said = format!("{found:?}");
    assert!(said.contains("ANOTHER IMAGE"), "{said}");
    assert!(said.contains("tigera/operator:v1.29.4"), "{said}");
}
