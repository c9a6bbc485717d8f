//! The JSON Schemas in `bundle-spec/` are those of the types, and real documents are valid by them.

use std::{collections::BTreeMap, fs, str::FromStr as _};

use boon::{Compiler, Schemas};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};
use sneakernet::{
    bundle::Lock,
    create::PlanReport,
    handoff::record::Record,
    inspect::Inspection,
    load::Receipt,
    oci::{Digest, Reference},
};

use super::{committed, extracted::tree, golden, spec_file};
use crate::support::{
    distribution::{Options, Registry},
    helm::{ChartFiles, helm_path},
    images::{Family, sample_index},
    tools::{Home, PATIENCE, require, run_with},
};

// For this schema alone: the program reads and writes a root in a way of its own.
/// The root of a bundle (format.md section 3).
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code)]
struct Root {
    /// What the bundle says of itself.
    annotations: RootAnnotations,
    /// The version of the format.
    #[schemars(extend("const" = "application/vnd.sneakernet.bundle.v1+json"))]
    artifact_type: String,
    /// The lock's manifest, then the entries: sorted by reference, then files, then releases.
    #[schemars(length(min = 1))]
    manifests: Vec<RootDescriptor>,
    /// Always an OCI image index.
    #[schemars(extend("const" = "application/vnd.oci.image.index.v1+json"))]
    media_type: String,
    /// Always 2.
    #[schemars(extend("const" = 2))]
    schema_version: u8,
}

/// Annotations of the root.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct RootAnnotations {
    /// When the contents were resolved: UTC, whole seconds.
    #[schemars(
        rename = "vnd.sneakernet.created",
        regex(pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    )]
    created: String,
    /// Name of the bundle.
    #[schemars(
        rename = "vnd.sneakernet.name",
        regex(pattern = r"^[a-z0-9][a-z0-9._-]{0,62}$")
    )]
    name: String,
    /// The program that made it.
    #[schemars(rename = "vnd.sneakernet.tool")]
    tool: String,
    /// There for a bundle that was made without a signature on purpose.
    #[schemars(rename = "vnd.sneakernet.unsigned", extend("const" = "true"))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    unsigned: String,
    /// Version of the bundle.
    #[schemars(
        rename = "vnd.sneakernet.version",
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$")
    )]
    version: String,
}

/// A descriptor in the root.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code)]
struct RootDescriptor {
    /// What it is, and under which name it was asked for.
    annotations: DescriptorAnnotations,
    /// Type of the artifact, where it is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    artifact_type: String,
    /// Digest of the document.
    digest: Digest,
    /// Media type of the document.
    media_type: String,
    /// Size of the document in bytes.
    #[schemars(range(max = 4_194_304))]
    size: u64,
}

/// Annotations of a descriptor in the root.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct DescriptorAnnotations {
    /// The full reference; images, artifacts and charts have one.
    #[schemars(rename = "org.opencontainers.image.ref.name")]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ref_name: String,
    /// What it is.
    #[schemars(rename = "vnd.sneakernet.kind", extend("enum" = ["lock", "image", "artifact", "chart", "files", "release"]))]
    kind: String,
}

/// The schema of what is written as `T`.
fn schema_of<T: JsonSchema>(name: &str, title: &str) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator();
    let mut schema = generator.root_schema_for::<T>().to_value();
    schema["$id"] = json!(format!("urn:sneakernet:v1:{name}"));
    schema["title"] = json!(title);
    schema
}

fn all() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("root", schema_of::<Root>("root", "Root of a bundle")),
        ("lock", schema_of::<Lock>("lock", "Lock of a bundle")),
        (
            "receipt",
            schema_of::<Receipt>("receipt", "Receipt of a load"),
        ),
        (
            "inspection",
            schema_of::<Inspection>("inspection", "Output of bundle inspect --format json"),
        ),
        (
            "plan",
            schema_of::<PlanReport>("plan", "Output of bundle plan --format json"),
        ),
        (
            "handoff",
            schema_of::<Record>("handoff", "handoff.json of a hand-off directory"),
        ),
    ])
}

/// Whether `document` is valid by the committed schema, or why not.
fn validate(name: &str, document: &Value) -> Result<(), String> {
    let text = fs::read(spec_file(&format!("{name}.schema.json"))).unwrap();
    let schema: Value = serde_json::from_slice(&text).unwrap();
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    let place = format!("urn:sneakernet:v1:{name}");
    compiler.add_resource(&place, schema).unwrap();
    let compiled = compiler.compile(&place, &mut schemas).unwrap();
    schemas
        .validate(document, compiled)
        .map_err(|error| format!("{name}: {error:#}"))
}

#[test]
fn the_schemas_are_those_of_the_types() {
    for (name, schema) in all() {
        committed(
            &format!("{name}.schema.json"),
            format!("{schema:#}\n").as_bytes(),
        );
    }
}

#[test]
fn golden_documents_are_valid_and_changed_ones_are_not() {
    let home = Home::new();
    let path = home.path().join("golden.zst");
    for golden in golden::all() {
        fs::write(&path, &golden.made.file).unwrap();
        let raw = |what: &str| {
            home.run_bundle(["inspect", "golden.zst", "--raw", what])
                .success()
                .json()
        };
        let (root, lock) = (raw("root"), raw("lock"));
        validate("root", &root).unwrap();
        validate("lock", &lock).unwrap();
        let inspection = home.run_bundle(["inspect", "golden.zst", "--format", "json"]);
        validate("inspection", &inspection.success().json()).unwrap();

        for (name, document) in [("root", &root), ("lock", &lock)] {
            let whole = document.as_object().unwrap();
            for key in whole.keys() {
                let optional = [
                    "platforms",
                    "files",
                    "absent",
                    "charts",
                    "referrerTypes",
                    "releases",
                ]
                .contains(&key.as_str());
                let mut less = whole.clone();
                less.remove(key);
                let verdict = validate(name, &Value::Object(less));
                assert_eq!(
                    verdict.is_ok(),
                    optional,
                    "{name} without {key}: {verdict:?}"
                );
            }
            let mut more = whole.clone();
            more.insert("extra".into(), json!(1));
            assert!(validate(name, &Value::Object(more)).is_err());
            let mut other = document.clone();
            let first = if name == "root" {
                "/manifests/0/digest"
            } else {
                "/created"
            };
            *other.pointer_mut(first).unwrap() = json!(7);
            assert!(validate(name, &other).is_err());
        }
    }
}

#[test]
fn what_the_program_prints_and_writes_is_valid() {
    require!("docker-registry");
    let registry = Registry::start(Options::default());
    registry
        .client()
        .push("team/app", "1", &sample_index(5, Family::Oci));
    let home = Home::new();
    home.run_bundle(["keygen", "--no-password"]).success();
    fs::write(home.path().join("notes.txt"), "notes").unwrap();
    let image = format!("{}/team/app:1", registry.host());
    fs::write(home.path().join("images.txt"), format!("{image}\n")).unwrap();
    home.run_bundle([
        "create",
        "--images-from",
        "images.txt",
        "--add-file",
        "notes.txt",
        "--key",
        "cosign.key",
        "-o",
        "a.zst",
    ])
    .success();
    let inspect = [
        "inspect",
        "a.zst",
        "--key",
        "cosign.pub",
        "--format",
        "json",
    ];
    let inspection = home.run_bundle(inspect).success().json();
    validate("inspection", &inspection).unwrap();
    let lock = home
        .run_bundle(["inspect", "a.zst", "--raw", "lock"])
        .success()
        .json();
    validate("lock", &lock).unwrap();
    Reference::from_str(lock["images"][0]["reference"].as_str().unwrap()).unwrap();

    let destination = format!("{}/mirror", registry.host());
    for dry_run in [true, false] {
        let mut arguments = vec![
            "load",
            "a.zst",
            "--key",
            "cosign.pub",
            "--to",
            &destination,
            "--receipt",
            "receipt.json",
        ];
        if dry_run {
            arguments.push("--dry-run");
        }
        home.run_bundle(&arguments).success();
        let receipt = fs::read(home.path().join("receipt.json")).unwrap();
        let mut receipt: Value = serde_json::from_slice(&receipt).unwrap();
        validate("receipt", &receipt).unwrap();
        assert_eq!(receipt["dryRun"], dry_run);
        receipt["images"][0]["tag"] = json!("gone");
        assert!(validate("receipt", &receipt).is_err());
    }
}

/// The chart of the test below: a Deployment of one image of `registry`.
fn shop(registry: &str) -> ChartFiles {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  \
        selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    \
        spec:\n      containers:\n      - name: web\n        \
        image: \"{{ .Values.registry }}/team/app:1\"\n";
    ChartFiles::new("shop", "1.0.0+build.5")
        .metadata("appVersion: \"2.0\"\n")
        .file(
            "values.yaml",
            &format!("registry: {registry}\nreplicas: 1\n"),
        )
        .file("templates/web.yaml", deployment)
}

#[test]
fn what_the_program_says_of_charts_is_valid() {
    require!("docker-registry", "helm4");
    let registry = Registry::start(Options::default());
    let image = sample_index(6, Family::Oci);
    registry.client().push("team/app", "1", &image);
    let home = Home::new();
    home.run_bundle(["keygen", "--no-password"]).success();
    shop(registry.host()).write_to(home.path());
    fs::write(home.path().join("mine.yaml"), "replicas: 3\n").unwrap();
    fs::write(home.path().join("empty.yaml"), "").unwrap();
    let spec = "apiVersion: sneakernet/v1\nkind: Bundle\nmetadata: {name: shop, version: \"1\"}\n\
        charts:\n- chart: ./shop\n  namespace: market\n  values: [mine.yaml, empty.yaml]\n  \
        kubeVersion: 1.31.0\n  apiVersions: [monitoring.coreos.com/v1]\n  \
        relocate: {registry: \"{registry}\"}\n- chart: ./shop\n  release: second\n  discover: none\n";
    fs::write(home.path().join("bundle.yaml"), spec).unwrap();
    let helm = helm_path("helm4").display().to_string();
    let run = |arguments: &[&str]| {
        let mut command = home.bundle();
        command.args(arguments).env("BUNDLE_HELM", &helm);
        crate::support::tools::run(command).success()
    };
    let plan = run(&["plan", "-f", "bundle.yaml", "--format", "json"]).json();
    validate("plan", &plan).unwrap();
    let lock = fs::read(home.path().join("bundle.lock")).unwrap();
    let lock: Value = serde_json::from_slice(&lock).unwrap();
    validate("lock", &lock).unwrap();
    assert_eq!(plan["charts"], lock["charts"]);
    assert_eq!(lock["images"][0]["requestedBy"][0]["kind"], "rendered");
    assert_eq!(lock["releases"].as_array().unwrap().len(), 2);
    assert_eq!(lock["charts"].as_array().unwrap().len(), 1);
    run(&["create", "--key", "cosign.key", "-o", "a.zst"]);
    let raw = |what: &str| run(&["inspect", "a.zst", "--raw", what]).json();
    validate("root", &raw("root")).unwrap();
    validate("lock", &raw("lock")).unwrap();
    let inspection = run(&["inspect", "a.zst", "--format", "json"]).json();
    validate("inspection", &inspection).unwrap();
    assert_eq!(inspection["charts"], raw("lock")["charts"]);
    assert_eq!(inspection["releases"], lock["releases"]);
    let shown = run(&["inspect", "a.zst"]).text();
    for line in [
        "1 image, 1 chart",
        "chart      shop 1.0.0+build.5",
        "release    shop in market   localhost/shop:1.0.0_build.5   values mine.yaml, empty.yaml",
        "release    second in default",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }

    let destination = format!("{}/mirror", registry.host());
    let load = [
        "load",
        "a.zst",
        "--key",
        "cosign.pub",
        "--to",
        &destination,
        "--receipt",
        "receipt.json",
        "--handoff",
        "handed",
        "--format",
        "json",
    ];
    let loaded = run(&load).json();
    let receipt = fs::read(home.path().join("receipt.json")).unwrap();
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    validate("receipt", &receipt).unwrap();
    assert_eq!(
        receipt["charts"][0]["source"],
        "localhost/shop:1.0.0_build.5"
    );
    assert_eq!(loaded["charts"], receipt["charts"]);
    let record = fs::read(home.path().join("handed/handoff.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    validate("handoff", &record).unwrap();
    for key in record.as_object().unwrap().keys() {
        let mut less = record.clone();
        less.as_object_mut().unwrap().remove(key);
        assert!(validate("handoff", &less).is_err(), "without {key}");
    }
    let mut more = record;
    more["releases"][0]["password"] = json!("x");
    assert!(validate("handoff", &more).is_err());

    // What is in a pipe passes by once, and everything is at the destination already.
    let mut piped = home.bundle();
    piped.args([
        "load",
        "-",
        "--key",
        "cosign.pub",
        "--to",
        &destination,
        "--handoff",
        "piped",
    ]);
    piped.env("BUNDLE_HELM", &helm);
    let bundle = fs::read(home.path().join("a.zst")).unwrap();
    run_with(piped, bundle, PATIENCE).success();
    let same = tree(&home.path().join("handed")) == tree(&home.path().join("piped"));
    assert!(same, "the hand-offs of file and pipe differ");
}
