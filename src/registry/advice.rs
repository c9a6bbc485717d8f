//! What to do about a failure: by what it is, and for a registry that will not have something, by what
//! registry it is.

use std::time::Duration;

use reqwest::StatusCode;

use super::{
    error::{Asked, ConnectionFault, RegistryError, ServerMessage, UNENCRYPTED, WITH_USER},
    origin::{CLEAR_CREDENTIALS, DOWNGRADE},
};

/// From this pause on, what a server asks for is more than a moment.
const PATIENCE: Duration = Duration::from_secs(60);

impl RegistryError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::CaFile { .. } => "--ca-file takes a file with PEM certificates",
            Self::Certificate { .. } => {
                "a client certificate and its key are two PEM files, the key not encrypted: --client-cert with \
                 --client-key, or NAME.cert with NAME.key in certs.d/HOST, where *.crt are authorities"
            }
            Self::Host(_) => "leave out `https://` and any path",
            Self::Credentials(error) => return error.hint(),
            Self::Connection { fault, detail, .. } => return connection_hint(*fault, detail),
            Self::Status {
                retry_after: Some(pause),
                ..
            } if *pause > PATIENCE => {
                return Some(format!(
                    "the server asks to be left alone for {} s: try again then, or permit the wait with --retry-budget",
                    pause.as_secs()
                ));
            }
            Self::Status {
                asked,
                status,
                server,
                ..
            } => return status_hint(asked, *status, server),
            Self::Token {
                registry, status, ..
            } => match status.map(|s| s.as_u16()) {
                Some(401 | 403) => {
                    return Some(format!(
                        "log in, or check user name and password (`bundle login {registry}`)"
                    ));
                }
                _ => return None,
            },
            Self::UnsupportedAuth { .. } => "Basic and Bearer authentication are supported",
            Self::Address { reason, .. } => return address_hint(reason),
            Self::RealmRefused { reason, .. } => match *reason {
                CLEAR_CREDENTIALS => "name that host with --plain-http, if that is meant",
                DOWNGRADE => {
                    "have the registry name its token service with https; behind a proxy that ends TLS, have it send \
                     X-Forwarded-Proto"
                }
                _ => "this is no address for a token service: ask whoever runs the registry",
            },
            Self::UploadLocation { .. } => {
                "behind a proxy that ends TLS, the registry must be told its outer address: have the proxy send \
                 X-Forwarded-Proto and Host, or set the registry's external URL"
            }
            Self::NotARegistry { .. } => {
                "check host and port; a proxy or a login page may have answered in its place"
            }
            Self::AlgorithmRefused { .. } => {
                "registries need not take any digests but sha256: load into one that does, or have the image built \
                 with sha256 digests"
            }
            Self::ReferrersTag { .. } => {
                "look at what the tag points to; loading again adds what is missing to the list"
            }
            Self::RangeIgnored { .. } => "fetch the whole blob instead",
            Self::Schema1 { .. } => {
                "copy the image with a current tool, which converts it, or ask its publisher for a current build"
            }
            Self::ChunkedUnsupported { .. } => {
                "load from a file instead of a pipe: then a blob can be sent again from its start"
            }
            Self::UploadLost { .. } => {
                "some registries forget an upload whose connection breaks: look what stands between, or try more \
                 often (--retries)"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

fn address_hint(reason: &str) -> Option<String> {
    let text = match reason {
        UNENCRYPTED => "use https, or name the host with --plain-http if that is meant",
        WITH_USER => "leave the user name out of the address: credentials are kept by host name",
        _ => return None,
    };
    Some(text.to_owned())
}

fn connection_hint(fault: ConnectionFault, detail: &str) -> Option<String> {
    let text = match fault {
        ConnectionFault::Name => "check the spelling of the host and the name service",
        ConnectionFault::Unreachable | ConnectionFault::ConnectTimeout => {
            "check host, port, firewall and proxy settings"
        }
        // What rustls says when the peer answers a handshake with text.
        ConnectionFault::Tls if detail.contains("InvalidContentType") => {
            "the host seems to speak plain HTTP: name it with --plain-http if that is meant"
        }
        ConnectionFault::ClientCertificate => {
            "show it one with --client-cert and --client-key, or keep it in certs.d/HOST"
        }
        ConnectionFault::Tls => "TLS 1.2 and 1.3 are spoken",
        ConnectionFault::Certificate => {
            "if the registry has a private certificate authority, name its certificate with --ca-file"
        }
        ConnectionFault::Broken | ConnectionFault::Stalled => return None,
    };
    Some(text.to_owned())
}

fn status_hint(asked: &Asked, status: StatusCode, server: &ServerMessage) -> Option<String> {
    let code = server.code.as_deref().unwrap_or_default();
    let message = server.message.as_deref().unwrap_or_default();
    let text = match (status.as_u16(), code) {
        (_, "MANIFEST_BLOB_UNKNOWN") => {
            "the registry misses something that the manifest names; where that is an image of another platform, its \
             setting `validation.manifests.indexes.platforms: none` (Distribution) permits it"
        }
        (400, _) if message.contains("urls") => {
            "layers with URLs are refused: permit them with `validation.manifests.urls.allow` (Distribution)"
        }
        // The same thing has another of these on each registry.
        (401 | 403, _) | (404, "NAME_UNKNOWN" | "NOT_FOUND") => return Some(asked.refused()),
        (412, _) => "the tag may be immutable",
        (413, _) => {
            "a proxy in front of the registry limits the size of requests (nginx: client_max_body_size)"
        }
        (429, _) => "the registry limits requests: log in, wait, or lower --concurrency",
        (507, _) => "the registry's storage is full or over its quota",
        _ => return None,
    };
    Some(text.to_owned())
}

/// For a push that was refused or went to a name that the registry does not know: most say one for
/// the other. `registry` as `bundle login` takes it, `path` of the repository.
pub(super) fn push_refused(registry: &str, path: &str) -> String {
    if is_ecr(registry) {
        return format!(
            "the repository `{path}` does not exist or you may not push to it: create it with \
             `aws ecr create-repository --repository-name {path}`, or log in with \
             `aws ecr get-login-password | bundle login {registry} --username AWS --password-stdin`"
        );
    }
    let missing = match path.split_once('/') {
        Some((project, _)) => format!("project `{project}`"),
        None => format!("repository `{path}`"),
    };
    format!(
        "the {missing} does not exist or you may not push to it: create it (Harbor, Quay, Artifactory), \
         or log in as a user who may push with `bundle login {registry}`"
    )
}

/// For a read that was refused or asked for a name that the registry does not know.
pub(super) fn pull_refused(registry: &str) -> String {
    format!(
        "not found or not permitted: check the name, and log in (`bundle login {registry}`) if it is not public"
    )
}

/// Amazon's registry: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, which makes no repository by itself.
fn is_ecr(host: &str) -> bool {
    let amazon = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"));
    amazon.is_some_and(|rest| rest.contains(".dkr.ecr.") || rest.contains(".dkr.ecr-fips."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q17_advice_names_what_is_missing() {
        let text = push_refused("harbor.lab:8443", "tigera/cni");
        assert!(text.contains("project `tigera` does not exist or you may not push"));
        assert!(text.contains("`bundle login harbor.lab:8443`"), "{text}");
        assert!(push_refused("r.lab", "alpine").contains("repository `alpine`"));
        for host in [
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
            "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        ] {
            let text = push_refused(host, "tigera/cni");
            let command = "`aws ecr create-repository --repository-name tigera/cni`";
            assert!(text.contains(command) && text.contains(host), "{text}");
        }
        for host in [
            "s3.eu-central-1.amazonaws.com",
            "a.dkr.ecr.b.amazonaws.com.evil.example",
        ] {
            assert!(!push_refused(host, "a/b").contains("aws ecr"), "{host}");
        }
    }
}
