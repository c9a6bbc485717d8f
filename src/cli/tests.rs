//! The command line from the outside: arguments, variables, refusals.

use std::collections::BTreeSet;

use super::{
    args::definition,
    output::{
        Verbosity,
        tests::{Shared, captured},
    },
    *,
};

/// Parses a line of arguments split at spaces.
pub(super) fn parsed(line: &str) -> Cli {
    try_parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn try_parse(line: &str) -> Result<Cli, clap::Error> {
    parse(["bundle"].into_iter().chain(line.split(' ')))
}

/// A context whose streams are kept: `(context, stdout, stderr)`.
pub(super) fn context(verbosity: Verbosity) -> (Context, Shared, Shared) {
    let (output, stdout, stderr) = captured(verbosity);
    let context = Context::new(output, Format::Table, Interrupt::default());
    (context, stdout, stderr)
}

#[test]
fn the_definition_is_consistent() {
    definition().debug_assert();
}

/// All options of all commands as `(command, option)`.
fn options() -> Vec<(String, clap::Arg)> {
    let definition = definition();
    let of = |command: &clap::Command| {
        let name = command.get_name().to_owned();
        let named = command
            .get_arguments()
            .filter(|arg| arg.get_long().is_some());
        named
            .map(move |arg| (name.clone(), arg.clone()))
            .collect::<Vec<_>>()
    };
    let subcommands = definition.get_subcommands().flat_map(of);
    of(&definition).into_iter().chain(subcommands).collect()
}

#[test]
fn every_option_has_a_variable_except_those_that_weaken_trust() {
    let without = [
        "allow-digest-mismatch",
        "allow-secrets",
        "allow-unsigned",
        "insecure-skip-tls-verify",
        "pass-credentials",
        "plain-http",
        "unsigned",
    ];
    let mut seen = BTreeSet::new();
    for (command, option) in options() {
        let long = option.get_long().unwrap();
        let variable = option
            .get_env()
            .map(|name| name.to_str().unwrap().to_owned());
        if long == "help" || (command == "bundle" && long == "version") {
            continue;
        }
        if without.contains(&long) {
            assert_eq!(variable, None, "{command} --{long}");
            seen.insert(long.to_owned());
            continue;
        }
        let upper = long.to_uppercase().replace('-', "_");
        let expected = match (command.as_str(), long) {
            // One variable must not name two different files.
            ("plan", "output") => "BUNDLE_LOCK".to_owned(),
            ("sign", "output") => "BUNDLE_SIGNATURE_OUTPUT".to_owned(),
            ("extract", "output") => "BUNDLE_OUTPUT_DIR".to_owned(),
            (_, "bundle-version") => "BUNDLE_VERSION".to_owned(),
            (_, "version") => "BUNDLE_CHART_VERSION".to_owned(),
            _ => format!("BUNDLE_{upper}"),
        };
        assert_eq!(variable, Some(expected), "{command} --{long}");
        assert!(
            option.is_hide_env_values_set(),
            "{command} --{long} shows its variable's value"
        );
        assert!(
            option.get_help().is_some(),
            "{command} --{long} is not explained"
        );
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), without);
}

#[test]
fn no_option_takes_a_password() {
    for (command, option) in options() {
        let long = option.get_long().unwrap();
        let takes_value = option
            .get_num_args()
            .is_some_and(|range| range.takes_values());
        assert!(
            !(long.contains("password") && takes_value),
            "{command} --{long}"
        );
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_exit_code_2() {
    for line in [
        "",
        "frobnicate",
        "create --key k --unsigned",
        "create --unsigned --lock l --no-lock",
        "create --unsigned --platform linux",
        "create --unsigned --name UPPER",
        "create --unsigned --bundle-version ../1",
        "create --unsigned --mirror a",
        "create --unsigned --concurrency 0",
        "create --unsigned --concurrency -1",
        "create --unsigned --concurrency 1000000000000",
        "create --unsigned --retries 0",
        "create --unsigned -o a -o b",
        "create --unsigned --username u",
        "create --unsigned --password secret",
        "create --unsigned --plain-http http://a.b",
        "create --unsigned --client-cert c",
        "create --unsigned --client-key k",
        "create --unsigned --resolve a=b",
        "create --unsigned --quiet --verbose",
        "create --unsigned --format xml",
        "load f --key k",
        "load f --to https://a.b --key k",
        "load f --to a.b --to c.d --key k",
        "load f --to a.b --key k --allow-unsigned",
        "load f --to a.b --threshold 1",
        "load f --to a.b --key k --threshold 0",
        "load f --to a.b --key k --map x",
        "load f --to a.b --key k --on-conflict maybe",
        "inspect f alpine --raw root",
        "inspect f --raw A",
        "inspect f Alpine",
        "verify",
        "sign f",
        "extract f --key k",
        "serve --store s --listen nowhere",
        "completions tcsh",
        "login https://a.b",
    ] {
        let line = line.trim();
        let arguments = ["bundle"]
            .into_iter()
            .chain(line.split(' ').filter(|a| !a.is_empty()));
        let error = parse(arguments).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn what_is_meant_is_understood() {
    for line in [
        "create --image alpine --image quay.io/a/b:1 --key a.key --key b.key -o x.bundle.tar.zst",
        "create -f bundle.yaml --unsigned --mirror quay.io=mirror.local:5000/quay --force --no-resume",
        "plan --images-from list --check -q",
        "verify f --key a --key b --threshold 2 --signature s --format json",
        "inspect - --raw sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "load f --to r:5000/p --key k --layout last2 --map quay.io/a=b --on-conflict keep --index filter",
        "serve --store s --listen [::1]:0 --read-only --allow-delete --fault GET:/v2/:status=500",
        "extract f --output d --image alpine --allow-unsigned",
        "sign f --key k --output s",
        "keygen --output-key-prefix a/b --no-password",
        "login r:5000 -u name --password-stdin --authfile f",
        "logout r:5000",
        "completions zsh",
        "create --unsigned --plain-http registry.local --insecure-skip-tls-verify r.local:443",
    ] {
        parsed(line);
    }
}

#[test]
fn a_usage_error_is_safe_and_like_any_other() {
    let error = parse(["bundle", "load", "f\x1b[2J", "--too", "\x1b]0;x\x07"]).unwrap_err();
    let usage = usage_error(&error);
    assert_eq!(usage.exit, Exit::Usage);
    assert!(
        usage.message.starts_with("unexpected argument '--too'"),
        "{usage:?}"
    );
    assert!(usage.hint.is_some());
    let (output, _, stderr) = captured(Verbosity::Quiet);
    output.error(&usage_error(&parse(["bundle", "\x1b[31m\n"]).unwrap_err()));
    assert!(!stderr.text().contains('\x1b'), "{:?}", stderr.text());
    assert!(
        stderr.text().starts_with("error: unrecognized subcommand"),
        "{}",
        stderr.text()
    );
}

#[test]
fn panics_are_told_in_words() {
    assert_eq!(panic_text(&"text"), "text");
    assert_eq!(panic_text(&"text".to_owned()), "text");
    assert_eq!(panic_text(&1), "unknown");
}
