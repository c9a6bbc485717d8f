//! Media types that mean something to this program; all others are carried untouched.

/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker manifest list, the older form of an index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker schema 1, which is refused: its digest is not the digest of its bytes.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// Docker schema 1 with signatures.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// Configuration of an OCI image.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Configuration of a Docker image.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The empty descriptor's type (image-spec 1.1, "Guidance for an Empty Descriptor").
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Configuration of a Helm chart: `Chart.yaml` as JSON.
pub const HELM_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
/// A packaged Helm chart.
pub const HELM_CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// A packaged Helm chart before Helm 3.7.
pub const HELM_CONTENT_LEGACY: &str = "application/tar+gzip";
/// The provenance file of a packaged Helm chart.
pub const HELM_PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
/// YAML (RFC 9512).
pub const YAML: &str = "application/yaml";
/// What is in a file about which nothing is known.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// Whether a document of this type is an index (OCI) or a manifest list (Docker).
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

/// Whether a document of this type is an image manifest of either family.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Whether this is the configuration of a container image (and not of an artifact).
pub fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Whether content of this type is not distributed by registries, only named by URL: OCI
/// "non-distributable" and Docker "foreign" layers, as Windows base images have them.
pub fn is_foreign_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

/// Whether content of this type is compressed or encrypted already, so that compressing it again
/// is wasted work. Decided from the type alone (bundle format, "Order of members").
pub fn is_stored(media_type: &str) -> bool {
    ["+gzip", ".gzip", "+zstd", ".zstd", "+encrypted"]
        .iter()
        .any(|end| media_type.ends_with(end))
        || media_type.starts_with("application/vnd.cncf.helm.chart.content.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_layers_are_stored() {
        for stored in [
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            assert!(is_stored(stored), "{stored}");
        }
        for plain in [
            "application/vnd.oci.image.layer.v1.tar",
            OCTET_STREAM,
            OCI_CONFIG,
        ] {
            assert!(!is_stored(plain), "{plain}");
        }
    }
}
