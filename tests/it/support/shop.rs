//! A chart of every way to name an image, the images that it names, and a place to work with them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sneakernet::oci::Digest;

use super::{
    embedded::Embedded,
    helm::ChartFiles,
    images::{Blob, Family, Image, artifact, sample, sample_index},
    samples::EPOCH,
    tools::{Finished, Home, find, run},
};

/// The host in the names of the images; nothing answers there, a mirror stands for it.
pub const HOST: &str = "registry.example.com";
/// The chart's version.
pub const VERSION: &str = "1.2.3+0";
/// Images that the rendered chart names with its own values.
pub const RENDERED: [&str; 4] = [
    "shop/db:2.1",
    "shop/migrate:1",
    "shop/proxy:3",
    "shop/web:1.0",
];
/// Images that it names with other values or for other clusters, or that only people know of.
pub const OTHERS: [&str; 6] = [
    "shop/cc-operator:1.2.3-g0",
    "shop/metrics:0.9",
    "shop/modern:1",
    "shop/monitor:1",
    "shop/tester:1",
    "shop/web:2.0",
];

const WEB: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}-web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: "{{ .Values.image.registry }}/{{ .Values.image.repository }}:{{ .Values.image.tag }}"
          args: ["--sidecar-image={{ .Values.sidecar }}"]
"#;

const MIGRATE: &str = r#"apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {helm.sh/hook: pre-install}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: migrate, image: "{{ .Values.migrate }}"}]
"#;

const TEST: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: try
  annotations: {helm.sh/hook: test}
spec:
  containers: [{name: try, image: "registry.example.com/shop/tester:1"}]
"#;

const DEPENDS_ON_THE_CLUSTER: &str = r#"{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}
apiVersion: v1
kind: Pod
metadata: {name: monitor}
spec:
  containers: [{name: monitor, image: "registry.example.com/shop/monitor:1"}]
{{- end }}
---
{{- if semverCompare ">=1.99-0" .Capabilities.KubeVersion.Version }}
apiVersion: v1
kind: Pod
metadata: {name: modern}
spec:
  containers: [{name: modern, image: "registry.example.com/shop/modern:1"}]
{{- end }}
"#;

const VALUES: &str = r#"image: {registry: registry.example.com, repository: shop/web, tag: "1.0"}
sidecar: registry.example.com/shop/proxy:3
migrate: registry.example.com/shop/migrate:1
imagePullSecrets: []
metrics:
  enabled: false
  image: registry.example.com/shop/metrics:0.9
"#;

const DB: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: db}
spec:
  containers: [{name: db, image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"}]
"#;

/// The chart `shop` in its usual version.
pub fn chart() -> ChartFiles {
    chart_of(VERSION)
}

/// The chart `shop` in another version.
pub fn chart_of(version: &str) -> ChartFiles {
    let db = ChartFiles::new("db", "0.1.0")
        .file("templates/db.yaml", DB)
        .file(
            "values.yaml",
            "image: {repository: registry.example.com/shop/db, tag: \"2.1\"}\n",
        );
    ChartFiles::new("shop", version)
        .metadata("appVersion: \"9.1\"\ndescription: sells things\n")
        .file("values.yaml", VALUES)
        .file("templates/web.yaml", WEB)
        .file("templates/migrate.yaml", MIGRATE)
        .file("templates/tests/try.yaml", TEST)
        .file("templates/cluster.yaml", DEPENDS_ON_THE_CLUSTER)
        .subchart(&db)
}

/// A chart with one pod of this image and nothing else.
pub fn chart_with(name: &str, version: &str, image: &str) -> ChartFiles {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: one}\nspec:\n  \
               containers: [{name: one, image: \"{{ .Values.image }}\"}]\n";
    ChartFiles::new(name, version)
        .file("values.yaml", &format!("image: {image}\n"))
        .file("templates/pod.yaml", pod)
}

/// The chart as a registry has it.
pub fn artifact_of(chart: &ChartFiles) -> Image {
    let (name, version) = (chart.name(), chart.version());
    let config = json!({"apiVersion": "v2", "name": name, "version": version});
    let config = config.to_string().into_bytes();
    let archive = Blob::new(
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        chart.archive(),
    );
    let config = Blob::new("application/vnd.cncf.helm.config.v1+json", config);
    artifact(None, config, vec![archive], None)
}

/// A directory to work in, and a registry with the images.
pub struct Shop {
    /// The home and working directory of the program.
    pub home: Home,
    /// Has the images; stands for [`HOST`].
    pub upstream: Embedded,
    /// The images by their names without the host.
    pub images: BTreeMap<&'static str, Image>,
    helm: &'static str,
}

impl Shop {
    /// All images at an upstream; charts are rendered with Helm 3.
    pub fn new() -> Self {
        Self::rendering_with("helm3")
    }

    /// The same with another `helm`.
    pub fn rendering_with(helm: &'static str) -> Self {
        Self::with(helm, "")
    }

    /// The same with an upstream that has these faults.
    pub fn with(helm: &'static str, faults: &str) -> Self {
        let upstream = Embedded::failing(faults);
        let client = upstream.client();
        let names = RENDERED.into_iter().chain(OTHERS);
        let images = names.enumerate().map(|(number, name)| {
            let seed = 900 + number as u64;
            let image = match number {
                0 => sample_index(seed, Family::Docker),
                _ => sample(seed, Family::Oci, "linux/amd64"),
            };
            let (repository, tag) = name.split_once(':').expect("a tag");
            client.push(repository, tag, &image);
            (name, image)
        });
        Self {
            images: images.collect(),
            home: Home::new(),
            upstream,
            helm,
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file into the directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir().join(name);
        std::fs::create_dir_all(path.parent().expect("in the directory")).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes the chart's archive into the directory; its name.
    pub fn archive(&self, chart: &ChartFiles) -> String {
        self.write(&chart.archive_name(), chart.archive());
        chart.archive_name()
    }

    /// Writes a `bundle.yaml` with these lines behind its heading.
    pub fn spec(&self, lines: &str) {
        let heading =
            "apiVersion: sneakernet/v1\nkind: Bundle\nmetadata: {name: shop, version: \"1\"}\n";
        self.write("bundle.yaml", format!("{heading}{lines}"));
    }

    /// The program with these arguments, to be completed.
    pub fn bundle(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.bundle();
        command.args(arguments).env("SOURCE_DATE_EPOCH", EPOCH);
        if let Some(helm) = find(self.helm) {
            command.env("BUNDLE_HELM", helm);
        }
        // So that what is left there is seen.
        let temporary = self.dir().join("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        command.env("TMPDIR", temporary);
        command
    }

    /// The same for `create` and `plan`.
    pub fn making(&self, arguments: &[&str]) -> Command {
        let mut command = self.bundle(arguments);
        let mirror = format!("{HOST}={}", self.upstream.host());
        command.args(["--mirror", &mirror, "--retries", "1"]);
        command
    }

    /// `bundle plan` with these arguments, as JSON.
    #[track_caller]
    pub fn plan(&self, arguments: &[&str]) -> Value {
        let arguments = [&["plan", "--format", "json"], arguments].concat();
        run(self.making(&arguments)).success().json()
    }

    /// `bundle create` of an unsigned bundle with these arguments.
    #[track_caller]
    pub fn create(&self, output: &str, arguments: &[&str]) -> Finished {
        let arguments = [&["create", "--unsigned", "-o", output], arguments].concat();
        run(self.making(&arguments))
    }

    /// `bundle load` of an unsigned bundle.
    #[track_caller]
    pub fn load(&self, file: &str, to: &str, arguments: &[&str]) -> Finished {
        let arguments = [&["load", file, "--allow-unsigned", "--to", to], arguments].concat();
        run(self.bundle(&arguments))
    }

    /// Everything in the directory: paths with digests of files.
    pub fn listing(&self) -> BTreeMap<PathBuf, Option<Digest>> {
        listing(self.dir())
    }

    /// Asserts that `create` and `plan` with these arguments fail with this exit code, because of
    /// these texts, and that nothing was written, nowhere.
    #[track_caller]
    pub fn refuses(&self, arguments: &[&str], code: i32, because: &[&str]) -> Finished {
        std::fs::create_dir_all(self.dir().join("tmp")).unwrap();
        let before = self.listing();
        let plan = [&["plan", "-o", "refused.lock"], arguments].concat();
        let planned = run(self.making(&plan)).exits(code);
        let created = self.create("refused.bundle", arguments).exits(code);
        for said in [&planned.stderr, &created.stderr] {
            for text in because {
                assert!(said.contains(text), "{text:?} in\n{said}");
            }
        }
        assert_eq!(self.listing(), before);
        created
    }
}

/// Everything below a directory: paths, with the digests of files.
pub fn listing(directory: &Path) -> BTreeMap<PathBuf, Option<Digest>> {
    fn add(at: &Path, root: &Path, found: &mut BTreeMap<PathBuf, Option<Digest>>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if path.is_dir() {
                found.insert(name, None);
                add(&path, root, found);
            } else {
                let content = std::fs::read(&path).unwrap();
                found.insert(name, Some(Digest::sha256_of(&content)));
            }
        }
    }
    let mut found = BTreeMap::new();
    add(directory, directory, &mut found);
    found
}

/// The names of the images in a plan or lock, without [`HOST`].
pub fn images_of(lock: &Value) -> Vec<String> {
    let images = lock["images"].as_array().expect("images");
    let name = |image: &Value| {
        let reference = image["reference"].as_str().expect("a reference");
        let short = reference.strip_prefix(HOST).unwrap_or(reference);
        short.trim_start_matches('/').to_owned()
    };
    images.iter().map(name).collect()
}
