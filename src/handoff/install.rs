//! `INSTALL.md`: the commands, in their order.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{CA_FILE, Findings, Input, kubernetes, quote, values::Release};

/// Writes the page.
pub(super) fn page(
    input: &Input<'_>,
    releases: &[Release<'_>],
    files: &BTreeSet<String>,
    findings: &Findings,
    notes: &[String],
) -> String {
    let mut page = Page::default();
    page.line(&format!(
        "# Installing {} {}",
        quote::code(input.bundle.name),
        quote::code(input.bundle.version)
    ));
    page.paragraph(&format!(
        "Everything of the bundle (root `{}`) is in `{}`: {} and {}. \
         `images.csv` and `images.json` list where each image was and where it is. Run the \
         commands in this directory.",
        input.bundle.root,
        input.to.place(),
        counted(input.images_there().count(), "image"),
        counted(input.charts.len(), "chart")
    ));
    credentials(&mut page, input);
    if !releases.is_empty() {
        charts(&mut page, input, releases);
    }
    if files.contains("imageset.yaml") {
        page.heading("Digests for the Tigera operator (optional)");
        page.paragraph(
            "With an ImageSet the operator pulls by digest. It refuses a set that names an image \
             that it does not know, so compare `imageset.yaml` with what `operator --version` and \
             `operator --print-images=list` print, then:",
        );
        page.commands(&["kubectl apply -f imageset.yaml".to_owned()]);
    }
    if files.contains("registries.yaml") {
        nodes(&mut page, input, files, findings);
    }
    if !notes.is_empty() {
        page.heading("What to know");
        for note in notes {
            page.line(&format!("- {}", note.replace('\n', " ")));
        }
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn heading(&mut self, title: &str) {
        self.line(&format!("\n## {title}\n"));
    }

    fn paragraph(&mut self, text: &str) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
        self.line(text);
    }

    /// No command holds a line break: names with one were refused, and all others are fixed.
    fn commands(&mut self, commands: &[String]) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
        self.line("```sh");
        for command in commands {
            self.line(command);
        }
        self.line("```");
    }
}

fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

fn credentials(page: &mut Page, input: &Input<'_>) {
    let (host, secret) = (quote::shell(input.to.host), quote::shell(input.pull_secret));
    page.heading("Credentials");
    page.paragraph("Log in for Helm; it asks for the password:");
    let connection = connection(input);
    page.commands(&[format!("helm registry login {host}{connection}")]);
    if input.to.plain_http {
        page.paragraph("(Helm 3 has `--insecure` in place of `--plain-http` here.)");
    }
    page.paragraph(&format!(
        "`pull-secret.yaml` makes the secret `{}` in each namespace, without credentials; the last \
         commands fill it from a file, so that no password is on a command line. If the registry \
         lets everybody pull, leave them out.",
        input.pull_secret
    ));
    let mut commands = Vec::new();
    for namespace in kubernetes::namespaces(input) {
        let namespace = quote::shell(namespace);
        commands.push(format!(
            "kubectl create namespace {namespace} --dry-run=client -o yaml | kubectl apply -f -"
        ));
    }
    commands.push("kubectl apply -f pull-secret.yaml".to_owned());
    let connection = match input.to.plain_http {
        true => format!(" --plain-http {host}"),
        false => connection,
    };
    commands.push(format!(
        "bundle login {host} --authfile auth.json{connection}"
    ));
    for namespace in kubernetes::namespaces(input) {
        let namespace = quote::shell(namespace);
        commands.push(format!(
            "kubectl create secret generic {secret} -n {namespace} \
             --type=kubernetes.io/dockerconfigjson --from-file=.dockerconfigjson=auth.json \
             --dry-run=client -o yaml | kubectl apply -f -"
        ));
    }
    commands.push("rm auth.json".to_owned());
    page.commands(&commands);
    page.paragraph(
        "Pods use the secret when their chart is told its name (most have a value \
         `imagePullSecrets`), or when their service account is:",
    );
    let patch = format!(
        r#"{{"imagePullSecrets":[{{"name":"{}"}}]}}"#,
        input.pull_secret
    );
    let commands: Vec<String> = kubernetes::namespaces(input)
        .iter()
        .map(|namespace| {
            format!(
                "kubectl patch serviceaccount default -n {} -p {}",
                quote::shell(namespace),
                quote::shell(&patch)
            )
        })
        .collect();
    page.commands(&commands);
}

fn charts(page: &mut Page, input: &Input<'_>, releases: &[Release<'_>]) {
    page.heading("Charts");
    page.paragraph(
        "In this order. The last values file of each says where the images are; the ones before \
         it are the original ones.",
    );
    let commands: Vec<String> = releases
        .iter()
        .map(|release| command(input, release, false))
        .collect();
    page.commands(&commands);
    page.paragraph("The same by digest, for which nobody has to trust a tag (Helm 3.17 or later):");
    let commands: Vec<String> = releases
        .iter()
        .map(|release| command(input, release, true))
        .collect();
    page.commands(&commands);
    for release in releases {
        if let Some(version) = &release.chart.kube_version {
            page.paragraph(&format!(
                "{} was rendered for Kubernetes {}.",
                quote::code(&release.label),
                quote::code(version)
            ));
        }
    }
}

/// The command that installs a release.
pub(super) fn command(input: &Input<'_>, release: &Release<'_>, by_digest: bool) -> String {
    let chart = release.chart;
    let mut command = format!("helm upgrade --install {} ", quote::shell(&chart.release));
    let oci = format!("oci://{}", chart.destination);
    // Writing to a string cannot fail.
    let _ = match by_digest {
        true => write!(
            command,
            "{}",
            quote::shell(&format!("{oci}@{}", chart.digest))
        ),
        false => write!(
            command,
            "{} --version {}",
            quote::shell(&oci),
            quote::shell(&chart.version)
        ),
    };
    let _ = write!(
        command,
        " -n {} --create-namespace",
        quote::shell(&chart.namespace)
    );
    for file in &release.values {
        let _ = write!(command, " -f {}", quote::shell(file));
    }
    let _ = write!(command, " -f {}", quote::shell(&release.overlay_path()));
    command.push_str(&connection(input));
    command
}

/// How Helm reaches the registry from here, as arguments.
fn connection(input: &Input<'_>) -> String {
    match input.certificate {
        _ if input.to.plain_http => " --plain-http".to_owned(),
        Some(_) => format!(" --ca-file {CA_FILE}"),
        None => String::new(),
    }
}

fn nodes(page: &mut Page, input: &Input<'_>, files: &BTreeSet<String>, findings: &Findings) {
    let needed = &findings.only_by_mirror;
    let images: BTreeSet<&str> = needed.iter().map(|one| one.image.as_str()).collect();
    match (findings.checked, images.len()) {
        (true, 0) => page.heading("Nodes that pull by the original names (optional)"),
        (true, count) => page.heading(&format!(
            "Nodes that pull by the original names (required for {})",
            counted(count, "image")
        )),
        (false, _) => page.heading("Nodes that pull by the original names"),
    }
    if !findings.checked {
        page.paragraph(
            "Nobody has looked whether the charts need this, for there was no `helm`: \
             `bundle check` tells which images nodes find by no other way.",
        );
    }
    if !needed.is_empty() {
        page.paragraph(
            "No value of a chart decides where these come from, so nodes find them only so:",
        );
        page.paragraph("| image | is now | release | named by |\n|---|---|---|---|");
        for one in needed {
            let places: Vec<_> = one.places.iter().map(|place| quote::code(place)).collect();
            page.line(&format!(
                "| {} | {} | {} | {} |",
                quote::code(&one.image),
                quote::code(&one.destination),
                quote::code(&one.release),
                places.join(", ")
            ));
        }
    }
    page.paragraph(
        "Where the nodes are yours, one of these makes every image come from the registry under its \
         original name: also those that operators name, that charts have fixed, and that no values \
         reach. They need no change to charts or values.",
    );
    page.paragraph("| nodes | file | goes to |\n|---|---|---|");
    if files.iter().any(|file| file.starts_with("certs.d/")) {
        page.line(
            "| containerd | `certs.d/` | `/etc/containerd/certs.d/`, with `config_path` of the CRI plugin set to it |",
        );
    }
    for line in [
        "| k3s | `registries.yaml` | `/etc/rancher/k3s/registries.yaml`, then restart k3s |",
        "| RKE2 | `registries.yaml` | `/etc/rancher/rke2/registries.yaml`, then restart RKE2 |",
        "| CRI-O, Podman | `registries.conf` | `/etc/containers/registries.conf.d/50-bundle.conf`, then reload CRI-O |",
        "| OpenShift | `openshift-idms.yaml`, `openshift-itms.yaml` | `kubectl apply -f`; the nodes restart |",
    ] {
        page.line(line);
    }
    page.paragraph(
        "Pull secrets are chosen by the original name, so where the registry asks for credentials, \
         the nodes need them too (`configs` with `auth` in `registries.yaml`, the credentials of \
         the runtime elsewhere).",
    );
    if input.to.ca_file.is_none() && !input.to.plain_http {
        page.paragraph(
            "If the registry has a certificate of a private authority, the nodes need the \
             authority's certificate: `ca` in `hosts.toml`, `configs` in `registries.yaml`, \
             `/etc/containers/certs.d/HOST/ca.crt` for CRI-O and Podman.",
        );
    }
}
