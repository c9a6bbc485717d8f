//! What a key means and whether a piece of text is certainly an image reference.

use crate::oci::Reference;

/// Splits a key at separators and humps: `CSI_ATTACHER_IMAGE`, `csiAttacherImage` and
/// `csi.attacher-image` are the same three words, in lower case.
pub(super) fn words(key: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut lower_before = false;
    for letter in key.chars().take(256) {
        if !letter.is_ascii_alphanumeric() {
            flush(&mut words, &mut word);
            lower_before = false;
            continue;
        }
        if letter.is_ascii_uppercase() && lower_before {
            flush(&mut words, &mut word);
        }
        lower_before = !letter.is_ascii_uppercase();
        word.push(letter.to_ascii_lowercase());
    }
    flush(&mut words, &mut word);
    words
}

fn flush(words: &mut Vec<String>, word: &mut String) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// Whether a key says that its value is an image: `image`, `*Image`, `*_IMAGE`, `imageName`,
/// `imageRef`, `imageReference`, `RELATED_IMAGE_*`.
pub(super) fn names_an_image(key: &str) -> bool {
    let words = words(key);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    matches!(
        words.as_slice(),
        [.., "image"]
            | [.., "image", "name" | "ref" | "reference"]
            // What the Operator Framework calls the variables of an operator's images.
            | ["related", "image", _, ..]
    )
}

/// A reference as it is written, before anything is filled in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'t> {
    /// Host and path.
    pub name: &'t str,
    pub tag: Option<&'t str>,
    pub digest: Option<&'t str>,
}

impl<'t> Written<'t> {
    pub fn of(text: &'t str) -> Self {
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) => (text, Some(digest)),
            None => (text, None),
        };
        let last = text.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match text[last..].split_once(':') {
            Some((end, tag)) => (&text[..last + end.len()], Some(tag)),
            None => (text, None),
        };
        Self { name, tag, digest }
    }

    /// Whether the reference says which version it means.
    pub fn is_exact(&self) -> bool {
        self.tag.is_some() || self.digest.is_some()
    }

    /// The part before the first slash, where it can only be a host: `HOST.DOMAIN`, `HOST:PORT`, `localhost`.
    pub fn host(&self) -> Option<&'t str> {
        let (first, _) = self.name.split_once('/')?;
        (first.contains(['.', ':']) || first == "localhost").then_some(first)
    }
}

/// The value of a field whose key [names an image](names_an_image): taken when it is a reference with a
/// tag or a digest, however short (`nats:2.10`), and not `HOST:PORT`.
pub(super) fn in_image_field(text: &str) -> Option<Reference> {
    let text = text.strip_prefix("docker://").unwrap_or(text);
    let written = Written::of(text);
    let address = !written.name.contains('/')
        && written.digest.is_none()
        && (written.name.contains('.') || written.name == "localhost");
    if !written.is_exact() || address {
        return None;
    }
    text.parse().ok()
}

/// Tags without a digit that are nevertheless tags.
const WORDS_OF_TAGS: [&str; 24] = [
    "latest",
    "master",
    "main",
    "stable",
    "edge",
    "nightly",
    "dev",
    "devel",
    "develop",
    "head",
    "canary",
    "current",
    "release",
    "snapshot",
    "preview",
    "testing",
    "unstable",
    "lts",
    "alpine",
    "slim",
    "debug",
    "nonroot",
    "distroless",
    "rc",
];

/// Hosts under which code lies, not images: `github.com/OWNER/REPOSITORY:TAG` is a checkout.
const HOSTS_OF_CODE: [&str; 4] = ["github.com", "gitlab.com", "bitbucket.org", "gopkg.in"];

/// Whether a host is known to be no registry: where code lies, and the domains of Kubernetes' labels.
pub(super) fn is_no_registry(host: &str) -> bool {
    HOSTS_OF_CODE.contains(&host)
        || host == "k8s.io"
        || host == "kubernetes.io"
        || host.ends_with(".kubernetes.io")
        || host.ends_with(".x-k8s.io")
}

/// A word of free text (an argument, the value of a variable, a line of a script), taken only where it
/// can be nothing else: of the grammar, with a path, and with a digest or with a tag that looks like one.
pub(super) fn in_free_text(token: &str) -> Option<Reference> {
    let token = token.strip_prefix("docker://").unwrap_or(token);
    let token = token.trim_end_matches(['.', ':', '!', '?']);
    let written = Written::of(token);
    let host = written.host();
    if !written.name.contains('/') || host.is_some_and(is_no_registry) {
        return None;
    }
    let parts = written.name.split('/').count();
    match (written.digest, written.tag) {
        (Some(_), _) => {}
        (None, None) => return None,
        (None, Some(tag)) => {
            if !looks_like_a_tag(tag) {
                return None;
            }
            // `NAMESPACE/SERVICE:PORT`, `FILE:LINE`, `nvidia.com/gpu:1`: a bare number needs a name that
            // only an image has.
            let number = tag.bytes().all(|b| b.is_ascii_digit());
            if number && !(host == Some("docker.io") || host.is_some() && parts > 2) {
                return None;
            }
        }
    }
    // `apps/v1:…` is an API version.
    if parts == 2 && written.name.rsplit('/').next().is_some_and(is_api_version) {
        return None;
    }
    token.parse().ok()
}

fn looks_like_a_tag(tag: &str) -> bool {
    tag.bytes().any(|b| b.is_ascii_digit())
        || tag
            .split(['.', '-', '_'])
            .any(|word| WORDS_OF_TAGS.contains(&word.to_ascii_lowercase().as_str()))
}

/// `v1`, `v1beta1`, `v2alpha1`.
fn is_api_version(text: &str) -> bool {
    text.strip_prefix('v').is_some_and(|rest| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let rest = rest.trim_end_matches(|c: char| c.is_ascii_digit());
        text.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
            && matches!(rest, "" | "alpha" | "beta")
    })
}

/// What separates the words of free text.
fn separates(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\''
                | '`'
                | '='
                | ','
                | ';'
                | '|'
                | '<'
                | '>'
                | '('
                | ')'
                | '['
                | ']'
                | '{'
                | '}'
                | '\\'
        )
}

/// The words of free text that can be references. A word that touches a placeholder (`${A}b`,
/// `a{{ b }}`) is a part of something that is not known.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let mut before = None;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = rest.find(separates).unwrap_or(rest.len());
            let token = &rest[..end];
            let after = rest[end..].chars().next();
            let opened = before;
            before = after;
            rest = &rest[end + after.map_or(0, char::len_utf8)..];
            let touches = matches!(opened, Some('}' | ')' | ']' | '>'))
                || matches!(after, Some('{' | '(' | '[' | '<'));
            if !token.is_empty() && !touches && token.len() <= 512 && token.contains([':', '@']) {
                return Some(token);
            }
        }
    })
}

/// Lines that are no comment of a script or of a configuration file.
pub(super) fn live_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with('#') && !line.starts_with("//")
    })
}

/// `KEY: VALUE` or `KEY=VALUE` as a line of text that is neither YAML nor JSON.
pub(super) fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim().trim_start_matches("- ").trim_end_matches(',');
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (key, value) = line.split_once([':', '='])?;
    let bare = |text: &str| -> Option<(usize, usize)> {
        let trimmed = text.trim();
        let start = text.len() - text.trim_start().len();
        match trimmed.as_bytes() {
            [b'"', .., b'"'] | [b'\'', .., b'\''] => Some((start + 1, start + trimmed.len() - 1)),
            _ => Some((start, start + trimmed.len())),
        }
    };
    let (a, b) = bare(key)?;
    let (c, d) = bare(value)?;
    let (key, value) = (&key[a..b], &value[c..d]);
    let simple = !key.is_empty() && !value.is_empty() && !value.contains(separates);
    simple.then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_words() {
        for (key, expected) in [
            ("CSI_ATTACHER_IMAGE", "csi attacher image"),
            ("csiAttacherImage", "csi attacher image"),
            ("node.collector.imageRef", "node collector image ref"),
            ("imageURL", "image url"),
            ("", ""),
        ] {
            assert_eq!(words(key).join(" "), expected);
        }
    }

    #[test]
    fn which_keys_name_an_image() {
        for key in [
            "image",
            "Image",
            "baseImage",
            "natsImage",
            "imageName",
            "imageRef",
            "docker_image",
            "SIDECAR_IMAGE",
            "RELATED_IMAGE_X",
            "node.collector.imageRef",
            "image-reference",
        ] {
            assert!(names_an_image(key), "{key}");
        }
        for key in [
            "imagePullPolicy",
            "imagePullSecrets",
            "images",
            "imageTag",
            "imageFeatures",
            "imageID",
            "preimages",
            "repository",
            "imaged",
            "",
        ] {
            assert!(!names_an_image(key), "{key}");
        }
    }

    #[test]
    fn the_value_of_an_image_field_needs_a_tag_or_a_digest() {
        for text in [
            "nats:2.10",
            "nats:latest",
            "quay.io/a/b:x",
            "localhost:5000/a:b",
            "docker://a/b:1",
        ] {
            assert!(in_image_field(text).is_some(), "{text}");
        }
        for text in [
            "gpu-operator",
            "quay.io/a/b",
            "",
            "true",
            "localhost:5000",
            "x.svc:8080",
            "{{ .Image }}",
            "$(IMAGE):1",
            "a b:1",
            "Ubuntu:22",
            "http://x/y:1",
        ] {
            assert!(in_image_field(text).is_none(), "{text}");
        }
    }

    #[test]
    fn free_text_is_taken_only_where_it_can_be_nothing_else() {
        let digest = format!("a/b@sha256:{}", "0a".repeat(32));
        for token in [
            "quay.io/argoproj/argoexec:v4.0.6",
            "otel/collector:0.158.0",
            "mirror.gcr.io/aquasec/trivy-checks:1",
            "docker.io/longhornio/longhorn-engine:master-head",
            "quay.io/strimzi/operator:latest",
            "docker://a/b:v1",
            "a/b:1.2.",
            "docker.io/postgres:16",
            "localhost:5000/a:v1",
            &digest,
        ] {
            assert!(in_free_text(token).is_some(), "{token}");
        }
        for token in [
            "0.0.0.0:8080",
            "x.svc:15012",
            "istiod.istio-system.svc:15012",
            "system:auth-delegator",
            "default:info",
            "localhost:9090",
            "http://host:80/a:1",
            "https://quay.io/a/b:v1",
            "oci://ghcr.io/a/b:1",
            "git:5.10.1",
            "nats:2.10",
            "default/service:8080",
            "pkg/file.go:123",
            "apps/v1:Deployment",
            "batch/v1beta1:x1",
            "node-role.kubernetes.io/master:NoSchedule",
            "kubernetes.io/role:master",
            "nvidia.com/gpu:1",
            "github.com/a/b:v1",
            "arn:aws:iam::123:role/x",
            "instance:node_cpu:rate5m",
            "10.0.0.0/8",
            "fe80::1/64",
            "a/b:never",
            "quay.io/a/b",
            "a/b:",
            "/a/b:1",
            "quay.io/A/b:1",
            "%s/a:1",
            "*/nginx:1.*",
            "",
            "a/b@sha256:12",
            "user@host:22/x",
            "HH:mm:ss",
            "env:MY_POD_IP",
        ] {
            assert!(in_free_text(token).is_none(), "{token}");
        }
    }

    #[test]
    fn words_of_text() {
        let all: Vec<&str> =
            tokens("--a=b/c:1,'d:2' [e:3]\\n\"f@g\" plain ${X}y:1 z:{{v}} $(Q)/r:2").collect();
        assert_eq!(all, ["b/c:1", "d:2", "e:3", "f@g"]);
    }

    #[test]
    fn lines_that_assign() {
        for (line, expected) in [
            ("  image: busybox:1.28", Some(("image", "busybox:1.28"))),
            (
                "- image: \"busybox:1.28\",",
                Some(("image", "busybox:1.28")),
            ),
            ("\"image\": 'a:1'", Some(("image", "a:1"))),
            ("export FOO_IMAGE=a:1", Some(("FOO_IMAGE", "a:1"))),
            ("image: {{ .x }}", None),
            ("image:", None),
            ("\"", None),
            (": x", None),
            ("nothing", None),
        ] {
            assert_eq!(assignment(line), expected, "{line}");
        }
    }
}
