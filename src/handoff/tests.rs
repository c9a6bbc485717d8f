use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    testing::{chart, digest, images, input},
    *,
};

fn contents(input: &Input<'_>) -> BTreeMap<String, String> {
    files(input)
        .unwrap()
        .files
        .into_iter()
        .map(|file| (file.path, String::from_utf8(file.content).unwrap()))
        .collect()
}

fn yaml_documents(text: &str) -> Vec<Value> {
    text.split("---\n")
        .map(|part| serde_saphyr::from_str::<Value>(part).unwrap())
        .filter(|value| !value.is_null())
        .collect()
}

const PAIRS: [(&str, &str); 3] = [
    ("quay.io/acme/app:v1", "r.local:5000/m/acme/app"),
    ("nginx:1.27", "r.local:5000/m/library/nginx"),
    ("localhost:5001/x:1", "r.local:5000/m/x"),
];

fn with_prefix<'a>(images: &'a [MovedImage], charts: &'a [MovedChart]) -> Input<'a> {
    let mut input = input(images, charts);
    input.to.prefix = "m";
    input
}

#[test]
fn a_bundle_without_charts_gives_mirrors_and_tables() {
    let moved = images(&PAIRS);
    let files = contents(&with_prefix(&moved, &[]));
    let paths: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "INSTALL.md",
            "certs.d/docker.io/hosts.toml",
            "certs.d/localhost_5001_/hosts.toml",
            "certs.d/quay.io/hosts.toml",
            "images.csv",
            "images.json",
            "openshift-idms.yaml",
            "openshift-itms.yaml",
            "pull-secret.yaml",
            "registries.conf",
            "registries.yaml",
        ]
    );
}

#[test]
fn hosts_toml_asks_nobody_else() {
    let moved = images(&PAIRS);
    let mut input = with_prefix(&moved, &[]);
    assert_eq!(
        contents(&input)["certs.d/docker.io/hosts.toml"],
        r#"# Images of docker.io come from the registry inside, and from nowhere else.
server = "https://r.local:5000/v2/m"
capabilities = ["pull", "resolve"]
override_path = true
# For a private authority: ca = "/etc/ssl/certs/registry-ca.crt"

[host."https://r.local:5000/v2/m"]
capabilities = ["pull", "resolve"]
override_path = true
# For a private authority: ca = "/etc/ssl/certs/registry-ca.crt"
"#
    );
    input.to.ca_file = Some("/etc/ca \"x\".crt");
    assert_eq!(
        contents(&input)["certs.d/quay.io/hosts.toml"],
        r#"# Images of quay.io come from the registry inside, and from nowhere else.
server = "https://r.local:5000/v2/m"
capabilities = ["pull", "resolve"]
override_path = true
ca = "/etc/ca \"x\".crt"

[host."https://r.local:5000/v2/m"]
capabilities = ["pull", "resolve"]
override_path = true
ca = "/etc/ca \"x\".crt"
"#
    );
    input.to.plain_http = true;
    assert!(
        contents(&input)["certs.d/quay.io/hosts.toml"]
            .contains("server = \"http://r.local:5000/v2/m\"\n")
    );
}

#[test]
fn registries_yaml_is_that_of_k3s() {
    let moved = images(&PAIRS);
    let mut input = with_prefix(&moved, &[]);
    input.to.ca_file = Some("/etc/ca.crt");
    assert_eq!(
        contents(&input)["registries.yaml"],
        r#"# For k3s: /etc/rancher/k3s/registries.yaml. For RKE2: /etc/rancher/rke2/registries.yaml.
# Start the nodes with --disable-default-registry-endpoint, and nothing else is asked.
configs:
  "r.local:5000":
    tls:
      ca_file: "/etc/ca.crt"
mirrors:
  docker.io:
    endpoint:
      - "https://r.local:5000"
    rewrite:
      "^(.*)$": "m/$1"
  "localhost:5001":
    endpoint:
      - "https://r.local:5000"
    rewrite:
      "^(.*)$": "m/$1"
  quay.io:
    endpoint:
      - "https://r.local:5000"
    rewrite:
      "^(.*)$": "m/$1"
"#
    );
}

#[test]
fn registries_conf_replaces_locations() {
    let moved = images(&PAIRS[..1]);
    let mut input = with_prefix(&moved, &[]);
    let head = "# For /etc/containers/registries.conf.d/: names that start with `prefix` are looked \
                for at\n# `location`, and nowhere else.\n";
    assert_eq!(
        contents(&input)["registries.conf"],
        format!("{head}\n[[registry]]\nprefix = \"quay.io\"\nlocation = \"r.local:5000/m\"\n")
    );
    input.has_map_rules = true;
    input.to.plain_http = true;
    assert_eq!(
        contents(&input)["registries.conf"],
        format!(
            "{head}\n[[registry]]\nprefix = \"quay.io/acme/app\"\n\
             location = \"r.local:5000/m/acme/app\"\ninsecure = true\n\
             \n[[registry]]\nprefix = \"r.local:5000\"\nlocation = \"r.local:5000\"\n\
             insecure = true\n"
        )
    );
}

#[test]
fn mirror_sets_name_each_repository() {
    let mut moved = images(&PAIRS[..2]);
    moved[1].source = format!("nginx@{}", digest("nginx")).parse().unwrap();
    let files = contents(&with_prefix(&moved, &[]));
    assert_eq!(
        files["openshift-idms.yaml"],
        r#"apiVersion: "config.openshift.io/v1"
kind: "ImageDigestMirrorSet"
metadata:
  name: "demo"
spec:
  imageDigestMirrors:
    - mirrorSourcePolicy: "NeverContactSource"
      mirrors:
        - "r.local:5000/m/library/nginx"
      source: "docker.io/library/nginx"
    - mirrorSourcePolicy: "NeverContactSource"
      mirrors:
        - "r.local:5000/m/acme/app"
      source: "quay.io/acme/app"
"#
    );
    // Only what is referred to by tag needs the other.
    assert_eq!(
        files["openshift-itms.yaml"],
        r#"apiVersion: "config.openshift.io/v1"
kind: "ImageTagMirrorSet"
metadata:
  name: "demo"
spec:
  imageTagMirrors:
    - mirrorSourcePolicy: "NeverContactSource"
      mirrors:
        - "r.local:5000/m/acme/app"
      source: "quay.io/acme/app"
"#
    );
}

#[test]
fn where_paths_change_only_exact_rules_are_given() {
    let moved = images(&[
        ("us-docker.pkg.dev/a/b/c.x:1", "r.local:5000/b/c.x"),
        ("quay.io/acme/app:v1", "r.local:5000/acme/app"),
    ]);
    let mut input = input(&moved, &[]);
    input.layout = Layout::Last2;
    let made = files(&input).unwrap();
    let files = contents(&input);
    assert!(!files.contains_key("certs.d/us-docker.pkg.dev/hosts.toml"));
    assert!(files.contains_key("certs.d/quay.io/hosts.toml"));
    let mirrors = &yaml_documents(&files["registries.yaml"])[0]["mirrors"];
    assert_eq!(
        mirrors["us-docker.pkg.dev"]["rewrite"],
        json!({r"^a/b/c\.x$": "b/c.x"})
    );
    assert_eq!(mirrors["quay.io"].get("rewrite"), None);
    assert!(files["registries.conf"].contains("prefix = \"us-docker.pkg.dev/a/b/c.x\"\n"));
    assert_eq!(made.notes.len(), 1);
    assert!(made.notes[0].starts_with("no certs.d/us-docker.pkg.dev/hosts.toml"));
    assert!(files["INSTALL.md"].contains(&made.notes[0]));
}

#[test]
fn one_repository_in_two_places_has_no_rule() {
    let moved = images(&[
        ("quay.io/acme/app:v1", "r.local:5000/a/app"),
        ("quay.io/acme/app:v2", "r.local:5000/b/app"),
        ("quay.io/acme/job:v2", "r.local:5000/acme/job"),
    ]);
    let input = input(&moved, &[]);
    let files = contents(&input);
    assert!(!files.contains_key("certs.d/quay.io/hosts.toml"));
    assert!(!files["registries.yaml"].contains("acme/app"));
    assert!(!files["openshift-idms.yaml"].contains("acme/app"));
    let notes = super::files(&input).unwrap().notes;
    assert!(
        notes[0].contains("no mirror rule for quay.io/acme/app"),
        "{notes:?}"
    );
}

#[test]
fn an_image_that_stayed_where_it_was_needs_no_mirror() {
    let moved = images(&[("r.local:5000/a:1", "r.local:5000/a")]);
    let files = contents(&input(&moved, &[]));
    assert!(!files.contains_key("registries.yaml"));
    assert!(!files["INSTALL.md"].contains("original names (optional)"));
}

#[test]
fn the_pull_secret_is_valid_and_empty() {
    let charts = [chart("b", json!({})), chart("a", json!({}))];
    let files = contents(&input(&[], &charts));
    let secrets = yaml_documents(&files["pull-secret.yaml"]);
    assert_eq!(secrets.len(), 2);
    assert_eq!(
        secrets[0],
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "registry-credentials", "namespace": "a-system"},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": r#"{"auths":{"r.local:5000":{}}}"#},
        })
    );
    assert_eq!(secrets[1]["metadata"]["namespace"], "b-system");
}

#[test]
fn the_table_is_sorted_and_guarded() {
    let mut moved = images(&PAIRS[..2]);
    moved[0].platforms = vec!["=cmd()".to_owned(), "linux/amd64".to_owned()];
    moved[1].tag = None;
    let files = contents(&with_prefix(&moved, &[]));
    let (nginx, app) = (moved[1].digest, moved[0].digest);
    assert_eq!(
        files["images.csv"],
        format!(
            "source,destination,tag,digest,platforms\n\
             docker.io/library/nginx:1.27,r.local:5000/m/library/nginx@{nginx},,{nginx},linux/amd64 linux/arm64/v8\n\
             quay.io/acme/app:v1,r.local:5000/m/acme/app:v1,v1,{app},\"'=cmd() linux/amd64\"\n"
        )
    );
    let table: Value = serde_json::from_str(&files["images.json"]).unwrap();
    assert_eq!(table["registry"], "r.local:5000/m");
    assert_eq!(
        table["images"][1],
        json!({
            "source": "quay.io/acme/app:v1",
            "destination": "r.local:5000/m/acme/app:v1",
            "repository": "r.local:5000/m/acme/app",
            "tag": "v1",
            "digest": app.to_string(),
            "platforms": ["=cmd()", "linux/amd64"],
        })
    );
}

#[test]
fn the_commands_are_in_order_with_all_values_files() {
    let moved = images(&PAIRS);
    let mut charts = [
        chart("web", json!({"image": "nginx:1.27"})),
        chart("crds", json!({})),
    ];
    charts[0].user_values = vec![
        ("my values.yaml".to_owned(), b"a: 1\n".to_vec()),
        ("b.yaml".to_owned(), b"b: 2\n".to_vec()),
    ];
    charts[0].kube_version = Some("1.33".to_owned());
    let mut input = with_prefix(&moved, &charts);
    let files = contents(&input);
    assert_eq!(files["values/web/my_values.yaml"], "a: 1\n");
    assert_eq!(files["values/web/b.yaml"], "b: 2\n");
    assert_eq!(
        files["values-web.yaml"],
        "# Values for the registry inside; give this file after all others.\n\
         image: \"r.local:5000/m/library/nginx:1.27\"\n"
    );
    let page = &files["INSTALL.md"];
    let commands: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("helm upgrade"))
        .collect();
    assert_eq!(
        commands,
        [
            "helm upgrade --install web oci://r.local:5000/charts/web --version 1.2.3+b1 \
             -n web-system --create-namespace -f values/web/my_values.yaml -f values/web/b.yaml \
             -f values-web.yaml",
            "helm upgrade --install crds oci://r.local:5000/charts/crds --version 1.2.3+b1 \
             -n crds-system --create-namespace -f values-crds.yaml",
            &format!(
                "helm upgrade --install web oci://r.local:5000/charts/web@{} -n web-system \
                 --create-namespace -f values/web/my_values.yaml -f values/web/b.yaml \
                 -f values-web.yaml",
                digest("web")
            ),
            &format!(
                "helm upgrade --install crds oci://r.local:5000/charts/crds@{} -n crds-system \
                 --create-namespace -f values-crds.yaml",
                digest("crds")
            ),
        ]
    );
    assert!(page.contains("helm registry login r.local:5000\n"));
    assert!(page.contains(
        "kubectl patch serviceaccount default -n web-system -p \
         '{\"imagePullSecrets\":[{\"name\":\"registry-credentials\"}]}'\n"
    ));
    // The path on the nodes is none of those who install; they have the authority in a file.
    input.to.ca_file = Some("/etc/my ca.crt");
    input.certificate = Some(b"PEM");
    let with_ca = contents(&input);
    assert_eq!(with_ca["ca.crt"], "PEM");
    for line in [
        "-f values-crds.yaml --ca-file ca.crt\n",
        "helm registry login r.local:5000 --ca-file ca.crt\n",
        "bundle login r.local:5000 --authfile auth.json --ca-file ca.crt\n",
    ] {
        assert!(with_ca["INSTALL.md"].contains(line), "{line}");
    }
    assert!(!with_ca["INSTALL.md"].contains("my ca.crt"));
    input.certificate = None;
    input.to.plain_http = true;
    let plain = contents(&input);
    for line in [
        "-f values-crds.yaml --plain-http\n",
        "helm registry login r.local:5000 --plain-http\n",
        "bundle login r.local:5000 --authfile auth.json --plain-http r.local:5000\n",
    ] {
        assert!(plain["INSTALL.md"].contains(line), "{line}");
    }
}

#[test]
fn what_only_a_mirror_brings_makes_mirrors_required() {
    let moved = images(&PAIRS);
    let charts = [chart("web", json!({}))];
    let page = |findings: &Findings| {
        let mut maker = Maker::new(with_prefix(&moved, &charts)).unwrap();
        maker.release(json!({}), Vec::new()).unwrap();
        let made = maker.finish(findings).unwrap();
        let page = made.files.into_iter().find(|f| f.path == "INSTALL.md");
        String::from_utf8(page.unwrap().content).unwrap()
    };
    let mut findings = Findings::default();
    assert!(
        page(&findings).contains("## Nodes that pull by the original names\n\nNobody has looked")
    );
    findings.checked = true;
    assert!(page(&findings).contains("original names (optional)"));
    findings.only_by_mirror.push(OnlyByMirror {
        image: "quay.io/acme/app:v1".into(),
        destination: "r.local:5000/m/acme/app:v1".into(),
        release: "web".into(),
        places: vec!["Pod/x spec.a|b".into()],
    });
    let page = page(&findings);
    for text in [
        "original names (required for 1 image)",
        "| `quay.io/acme/app:v1` | `r.local:5000/m/acme/app:v1` | `web` | `Pod/x spec.a\\|b` |\n",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn what_was_kept_is_not_listed_as_there() {
    let moved = images(&PAIRS);
    let kept = [moved[0].source.clone()];
    let mut input = with_prefix(&moved, &[]);
    input.kept = &kept;
    let files = contents(&input);
    for name in ["images.csv", "images.json"] {
        assert!(!files[name].contains("acme/app") && files[name].contains("nginx"));
    }
    assert!(files["INSTALL.md"].contains("2 images and 0 charts"));
}

#[test]
fn settings_are_checked_without_values() {
    let mut charts = [chart("web", json!({}))];
    charts[0].set = vec![("a..b".to_owned(), "x".to_owned())];
    let error = Maker::new(input(&[], &charts)).unwrap_err();
    assert!(error.to_string().contains("a..b"), "{error}");
}

#[test]
fn the_whole_page_reads_well() {
    let moved = images(&PAIRS[..1]);
    let mut charts = [chart("web", json!({"image": "quay.io/acme/app:v1"}))];
    charts[0].user_values = vec![("values.yaml".to_owned(), b"a: 1\n".to_vec())];
    charts[0].digest = Digest::sha256_of(b"chart");
    let mut input = with_prefix(&moved, &charts);
    input.bundle.root = Digest::sha256_of(b"root");
    assert_eq!(
        contents(&input)["INSTALL.md"],
        include_str!("expected/INSTALL.md")
    );
}

#[test]
fn the_same_release_in_two_namespaces_has_two_overlays() {
    let mut charts = [chart("a", json!({})), chart("b", json!({}))];
    charts[1].release = "a".to_owned();
    let files = contents(&input(&[], &charts));
    assert!(files.contains_key("values-a-system_a.yaml"));
    assert!(files.contains_key("values-b-system_a.yaml"));
    charts[1].namespace = charts[0].namespace.clone();
    let error = super::files(&input(&[], &charts)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "two charts are release `a` in namespace `a-system`"
    );
    assert!(error.hint().unwrap().contains("another `release`"));
}

#[test]
fn names_that_would_break_out_are_refused() {
    let refused = |change: &dyn Fn(&mut MovedChart)| {
        let mut charts = [chart("a", json!({}))];
        change(&mut charts[0]);
        files(&input(&[], &charts)).unwrap_err().to_string()
    };
    for name in ["", "../x", "a b", "a\n", "A", "$(id)", "-f"] {
        assert!(refused(&|chart| chart.release = name.to_owned()).contains("release name"));
        assert!(refused(&|chart| chart.namespace = name.to_owned()).contains("namespace"));
        if name != "A" {
            assert!(refused(&|chart| chart.version = name.to_owned()).contains("version"));
        }
    }
    let mut input = input(&[], &[]);
    input.pull_secret = "x y";
    assert!(matches!(files(&input), Err(HandoffError::PullSecret(_))));
    input.pull_secret = "x";
    input.to.ca_file = Some("relative.crt");
    assert!(matches!(files(&input), Err(HandoffError::CaFile(_))));
}

#[test]
fn hostile_names_stay_text() {
    let moved = images(&PAIRS);
    let mut charts = [chart("a", json!({"image": "quay.io/acme/app:v1"}))];
    charts[0].kube_version = Some("1.33`\n# x".to_owned());
    charts[0].user_values = vec![("../../$(id)`x`\n.yaml".to_owned(), Vec::new())];
    let mut input = with_prefix(&moved, &charts);
    input.bundle.name = "evil`\n```sh\nrm -rf /\n```";
    input.bundle.version = "=1\u{202e}";
    let made = files(&input).unwrap();
    for file in &made.files {
        assert!(
            file.path.bytes().all(|b| b.is_ascii_graphic()),
            "{}",
            file.path
        );
        assert!(
            !file.path.contains("..") && !file.path.contains('$'),
            "{}",
            file.path
        );
    }
    let files = contents(&input);
    assert!(
        !files["INSTALL.md"]
            .lines()
            .any(|line| line.starts_with("rm -rf"))
    );
    assert!(!files["INSTALL.md"].contains('\u{202e}'));
    assert_eq!(
        files["INSTALL.md"].matches("\n```sh\n").count(),
        files["INSTALL.md"].matches("\n```\n").count()
    );
    let name = &yaml_documents(&files["openshift-idms.yaml"])[0]["metadata"]["name"];
    assert_eq!(name, "evil-sh-rm-rf");
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let mut moved = images(&PAIRS);
    let charts = [chart("a", json!({"image": "quay.io/acme/app:v1"}))];
    let first = contents(&with_prefix(&moved, &charts));
    moved.reverse();
    assert_eq!(first, contents(&with_prefix(&moved, &charts)));
}
