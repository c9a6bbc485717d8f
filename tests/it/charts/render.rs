//! What the library renders is what `helm template` renders.

use std::path::Path;

use sneakernet::helm::render::{Helm, HelmError, Rendering, sandbox::Sandbox};

use crate::support::{
    background::block_on,
    helm::{ChartFiles, FakeHelm, HELMS, HelmCli, helm_path},
    tools::{bundle_path, require},
};

fn find(program: &Path) -> Result<Helm, HelmError> {
    let sandbox = Sandbox::reexec(bundle_path());
    block_on(Helm::find_in(Some(program), sandbox))
}

fn helm(name: &str) -> Helm {
    find(&helm_path(name)).unwrap()
}

fn shop() -> ChartFiles {
    let cache = ChartFiles::new("cache", "0.2.0").file(
        "templates/cache.yaml",
        "cache: {{ .Values.image }} for {{ .Release.Name }}\n",
    );
    ChartFiles::new("shop", "1.4.0+build.7")
        .metadata("appVersion: '9.1'\n")
        .file(
            "values.yaml",
            "image: shop\ntag: '1'\ncache: {image: redis}\n",
        )
        .file(
            "templates/web.yaml",
            "web: {{ .Values.image }}:{{ .Values.tag }} in {{ .Release.Namespace }}\n\
             kube: {{ .Capabilities.KubeVersion.Version }}\n\
             monitored: {{ .Capabilities.APIVersions.Has \"monitoring.coreos.com/v1\" }}\n",
        )
        .file(
            "templates/hook.yaml",
            "kind: Job\nmetadata:\n  name: migrate\n  annotations: {helm.sh/hook: pre-install}\n",
        )
        .file(
            "templates/test.yaml",
            "kind: Pod\nmetadata:\n  name: try\n  annotations: {helm.sh/hook: test}\n",
        )
        .file("crds/crd.yaml", "kind: CustomResourceDefinition\n")
        .subchart(&cache)
}

fn values(files: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
        .collect()
}

fn of<'a>(archive: &'a [u8], values: &'a [(String, Vec<u8>)]) -> Rendering<'a> {
    Rendering {
        archive,
        values,
        release: "market",
        namespace: "stalls",
        kube_version: None,
        api_versions: &[],
        tests: false,
    }
}

/// The error of this chart with these values, from each version.
fn errors(chart: &ChartFiles, files: &[(&str, &str)]) -> Vec<HelmError> {
    let (archive, values) = (chart.archive(), values(files));
    let error = |name: &&str| block_on(helm(name).template(&of(&archive, &values))).unwrap_err();
    HELMS.iter().map(error).collect()
}

#[test]
fn both_versions_render_a_chart_with_the_values_in_their_order() {
    require!("helm3", "helm4");
    let archive = shop().archive();
    let values = values(&[
        ("base.yaml", "tag: '2'\nimage: stall\n"),
        ("production.yaml", "tag: '3'\n"),
    ]);
    let api_versions = ["monitoring.coreos.com/v1".to_owned()];
    for name in HELMS {
        let rendering = Rendering {
            kube_version: Some("1.29.4"),
            api_versions: &api_versions,
            ..of(&archive, &values)
        };
        let text = block_on(helm(name).template(&rendering)).unwrap();
        for expected in [
            "web: stall:3 in stalls\n",
            "kube: v1.29.4\n",
            "monitored: true\n",
            "cache: redis for market\n",
            "# Source: shop/charts/cache/templates/cache.yaml\n",
            "name: migrate\n",
        ] {
            assert!(text.contains(expected), "{name}: {expected:?} in\n{text}");
        }
        assert!(!text.contains("name: try"), "{name}: {text}");
        assert!(!text.contains("CustomResourceDefinition"), "{name}: {text}");
    }
}

#[test]
fn the_hooks_of_helm_test_are_there_when_they_are_wanted() {
    require!("helm3", "helm4");
    let archive = shop().archive();
    for name in HELMS {
        let rendering = Rendering {
            tests: true,
            ..of(&archive, &[])
        };
        let text = block_on(helm(name).template(&rendering)).unwrap();
        assert!(text.contains("name: try"), "{name}: {text}");
    }
}

#[test]
fn the_text_is_the_one_that_helm_itself_prints() {
    require!("helm3", "helm4");
    let chart = shop();
    for name in HELMS {
        let cli = HelmCli::new(name);
        let file = cli.home().path().join(chart.archive_name());
        std::fs::write(&file, chart.archive()).unwrap();
        let arguments = [
            "template",
            "market",
            file.to_str().unwrap(),
            "-n",
            "stalls",
            "--skip-tests",
        ];
        let theirs = cli.run(&arguments).success().text();
        let ours = block_on(helm(name).template(&of(&chart.archive(), &[]))).unwrap();
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn the_version_is_in_helms_own_words() {
    require!("helm3", "helm4");
    for (name, start) in [("helm3", "v3."), ("helm4", "v4.")] {
        let helm = helm(name);
        assert!(helm.version().starts_with(start), "{helm:?}");
        assert_eq!(helm.program(), helm_path(name));
    }
}

#[test]
fn a_chart_that_wants_values_says_which() {
    require!("helm3", "helm4");
    let chart = ChartFiles::new("shop", "1.0.0").file(
        "templates/x.yaml",
        "a: {{ required \"host is required\" .Values.host }}\n",
    );
    for error in errors(&chart, &[]) {
        assert_eq!(
            error.to_string(),
            "the chart of release `market` does not render: \
             execution error at (shop/templates/x.yaml:1:6): host is required"
        );
        assert!(error.hint().unwrap().contains("--values FILE"));
    }
}

#[test]
fn a_broken_values_file_is_named_as_the_user_knows_it() {
    require!("helm3", "helm4");
    for error in errors(
        &shop(),
        &[("a.yaml", "tag: '1'\n"), ("stage/b.yaml", "tag: [\n")],
    ) {
        let message = error.to_string();
        assert!(
            message.contains("failed to parse stage/b.yaml: "),
            "{message}"
        );
        assert!(!message.contains("values-1"), "{message}");
    }
}

#[test]
fn values_that_the_schema_refuses_and_versions_that_do_not_fit_are_explained() {
    require!("helm3", "helm4");
    let schema = r#"{"type": "object", "properties": {"tag": {"type": "string"}}}"#;
    for error in errors(
        &shop().file("values.schema.json", schema),
        &[("v.yaml", "tag: 5\n")],
    ) {
        let message = error.to_string();
        assert!(message.contains("tag"), "{message}");
        assert!(message.contains("schema"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
    let modern = shop().metadata("kubeVersion: '>=1.99.0'\n");
    for error in errors(&modern, &[]) {
        assert!(error.hint().unwrap().contains("--kube-version"), "{error}");
    }
    let lacking = shop().metadata("dependencies: [{name: queue, version: 1.x}]\n");
    for error in errors(&lacking, &[]) {
        assert!(error.to_string().contains("queue"), "{error}");
        assert!(
            error.hint().unwrap().contains("helm dependency build"),
            "{error}"
        );
    }
}

#[test]
fn what_is_no_chart_is_refused_without_the_paths_of_temporary_files() {
    require!("helm3", "helm4");
    for name in HELMS {
        let error = block_on(helm(name).template(&of(b"not a chart", &[]))).unwrap_err();
        let message = error.to_string();
        assert!(
            matches!(error, HelmError::DoesNotRender { .. }),
            "{message}"
        );
        for path in ["/tmp", "bundle-helm", "chart.tgz"] {
            assert!(!message.contains(path), "{message}");
        }
    }
}

#[test]
fn names_that_look_like_flags_are_names() {
    require!("helm3", "helm4");
    let archive = shop().archive();
    for name in HELMS {
        let rendering = Rendering {
            release: "--version",
            ..of(&archive, &[])
        };
        let error = block_on(helm(name).template(&rendering)).unwrap_err();
        assert!(
            error.to_string().contains("invalid release name"),
            "{error}"
        );
    }
}

#[test]
fn versions_that_are_not_supported_are_refused_before_anything_is_rendered() {
    for version in ["v2.17.0", "v3.9.4"] {
        let fake = FakeHelm::of_version(version, "echo rendered");
        let found = find(&fake.program());
        let error = found.unwrap_err();
        assert!(error.to_string().contains(version), "{error}");
        assert!(error.hint().unwrap().contains("discover: none"));
    }
    let fake = FakeHelm::of_version("Docker version 27.1, build 6312585", "");
    let found = find(&fake.program());
    assert!(matches!(found, Err(HelmError::NotHelm { .. })));
}
