use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// `REFERENCE @ OBJECT FIELD`, for every place.
fn places(rendered: &str) -> Vec<String> {
    let found = find_images(rendered).unwrap_or_else(|error| panic!("{error}"));
    found
        .iter()
        .flat_map(|found| {
            let reference = found.reference.to_string();
            let line = move |p: &Place| format!("{reference} @ {} {}", p.object, p.field);
            found.places.iter().map(line).collect::<Vec<_>>()
        })
        .collect()
}

fn references(rendered: &str) -> Vec<String> {
    let found = find_images(rendered).unwrap_or_else(|error| panic!("{error}"));
    found.iter().map(|f| f.reference.to_string()).collect()
}

fn of_object(object: &Value) -> Vec<String> {
    references(&object.to_string())
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

/// A pod with one container that has these fields too.
fn container(more: Value) -> Value {
    let mut container = json!({"name": "c", "image": "quay.io/a/main:v1"});
    for (key, value) in more.as_object().unwrap() {
        container[key] = value.clone();
    }
    pod(json!({"containers": [container]}))
}

fn beside(object: &Value) -> Vec<String> {
    let mut all = of_object(object);
    all.retain(|r| r != "quay.io/a/main:v1");
    all
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

fn custom(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec})
}

#[test]
fn a_place_is_template_object_and_field() {
    let rendered = "---\n# Source: app/templates/d.yaml\napiVersion: apps/v1\nkind: Deployment\n\
        metadata: {name: web, namespace: shop}\nspec:\n  template:\n    spec:\n      \
        initContainers: [{name: i, image: alpine}]\n      containers:\n      - name: w\n        image: quay.io/a/w:v1\n\
        ---\n# Source: app/templates/j.yaml\napiVersion: batch/v1\nkind: Job\nmetadata: {generateName: j-}\n\
        spec: {template: {spec: {containers: [{name: x, image: 'quay.io/a/w:v1'}]}}}\n";
    assert_eq!(
        places(rendered),
        [
            "docker.io/library/alpine:latest @ Deployment/shop/web spec.template.spec.initContainers[0].image",
            "quay.io/a/w:v1 @ Deployment/shop/web spec.template.spec.containers[0].image",
            "quay.io/a/w:v1 @ Job/j- spec.template.spec.containers[0].image",
        ]
    );
    let found = find_images(rendered).unwrap();
    assert_eq!(found[1].places[1].template, "app/templates/j.yaml");
    assert_eq!(
        found[1].places[0].to_string(),
        "app/templates/d.yaml: Deployment/shop/web spec.template.spec.containers[0].image"
    );
}

#[test]
fn pods_of_every_kind_at_any_depth() {
    let containers = json!([{"name": "c", "image": "a/b:1"}]);
    for object in [
        pod(json!({"containers": containers})),
        pod(json!({"containers": [], "ephemeralContainers": containers})),
        json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": containers}}}}}}),
        custom(json!({"deep": [{"podTemplate": {"spec": {"initContainers": containers}}}]})),
        custom(json!({"containers": [{"name": "c", "image": "docker.io/a/b:1"}]})),
        pod(json!({"containers": [], "volumes": [{"name": "v", "image": {"reference": "a/b:1"}}]})),
        json!({"apiVersion": "v1", "kind": "List", "items": [pod(json!({"containers": containers}))]}),
        json!({"apiVersion": "v1", "kind": "PodList", "items": [pod(json!({"containers": containers}))]}),
    ] {
        assert_eq!(of_object(&object), ["docker.io/a/b:1"], "{object}");
    }
}

#[test]
fn fields_that_name_an_image() {
    for (spec, expected) in [
        (
            json!({"image": "quay.io/ceph/ceph:v20"}),
            "quay.io/ceph/ceph:v20",
        ),
        (json!({"imageName": "ghcr.io/a/pg:16"}), "ghcr.io/a/pg:16"),
        (json!({"pooler_image": "a/b:1"}), "docker.io/a/b:1"),
        (
            json!({"cephVersion": {"image": "a/b:1"}}),
            "docker.io/a/b:1",
        ),
        (
            json!({"image": {"repository": "a/b", "tag": 16}}),
            "docker.io/a/b:16",
        ),
        (
            json!({"image": {"name": "a/b", "tag": "v1"}}),
            "docker.io/a/b:v1",
        ),
        (
            json!({"images": [{"name": "a/b", "tag": "v1"}]}),
            "docker.io/a/b:v1",
        ),
        (json!({"images": ["a/b:v1"]}), "docker.io/a/b:v1"),
        (json!({"images": {"web": "a/b:v1"}}), "docker.io/a/b:v1"),
        (
            json!({"repository": "nvcr.io/nvidia", "image": "toolkit", "version": "v1"}),
            "nvcr.io/nvidia/toolkit:v1",
        ),
        (json!({"extraArgs": ["--x=a/b:v1"]}), "docker.io/a/b:v1"),
        (
            json!({"args": {"collector-image": "a/b:v1"}}),
            "docker.io/a/b:v1",
        ),
        (
            json!({"source": {"registry": {"url": "docker://a/b:v1"}}}),
            "docker.io/a/b:v1",
        ),
        (
            json!({"steps": [{"name": "s", "image": "alpine"}]}),
            "docker.io/library/alpine:latest",
        ),
        (
            json!({"templates": [{"container": {"image": "docker/whalesay", "args": ["x"]}}]}),
            "docker.io/docker/whalesay:latest",
        ),
        (
            json!({"global": {"hub": "r.io/t", "tag": "1.2", "proxy": {"image": "proxyv2"}}}),
            "r.io/t/proxyv2:1.2",
        ),
    ] {
        assert_eq!(of_object(&custom(spec.clone())), [expected], "{spec}");
    }
}

#[test]
fn arguments_and_variables() {
    let env = |pairs: &[(&str, &str)]| {
        let items: Vec<Value> = pairs
            .iter()
            .map(|(n, v)| json!({"name": n, "value": v}))
            .collect();
        json!({ "env": items })
    };
    for (more, expected) in [
        (
            json!({"args": ["--reloader=quay.io/a/b:v1"]}),
            "quay.io/a/b:v1",
        ),
        (
            json!({"args": ["--nats-image=nats:2.10"]}),
            "docker.io/library/nats:2.10",
        ),
        (
            json!({"args": ["--nats-image", "nats:2.10"]}),
            "docker.io/library/nats:2.10",
        ),
        (
            json!({"command": ["sh", "-c", "run -image \"quay.io/a/b:v1\" \\\n  # x/y:v9\n"]}),
            "quay.io/a/b:v1",
        ),
        (env(&[("X", "4.2=quay.io/a/k:v1\n")]), "quay.io/a/k:v1"),
        (
            env(&[("RELATED_IMAGE_X", "busybox:1")]),
            "docker.io/library/busybox:1",
        ),
        (
            env(&[("P_IMAGE", "quay.io/a/b"), ("P_IMAGE_TAG", "v1")]),
            "quay.io/a/b:v1",
        ),
    ] {
        assert_eq!(beside(&container(more.clone())), [expected], "{more}");
    }
    let object = container(env(&[("X", "1"), ("Y_IMAGE", "a/b:1")])).to_string();
    assert!(
        places(&object)
            .contains(&"docker.io/a/b:1 @ Pod/p spec.containers[0].env[1].value".to_owned()),
        "{:?}",
        places(&object)
    );
}

#[test]
fn text_in_config_maps_and_secrets() {
    for (data, expected) in [
        (
            json!({"SIDECAR_IMAGE": "a/b:1"}),
            "docker.io/a/b:1 @ ConfigMap/c data.SIDECAR_IMAGE",
        ),
        (
            json!({"plugin": "quay.io/a/b:v1"}),
            "quay.io/a/b:v1 @ ConfigMap/c data.plugin",
        ),
        (
            json!({"t.repository": "quay.io/a/b", "t.tag": "1"}),
            "quay.io/a/b:1 @ ConfigMap/c data[\"t.repository\"]",
        ),
        (
            json!({"a.yaml": "# x/y:v1\nx:\n- natsImage: nats:2\n"}),
            "docker.io/library/nats:2 @ ConfigMap/c data[\"a.yaml\"]#x[0].natsImage",
        ),
        (
            json!({"a": "a: 1\n---\nb: {image: \"a/b:1\"}\n"}),
            "docker.io/a/b:1 @ ConfigMap/c data.a#1#b.image",
        ),
        (
            json!({"a": "{\"x\": [\"quay.io/a/b:v1\"]}"}),
            "quay.io/a/b:v1 @ ConfigMap/c data.a#x[0]",
        ),
        (
            json!({"pod.yaml": "spec:\n  containers:\n  - name: x\n    image: alpine\n"}),
            "docker.io/library/alpine:latest @ ConfigMap/c data[\"pod.yaml\"]#spec.containers[0].image",
        ),
        (
            json!({"run.sh": "#!/bin/sh\n# old: quay.io/a/b:v0\nfoo: {{ x\n  image: busybox:1.28\n"}),
            "docker.io/library/busybox:1.28 @ ConfigMap/c data[\"run.sh\"]",
        ),
        (
            json!({"outer": "inner: |\n  image: a/b:1\n"}),
            "docker.io/a/b:1 @ ConfigMap/c data.outer#inner#image",
        ),
    ] {
        assert_eq!(
            places(&config_map(data.clone()).to_string()),
            [expected],
            "{data}"
        );
    }
    // `image: a/b:1` in base64, and as text.
    for fields in [
        json!({"data": {"x": "aW1hZ2U6IGEvYjox", "y": "/////w=="}}),
        json!({"stringData": {"x": "image: a/b:1"}}),
    ] {
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
        for (key, value) in fields.as_object().unwrap() {
            secret[key] = value.clone();
        }
        assert_eq!(of_object(&secret), ["docker.io/a/b:1"], "{secret}");
    }
}

#[test]
fn what_is_no_image_is_not_found() {
    for object in [
        container(
            json!({"args": ["--addr=0.0.0.0:8080", "--log=default:info,x:debug", "x.svc:15012"]}),
        ),
        container(json!({"env": [
            {"name": "XDS", "value": "istiod.istio-system.svc:15012"},
            {"name": "URL", "value": "http://web.shop:80/a:1"},
            {"name": "TIGERA_OPERATOR_INIT_IMAGE_VERSION", "value": "master"},
            {"name": "FROM", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "IMAGE_PULL_POLICY", "value": "Always"},
        ]})),
        config_map(json!({
            "plugins.txt": "git:5.10.1\nworkflow:608.v67378e9d3db_1\n",
            "rules.json": "{\"expr\": \"instance:node_cpu:rate5m\", \"time\": \"10:00\"}",
            "x.json.example": "{\"image\": \"clickhouse/server:23.8\"}",
            "tcp": "default/service:8080",
            "REGISTRY_URL": "http://harbor-registry:5000",
            "go": "pkg/file.go:123",
        })),
        config_map(json!({"crd.yaml":
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec:\n  image: a/b:1\n"})),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "x:system:auth-delegator",
                "labels": {"app.kubernetes.io/version": "1.2", "image": "v1"},
                "annotations": {"checksum/config": "0a".repeat(32), "node.kubernetes.io/x": "a:1"}},
            "roleRef": {"name": "system:auth-delegator"}}),
        custom(
            json!({"source": {"repository": "https://x/charts", "version": "1.2"},
            "git": {"repository": "org/repo", "tag": "v1"}, "image": "gpu-operator", "baseImage": "{{ .x }}",
            "imageFeatures": "a/b:1", "backingImage": "", "imagePullSecrets": [{"name": "a/b:1"}],
            "expr": "a:b:c", "pattern": {"containers": [{"name": "x", "image": "!*:latest"}]}}),
        ),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "x"}, "spec": {"image": "a/b:1"}}),
    ] {
        assert_eq!(beside(&object), Vec::<String>::new(), "{object}");
    }
}

#[test]
fn a_workload_without_a_valid_image_is_an_error_that_says_where() {
    for (image, message) in [
        (
            json!("Not An Image"),
            "the repository path must be lower case",
        ),
        (json!(" quay.io/a/b:1"), "is not an image reference"),
        (json!(""), "the container has no image"),
        (json!(null), "the container has no image"),
        (json!(7), "the image is not text"),
    ] {
        let object = pod(json!({"containers": [{"name": "c", "image": image}]}));
        let error = find_images(&object.to_string()).unwrap_err();
        assert!(error.hint().is_some());
        let error = error.to_string();
        assert!(error.contains("Pod/p spec.containers[0].image"), "{error}");
        assert!(
            error.contains(message) || error.contains("image reference"),
            "{error}"
        );
        // In a custom resource it may be the operator's business.
        let object = custom(json!({"containers": [{"name": "c", "image": image}]}));
        assert_eq!(of_object(&object), Vec::<String>::new());
    }
    let many: Vec<Value> = (0..30).map(|i| json!({"name": format!("c{i}")})).collect();
    let error = find_images(&pod(json!({"containers": many})).to_string()).unwrap_err();
    let DiscoverError::Images(all) = &error else {
        panic!("{error}");
    };
    assert_eq!(all.len(), 30);
    assert!(error.to_string().ends_with("and 10 more"), "{error}");
}

#[test]
fn what_is_not_certain_is_shown_and_not_taken() {
    let unsure = |object: &Value| -> Vec<String> {
        let discovery = discover(&object.to_string()).unwrap();
        assert_eq!(discovery.found, []);
        discovery
            .unsure
            .iter()
            .map(|u| format!("{}: {}", u.text, u.why))
            .collect()
    };
    assert_eq!(
        unsure(&config_map(
            json!({"trivy.dbRepository": "mirror.gcr.io/aquasec/trivy-db"})
        )),
        ["mirror.gcr.io/aquasec/trivy-db: it has neither tag nor digest"]
    );
    let gateway = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {
        "metadata": {"annotations": {"inject.istio.io/templates": "gateway"}},
        "spec": {"containers": [{"name": "istio-proxy", "image": "auto"}]}}}});
    assert_eq!(
        unsure(&gateway),
        ["auto: Istio's webhook puts its proxy in its place"]
    );
    assert_eq!(
        unsure(&custom(json!({"baseImage": "quay.io/a/b", "image": "b/c"}))),
        [
            "b/c: it has neither tag nor digest",
            "quay.io/a/b: it has neither tag nor digest"
        ]
    );
    let image_set = json!({"apiVersion": "operator.tigera.io/v1", "kind": "ImageSet", "spec": {"images": [
        {"image": "calico/node", "digest": format!("sha256:{}", "0a".repeat(32))}]}});
    let pinned = format!("calico/node@sha256:{}", "0a".repeat(32));
    assert_eq!(
        unsure(&image_set),
        [format!("{pinned}: the operator puts its registry in front")]
    );
    let driver = json!({"apiVersion": "nvidia.com/v1", "kind": "ClusterPolicy", "spec": {"driver":
        {"repository": "nvcr.io/nvidia", "image": "driver", "version": "595.91"}}});
    assert_eq!(
        unsure(&driver),
        ["nvcr.io/nvidia/driver:595.91: the operator adds the nodes' operating system to the tag"]
    );
}

#[test]
fn documents_that_are_no_objects_are_errors() {
    for (text, message) in [
        (
            "---\n# Source: a/b.yaml\n- x\n",
            "a/b.yaml: document 1 is a list, not a Kubernetes object",
        ),
        (
            "just text",
            "the rendered objects: document 1 is a plain value, not a Kubernetes object",
        ),
    ] {
        assert_eq!(find_images(text).unwrap_err().to_string(), message);
    }
    let broken = "---\n# Source: a/ok.yaml\nkind: A\n---\n# Source: a/b.yaml\nkind: [\n";
    let error = find_images(broken).unwrap_err().to_string();
    assert!(
        error.starts_with("a/b.yaml: ") && error.contains("document 2"),
        "{error}"
    );
    assert!(matches!(
        find_images(&" ".repeat(MAX_RENDERED + 1)),
        Err(DiscoverError::TooLarge { .. })
    ));
    assert_eq!(find_images("---\n# Source: a\n\n---\n").unwrap(), []);
}

#[test]
fn a_reference_is_found_once_with_all_its_places() {
    let object = pod(json!({"containers": [
        {"name": "a", "image": "alpine:3"},
        {"name": "b", "image": "docker.io/library/alpine:3", "args": ["--image=index.docker.io/library/alpine:3"]},
    ]}));
    let found = find_images(&object.to_string()).unwrap();
    assert_eq!(found.len(), 1);
    let fields: Vec<&str> = found[0].places.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.containers[0].image",
            "spec.containers[1].args[0]",
            "spec.containers[1].image"
        ]
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\PC|[\n\t:{}\\[\\]\"'#&*|>-]){0,200}") {
        let _ = discover(&text);
        let wrapped = config_map(json!({"x": text, "image": text})).to_string();
        prop_assert!(discover(&wrapped).is_ok());
        let wrapped = container(json!({"args": [text], "env": [{"name": text, "value": text}]})).to_string();
        prop_assert!(discover(&wrapped).is_ok());
    }

    #[test]
    fn what_is_planted_is_found(
        host in "[a-z]{1,6}\\.(io|dev|example\\.com)(:[1-9][0-9]{2,3})?",
        path in "[a-z]{2,8}(/[a-z0-9]{1,3}[a-z]-[a-z]{2,8}){1,2}",
        tag in "v[0-9]{1,2}\\.[0-9]{1,2}(-[a-z]{1,4})?",
        key in "[a-z]{1,6}",
        depth in 0_usize..6,
    ) {
        let image = format!("{host}/{path}:{tag}");
        let (repository, registry) = (format!("{host}/{path}"), &host);
        let mut spec = json!({"containers": [{"name": "c", "image": image}]});
        for _ in 0..depth {
            spec = json!({ &key: [spec] });
        }
        let nested = custom(spec);
        let mut yaml = format!("image: {image}\n");
        for _ in 0..depth {
            yaml = format!("{key}:\n  {}\n", yaml.trim_end().replace('\n', "\n  "));
        }
        for object in [
            nested,
            config_map(json!({ &key: yaml })),
            config_map(json!({ &key: format!("{key} {{{{ x }}}} --y={image},z") })),
            container(json!({"args": [format!("--{key}={image}")]})),
            container(json!({"env": [{"name": key, "value": image}]})),
            custom(json!({"image": {"repository": repository, "tag": tag}})),
            custom(json!({"registry": registry, "repository": path, "tag": tag})),
            custom(json!({ format!("{key}Image"): image })),
        ] {
            let found = of_object(&object);
            prop_assert!(found.contains(&image), "{} not in {}: {:?}", image, object, found);
        }
    }
}
