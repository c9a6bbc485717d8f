use serde_json::json;

use super::*;

fn parse(text: &str) -> Result<Metadata, ChartError> {
    let metadata = Metadata::parse(text.as_bytes())?;
    metadata.check()?;
    metadata.check_repository_name()?;
    Ok(metadata)
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn reads_everything_that_helm_reads() {
    let metadata = parse(
        "apiVersion: v2\nname: demo\nversion: v1.2.3+g1\nappVersion: 1.10\nkubeVersion: '>=1.25'\n\
         description: |\n  Two\n  lines\ntype: library\nhome: https://example.com\nsources: [a, b]\n\
         keywords: [k]\nmaintainers: [{name: Nn, email: e@example.com, url: u}]\nicon: i\n\
         condition: c\ntags: t\ndeprecated: yes\nannotations: {images: \"- x\", n: 12}\n\
         unknown: {a: b}\ndependencies:\n- name: d\n  version: 1.x\n  repository: '@r'\n\
         \x20 condition: d.enabled\n  tags: [x]\n  enabled: true\n  import-values: [data, {child: a, parent: b}]\n\
         \x20 alias: other\n"
                )
    .unwrap();
    assert_eq!(metadata.version, "v1.2.3+g1");
    assert_eq!(metadata.tag(), "v1.2.3_g1");
    assert_eq!(metadata.archive_name(), "demo-v1.2.3+g1.tgz");
    assert_eq!(metadata.app_version.as_deref(), Some("1.1"));
    assert_eq!(metadata.description.as_deref(), Some("Two lines "));
    assert!(metadata.deprecated);
    assert_eq!(metadata.annotations["false"], "12");
    let dependency = &metadata.dependencies[0];
    assert_eq!(dependency.used_as(), "other");
    assert_eq!(
        dependency.import_values,
        [json!("data"), json!({"child": "a", "parent": "b"})]
    );
    assert_eq!(
        metadata.to_go_json(),
        r#"{"name":"demo","home":"https://example.com","sources":["a","b"],"version":"v1.2.3+g1","description":"Two lines ","keywords":["k"],"maintainers":[{"name":"Nn","email":"e@example.com","url":"u"}],"icon":"i","apiVersion":"v2","condition":"c","tags":"t","appVersion":"1.1","deprecated":true,"annotations":{"false":"12","images":"- x"},"kubeVersion":"\u003e=1.25","dependencies":[{"name":"d","version":"1.x","repository":"@r","condition":"d.enabled","tags":["x"],"enabled":true,"import-values":["data",{"child":"a","parent":"b"}],"alias":"other"}],"type":"library"}"#
    );
}

#[test]
fn scalars_become_the_texts_that_helm_makes_of_them() {
    for (written, read) in [
        ("1.10", "1.1"),
        ("'1.10'", "1.10"),
        ("12", "12"),
        ("012", "10"),
        ("0x10", "16"),
        ("1_000", "1000"),
        ("1e3", "1000"),
        ("1234567.5", "1.2345675e+06"),
        ("123456789", "123456789"),
        ("0.00001", "1e-05"),
        ("yes", "true"),
        ("off", "false"),
        ("2026-11-23", "2026-11-23"),
        ("~", ""),
        ("1.2.3", "1.2.3"),
        (
            "\"zero\\u200bwidth\\ttab\\u00a0e\\u0301\"",
            "zerowidth tab e\u{301}",
        ),
    ] {
        let text = format!("name: demo\nversion: 1.0.0\nappVersion: {written}\n");
        assert_eq!(
            parse(&text).unwrap().app_version.unwrap_or_default(),
            read,
            "{written}"
        );
    }
}

#[test]
fn names_must_do_for_helm_and_for_registries() {
    for good in ["a", "kube-prometheus-stack", "a__b", "a.b", "a--b", "0"] {
        parse(&format!("name: '{good}'\nversion: 1.0.0\n")).unwrap();
    }
    for bad in ["Demo", "a_", "-a", "a..b", "a___b", "a.-b"] {
        let message = refused(&format!("name: '{bad}'\nversion: 1.0.0\n"));
        assert!(
            message.contains("cannot be used in a registry"),
            "{bad}: {message}"
        );
    }
    for bad in ["..", ".", "a/b", "a b", "a\\x1b[2J", "é", &"a".repeat(129)] {
        let message = refused(&format!(
            "name: \"{}\"\nversion: 1.0.0\n",
            bad.replace("\\x", "\\u00")
        ));
        assert!(
            message.contains("is not a name for a chart"),
            "{bad}: {message}"
        );
        assert!(message.len() < 250 && !message.contains('\u{1b}'));
    }
    assert_eq!(
        refused("version: 1.0.0\n"),
        "Chart.yaml: the name is missing"
    );
}

#[test]
fn versions_are_those_of_helm() {
    for good in [
        "1",
        "1.2",
        "v1.2.3",
        "0.1.000",
        "1.2.3-rc.1+build.7",
        "01.2.3",
        "1.0.0-0",
    ] {
        parse(&format!("name: demo\nversion: '{good}'\n")).unwrap();
    }
    let long = format!("1.0.0+{}", "a".repeat(128));
    for bad in [
        "", "x", "1.2.3.4", "1.2.3-", "1.2.3+", "../../x", "1.0.0-01", "V1", "1.2.3 ", &long,
    ] {
        assert!(
            refused(&format!("name: demo\nversion: '{bad}'\n")).contains("version"),
            "{bad}"
        );
    }
}

#[test]
fn what_helm_would_refuse_is_refused() {
    let head = "name: demo\nversion: 1.0.0\n";
    for (more, message) in [
        (
            "apiVersion: v3\n",
            "Chart.yaml: apiVersion `v3` is neither v1 nor v2",
        ),
        (
            "type: other\n",
            "Chart.yaml: type `other` is neither application nor library",
        ),
        (
            "maintainers: [~]\n",
            "Chart.yaml: an entry of `maintainers` is not a mapping",
        ),
        (
            "dependencies: [~]\n",
            "Chart.yaml: an entry of `dependencies` is not a mapping",
        ),
        ("keywords: k\n", "Chart.yaml: `keywords` is not a list"),
        (
            "annotations: {a: {}}\n",
            "Chart.yaml: `annotations`: `a` is not a text",
        ),
        (
            "deprecated: 1\n",
            "Chart.yaml: `deprecated` is neither true nor false",
        ),
        (
            "NAME: x\n",
            "Chart.yaml: `NAME` and `name` are one key for Helm",
        ),
        (
            "dependencies: [{name: ../x}]\n",
            "Chart.yaml: `../x` is not a name for a dependency",
        ),
        (
            "dependencies: [{name: a, alias: a/b}]\n",
            "Chart.yaml: dependency `a`: `a/b` is not an alias",
        ),
        (
            "dependencies: [{name: a}, {name: b, alias: a}]\n",
            "Chart.yaml: more than one dependency has the name or alias `a`",
        ),
    ] {
        assert_eq!(refused(&format!("{head}{more}")), message);
    }
    assert!(refused(&format!("{head}---\n{head}")).contains("more than one YAML document"));
    assert!(refused(&format!("{head}name: again\n")).starts_with("Chart.yaml:3:1: "));
    assert_eq!(refused("[]"), "Chart.yaml: the file is not a mapping");
}

#[test]
fn old_charts_have_their_dependencies_in_another_file() {
    let mut metadata = parse("name: demo\nversion: 1.0.0\n").unwrap();
    assert_eq!(metadata.api_version, "v1");
    metadata
        .add_requirements(b"dependencies: [{name: x, version: 1.0.0}]\n")
        .unwrap();
    metadata.add_requirements(b"").unwrap();
    assert_eq!(metadata.dependencies[0].name, "x");
}
