//! What nodes read: containerd's `hosts.toml`, `registries.yaml` of k3s and RKE2, and
//! `registries.conf` of CRI-O and Podman. With these, the original names lead to the registry
//! inside, and to nothing else.

use serde_json::{Map, Value, json};

use super::{
    HandoffFile, Input,
    mirrors::{HostMirror, Mirrors, directory},
    quote, text, yaml,
};

/// All files for nodes.
pub(super) fn files(input: &Input<'_>, mirrors: &Mirrors) -> Vec<HandoffFile> {
    let mut files = Vec::new();
    for (host, mirror) in &mirrors.hosts {
        if let Some(base) = &mirror.base {
            let path = format!("certs.d/{}/hosts.toml", directory(host));
            files.push(text(path, hosts_toml(input, host, base)));
        }
    }
    if !mirrors.hosts.is_empty() {
        files.push(text(
            "registries.yaml".to_owned(),
            registries_yaml(input, mirrors),
        ));
        files.push(text(
            "registries.conf".to_owned(),
            registries_conf(input, mirrors),
        ));
    }
    files
}

/// See "Registry Configuration" in containerd's `docs/hosts.md`. The registry is the `server`
/// too, for behind all mirrors the `server` is asked, and without one the original host would be.
/// (As the `server` alone it would do by the documentation, but containerd 1.6 wants a `host`.)
fn hosts_toml(input: &Input<'_>, host: &str, base: &str) -> String {
    let (registry, path) = base.split_once('/').unwrap_or((base, ""));
    let slash = if path.is_empty() { "" } else { "/" };
    let url = format!("{}://{registry}/v2{slash}{path}", input.to.scheme());
    let url = quote::toml(&url);
    let ca = match input.to.ca_file {
        Some(file) => format!("ca = {}\n", quote::toml(file)),
        None if input.to.plain_http => String::new(),
        None => "# For a private authority: ca = \"/etc/ssl/certs/registry-ca.crt\"\n".to_owned(),
    };
    let settings = format!("capabilities = [\"pull\", \"resolve\"]\noverride_path = true\n{ca}");
    format!(
        "# Images of {host} come from the registry inside, and from nowhere else.\n\
         server = {url}\n{settings}\n[host.{url}]\n{settings}"
    )
}

/// See "Private Registry Configuration" in the documentation of k3s and RKE2.
fn registries_yaml(input: &Input<'_>, mirrors: &Mirrors) -> String {
    let registry = input.to.host;
    let mut hosts = Map::new();
    for (host, mirror) in &mirrors.hosts {
        let mut entry = Map::new();
        let endpoint = format!("{}://{registry}", input.to.scheme());
        entry.insert("endpoint".to_owned(), json!([endpoint]));
        let rewrite = rewrites(mirror);
        if !rewrite.is_empty() {
            entry.insert("rewrite".to_owned(), Value::Object(rewrite));
        }
        hosts.insert(host.clone(), Value::Object(entry));
    }
    let mut document = json!({"mirrors": hosts});
    if let Some(file) = input.to.ca_file {
        document["configs"] = json!({registry: {"tls": {"ca_file": file}}});
    }
    format!(
        "# For k3s: /etc/rancher/k3s/registries.yaml. For RKE2: /etc/rancher/rke2/registries.yaml.\n\
         # Start the nodes with --disable-default-registry-endpoint, and nothing else is asked.\n\
         {}",
        yaml::document(&document)
    )
}

fn rewrites(mirror: &HostMirror) -> Map<String, Value> {
    if let (true, Some(base)) = (mirror.whole, &mirror.base) {
        return match base.split_once('/') {
            Some((_, path)) => {
                let all = ("^(.*)$".to_owned(), Value::from(format!("{path}/$1")));
                Map::from_iter([all])
            }
            None => Map::new(),
        };
    }
    let changed = mirror
        .repositories
        .iter()
        .filter(|(path, place)| *path != place.path());
    changed
        .map(|(path, place)| {
            // Of what a repository path may hold, only the dot means something in an expression.
            (
                format!("^{}$", path.replace('.', r"\.")),
                Value::from(place.path()),
            )
        })
        .collect()
}

/// See containers-registries.conf(5): `location` takes the place of `prefix`.
fn registries_conf(input: &Input<'_>, mirrors: &Mirrors) -> String {
    let mut page =
        "# For /etc/containers/registries.conf.d/: names that start with `prefix` are looked for at\n\
         # `location`, and nowhere else.\n"
            .to_owned();
    let insecure = if input.to.plain_http {
        "insecure = true\n"
    } else {
        ""
    };
    let mut rule = |prefix: &str, location: &str| {
        page.push_str(&format!(
            "\n[[registry]]\nprefix = {}\nlocation = {}\n{insecure}",
            quote::toml(prefix),
            quote::toml(location)
        ));
    };
    for (host, mirror) in &mirrors.hosts {
        if let (true, Some(base)) = (mirror.whole, &mirror.base) {
            rule(host, base);
            continue;
        }
        for (path, place) in &mirror.repositories {
            rule(&format!("{host}/{path}"), &place.to_string());
        }
    }
    if input.to.plain_http {
        rule(input.to.host, input.to.host);
    }
    page
}
