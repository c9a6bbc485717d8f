//! Operators that are known to make pods from images that are compiled into them.
//!
//! Each is here because its source says so; the file is named. Operators that take every image from their
//! environment, arguments or configuration (Strimzi, Longhorn, Rook, Zalando's Postgres operator) are not: there
//! the images are found.

/// An operator that pulls images which no rendered text names.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownOperator {
    /// What people call it.
    pub name: &'static str,
    /// The repository path of its image, without a host.
    pub repository: &'static str,
    /// What it pulls, for a message: `… pulls WHAT`.
    pub pulls: &'static str,
    /// Where to get the list, for a hint.
    pub list: &'static str,
    /// Sets of repository paths: when all of one set are found too, nothing is missing.
    pub(super) covered_by: &'static [&'static [&'static str]],
}

/// All of them.
pub const KNOWN: [KnownOperator; 9] = [
    // tigera/operator cmd/main.go: `--print-images`; pkg/components
    KnownOperator {
        name: "Tigera operator",
        repository: "tigera/operator",
        pulls: "every component of Calico, and of Calico Enterprise where it is installed",
        list: "run its image with `operator --print-images=list`",
        covered_by: &[
            &["calico/node", "calico/typha", "calico/kube-controllers"],
            &["tigera/cnx-node", "tigera/typha", "tigera/kube-controllers"],
        ],
    },
    // elastic/cloud-on-k8s pkg/controller/common/container/container.go
    KnownOperator {
        name: "Elastic Cloud on Kubernetes",
        repository: "eck/eck-operator",
        pulls: "the image of each Elastic Stack application, by the `version` of its resource",
        list: "docker.elastic.co/PRODUCT/PRODUCT:VERSION for each application that is used",
        covered_by: &[],
    },
    // cloudnative-pg/cloudnative-pg pkg/versions/versions.go: DefaultImageName
    KnownOperator {
        name: "CloudNativePG",
        repository: "cloudnative-pg/cloudnative-pg",
        pulls: "its default PostgreSQL image for clusters without `imageName`",
        list: "the release notes of its version, or the `imageName` of your clusters",
        covered_by: &[&["cloudnative-pg/postgresql"]],
    },
    // open-telemetry/opentelemetry-operator internal/config: auto-instrumentation-*-image, target-allocator-image
    KnownOperator {
        name: "OpenTelemetry operator",
        repository: "opentelemetry-operator/opentelemetry-operator",
        pulls: "default images for auto-instrumentation, target allocator and OpAMP bridge",
        list: "its flags `--auto-instrumentation-*-image`, `--target-allocator-image` and \
               `--operator-opamp-bridge-image`",
        covered_by: &[&["autoinstrumentation-java", "target-allocator"]],
    },
    // prometheus-operator/prometheus-operator pkg/operator/defaults.go
    KnownOperator {
        name: "Prometheus operator",
        repository: "prometheus-operator/prometheus-operator",
        pulls: "default images for Prometheus, Alertmanager and ThanosRuler objects without `image`",
        list: "its flags `--prometheus-default-base-image` and the like, or the `image` of your objects",
        covered_by: &[&[
            "prometheus/prometheus",
            "prometheus/alertmanager",
            "thanos/thanos",
        ]],
    },
    // minio/operator pkg/apis/minio.min.io/v2/constants.go: DefaultMinIOImage; pkg/resources/statefulsets/minio-sidecar.go
    KnownOperator {
        name: "MinIO operator",
        repository: "minio/operator",
        pulls: "its sidecar, and a default MinIO image for tenants without `image`",
        list: "quay.io/minio/operator-sidecar of its release, and the `image` of your tenants",
        covered_by: &[&["minio/minio", "minio/operator-sidecar"]],
    },
    // Altinity/clickhouse-operator pkg/model/chi/config/const.go: DefaultClickHouseDockerImage
    KnownOperator {
        name: "ClickHouse operator",
        repository: "altinity/clickhouse-operator",
        pulls: "default images for ClickHouse and Keeper pods without an image",
        list: "the images in the pod templates of your installations",
        covered_by: &[&["clickhouse/clickhouse-server"]],
    },
    // NVIDIA/gpu-operator controllers/object_controls.go: resolveDriverTag
    KnownOperator {
        name: "NVIDIA GPU operator",
        repository: "nvidia/gpu-operator",
        pulls: "the driver with the nodes' operating system in its tag (`VERSION-ubuntu24.04`)",
        list: "nvcr.io/nvidia/driver:VERSION-OS for each operating system of your nodes",
        covered_by: &[&["nvidia/driver"]],
    },
    // grafana/grafana-operator controllers/config/operator_constants.go: GrafanaImage
    KnownOperator {
        name: "Grafana operator",
        repository: "grafana/grafana-operator",
        pulls: "its default Grafana image for Grafana objects without `version`",
        list: "the release notes of its version, or the `version` of your objects",
        covered_by: &[&["grafana/grafana"]],
    },
];
