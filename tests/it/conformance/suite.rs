//! The conformance suite of the specification against the embedded registry, with every group
//! (pull, push, content discovery, content management) and every feature of the draft switched on.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use sneakernet::serve::TlsFiles;

use crate::support::{
    embedded::Embedded,
    pki::TestCa,
    tools::{Finished, Home, require, run_with},
};

/// The suite, as `tests/setup` builds it.
const SUITE: &str = "conformance";

/// What is not marked as passed, and why that is right.
const EXPECTED: [(&str, &str); 2] = [
    // A mount without a source: the specification leaves it to the registry, and this one offers
    // an upload.
    ("Blob anonymous mount", "Skip"),
    // Images without some of their layers, too: no registry has to take these.
    ("Sparse Manifests", "Disabled"),
];

/// `bundle serve` as a process, killed by its process id when dropped.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(home: &Home, store: &Path) -> Self {
        let mut serve = home.bundle();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--allow-delete"]);
        serve.args(["--format", "json", "--store"]).arg(store);
        serve.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = serve.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let said = stdout.lines().map(Result::unwrap);
        let line = said.into_iter().find(|line| line.contains("\"address\""));
        let address = line
            .expect("an address")
            .split('"')
            .nth(3)
            .map(str::to_owned);
        Self {
            child,
            address: address.expect("an address"),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the suite against the registry at `address`.
fn run_suite(home: &Home, address: &str, settings: &[(&str, &str)]) -> Finished {
    let mut suite = home.tool(SUITE);
    suite
        .env("OCI_REGISTRY", address)
        .env("OCI_VERSION", "1.1+dev")
        .env("OCI_RESULTS_DIR", home.path().join("results"))
        .envs(settings.iter().copied());
    run_with(suite, Vec::new(), Duration::from_secs(300))
}

/// Asserts that everything was tried and passed.
#[track_caller]
fn assert_conforms(finished: &Finished) {
    let report = finished.text();
    let failed = failures(&report);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // It ends well, too, where its settings are wrong and nothing was tried.
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let results = summary(&report);
    let count = |name: &str| results.get(name).and_then(|text| text.parse::<u32>().ok());
    assert!(
        count("Pass").is_some_and(|passed| passed > 900),
        "{results:?}"
    );
    assert_eq!((count("FAIL"), count("Error")), (Some(0), Some(0)));
    for (name, result) in results {
        if result.parse::<u32>().is_ok() {
            continue;
        }
        let expected = EXPECTED.iter().find(|(expected, _)| *expected == name);
        let expected = expected.map_or("Pass", |(_, result)| result);
        assert_eq!(result, expected, "{name}");
    }
}

/// The tests that failed, each with what the suite says of it.
fn failures(report: &str) -> Vec<String> {
    let mut failed: Vec<String> = Vec::new();
    let mut of_failed = false;
    for line in report.lines() {
        if line.trim_start().starts_with("- ") {
            if of_failed {
                failed.push(line.to_owned());
            }
        } else {
            of_failed = line.ends_with(": FAIL") || line.ends_with(": Error");
            if of_failed {
                failed.push(line.to_owned());
            }
        }
    }
    failed
}

/// The lines `NAME.....: VALUE` at the end of the report.
fn summary(report: &str) -> BTreeMap<String, String> {
    let rows = report.lines().filter_map(|line| line.split_once("..:"));
    rows.map(|(name, value)| {
        let name = name.trim().trim_end_matches('.');
        (name.to_owned(), value.trim().to_owned())
    })
    .collect()
}

#[test]
fn serve_passes_the_conformance_suite() {
    require!(SUITE);
    let home = Home::new();
    let serving = Serving::start(&home, &home.path().join("store"));
    let finished = run_suite(&home, &serving.address, &[("OCI_TLS", "disabled")]);
    assert_conforms(&finished);
}

#[test]
fn the_embedded_registry_passes_the_conformance_suite_with_tls_and_basic() {
    require!(SUITE);
    let home = Home::new();
    let ca = TestCa::new();
    let files = ca.issue(&["127.0.0.1"]).write_to(home.path());
    let authority = ca.write_to(home.path());
    let registry = Embedded::with(|options| {
        options.allow_delete = true;
        options.basic_auth = Some(("robot$suite".to_owned(), "p:+$ss".to_owned()));
        options.tls = Some(TlsFiles {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        });
    });
    let finished = run_suite(
        &home,
        &registry.host(),
        &[
            ("OCI_TLS", "enabled"),
            // Programs in Go look there.
            ("SSL_CERT_FILE", authority.to_str().unwrap()),
            ("OCI_USERNAME", "robot$suite"),
            ("OCI_PASSWORD", "p:+$ss"),
        ],
    );
    assert_conforms(&finished);
}
