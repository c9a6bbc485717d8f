//! `bundle serve`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use serde::Serialize;

use crate::{
    cli::{Context, Format, escape::escape_path, exit::CliError, values},
    serve::{FaultPlan, FaultRule, ServeOptions, Server},
};

/// Be a registry, where there is none yet
///
/// Serves a directory by the OCI distribution specification until it is interrupted. There is no
/// authentication: whoever reaches the address may push, unless --read-only says otherwise. For
/// more than one machine use Distribution, Harbor or zot.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bundle serve --store /srv/registry
  bundle serve --store /srv/registry --listen 0.0.0.0:5000 --read-only")]
pub struct ServeArgs {
    /// Directory of the content; made when it does not exist
    #[arg(long, value_name = "DIR", env = "BUNDLE_STORE")]
    pub store: PathBuf,
    /// Address and port to listen on; port 0 takes any that is free
    #[arg(
        long,
        value_name = "ADDR",
        env = "BUNDLE_LISTEN",
        default_value = "127.0.0.1:5000"
    )]
    pub listen: SocketAddr,
    /// Take no pushes
    #[arg(long, env = "BUNDLE_READ_ONLY", value_parser = values::switch)]
    pub read_only: bool,
    /// Allow manifests, tags and blobs to be deleted
    #[arg(long, env = "BUNDLE_ALLOW_DELETE", value_parser = values::switch)]
    pub allow_delete: bool,
    /// Misbehave by this rule, for tests of clients; may be repeated
    #[arg(
        long,
        value_name = "RULE",
        env = "BUNDLE_FAULT",
        value_delimiter = ';',
        hide = true
    )]
    pub fault: Vec<FaultRule>,
}

/// What `--format json` prints when the registry is ready.
#[derive(Debug, Serialize)]
struct Listening {
    /// The address, with the port that was chosen.
    address: SocketAddr,
    store: PathBuf,
}

/// Runs the command: serves until the first signal, which is its proper end.
///
/// # Errors
/// When the store or the address cannot be used.
pub async fn run(args: ServeArgs, context: &Context) -> Result<(), CliError> {
    let mut options = ServeOptions::new(&args.store, args.listen);
    options.read_only = args.read_only;
    options.allow_delete = args.allow_delete;
    options.faults = args
        .fault
        .into_iter()
        .fold(FaultPlan::default(), FaultPlan::with);
    // Whoever sees the address may already send the signal.
    let told_to_end = context.interrupt.received();
    let server = Server::start(options).await?;
    let address = server.local_addr();
    if !address.ip().is_loopback() && !args.read_only {
        context.output.warn(&format!(
            "whoever reaches {address} may push: there is no authentication"
        ));
    }
    match context.format {
        Format::Json => context.output.json(&Listening {
            address,
            store: args.store,
        })?,
        Format::Table => {
            let store = escape_path(&args.store);
            context
                .output
                .step("serving", &format!("{store} on {address}"), None);
        }
    }
    server.run_until(told_to_end).await?;
    context.output.step("stopped", &address.to_string(), None);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        output::Verbosity,
        tests::{context, parsed},
    };

    fn args(line: &str) -> ServeArgs {
        match parsed(line).command {
            crate::cli::args::Command::Serve(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn it_says_where_it_listens_and_ends_when_it_is_told() {
        let store = tempfile::tempdir().unwrap();
        let (mut context, stdout, stderr) = context(Verbosity::Normal);
        context.format = Format::Json;
        let store = store.path().join("new").display().to_string();
        let args = args(&format!("serve --store {store} --listen 127.0.0.1:0"));
        let interrupt = context.interrupt.clone();
        let watch = async {
            while !stdout.text().contains("address") {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            let listening: serde_json::Value = serde_json::from_str(&stdout.text()).unwrap();
            let address = listening["address"].as_str().unwrap().to_owned();
            let answer = reqwest::get(format!("http://{address}/v2/")).await.unwrap();
            assert_eq!(answer.status(), 200);
            interrupt.fire(|| panic!("serve ends by itself"));
        };
        let (served, ()) = tokio::join!(run(args, &context), watch);
        served.unwrap();
        assert!(
            stderr.text().contains("stopped    127.0.0.1:"),
            "{}",
            stderr.text()
        );
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_a_local_failure_with_a_hint() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let store = tempfile::tempdir().unwrap();
        let line = format!(
            "serve --store {} --listen {}",
            store.path().join("new").display(),
            taken.local_addr().unwrap()
        );
        let (context, ..) = context(Verbosity::Normal);
        let error = run(args(&line), &context).await.unwrap_err();
        assert_eq!(error.exit, crate::cli::exit::Exit::LocalIo);
        assert!(error.hint.is_some());
    }
}
