//! A whole transfer on one machine, with two registries that do not know each other:
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
//!
//! It fills the first registry with sample images, runs the commands that a user would type
//! (`bundle keygen`, `create`, `inspect`, `verify`, `load`), shows each with its real output, and
//! compares what both registries hold, byte for byte. Then a byte of the file is changed, and the
//! load is refused. Everything happens in a temporary directory and on 127.0.0.1.

mod images;
mod registry;
mod shell;

use std::{net::SocketAddr, path::Path, process::ExitCode, time::Instant};

use sneakernet::serve::{RequestLog, ServeOptions, Server};

use images::Image;
use registry::{Registry, Tagged};
use shell::{BE_BUNDLE, Shell};

/// Anything that ends the story early.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The host that the images have in their names. The connected registry stands for it.
const HOST: &str = "registry.example.com";
const BUNDLE: &str = "shop-1.4.2.bundle.tar.zst";
const DAMAGED: &str = "damaged.bundle.tar.zst";

fn main() -> ExitCode {
    if std::env::var_os(BE_BUNDLE).is_some() {
        return sneakernet::cli::main();
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(story_or_interrupt()),
        Err(error) => ended_by(&error.into()),
    }
}

async fn story_or_interrupt() -> ExitCode {
    // The directory goes when this function returns, whatever the way.
    let directory = match tempfile::tempdir() {
        Ok(directory) => directory,
        Err(error) => return ended_by(&error.into()),
    };
    tokio::select! {
        told = story(directory.path()) => match told {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => ended_by(&error),
        },
        _ = tokio::signal::ctrl_c() => ExitCode::from(130),
    }
}

fn ended_by(error: &Failure) -> ExitCode {
    anstream::eprintln!("error: {error}");
    ExitCode::FAILURE
}

async fn story(directory: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    let mut shell = Shell::new(directory)?;

    shell.chapter("On the connected side there is a registry with images");
    let samples = images::samples();
    let (upstream, upstream_server) = serve(&directory.join("upstream"), None).await?;
    let mut originals = Vec::new();
    for image in &samples {
        upstream.push(image).await?;
        originals.push(upstream.read(image.repository, image.tag).await?);
    }
    anstream::println!(
        "{} stands for {HOST} and holds {} sample images for 2 platforms each",
        upstream.address,
        samples.len()
    );

    shell.chapter("Once: a key pair. The public key goes into the gap by a way of its own");
    shell.bundle("keygen --no-password", 0).await?;

    shell.chapter("Pack the images into one signed file");
    shell.file("bundle.yaml", &bundle_yaml(&samples))?;
    std::fs::write(directory.join("install.md"), "# How to install the shop\n")?;
    let mirror = format!("--mirror {HOST}={}", upstream.address);
    shell
        .bundle(&format!("create --key cosign.key {mirror}"), 0)
        .await?;

    shell.chapter("Carry the file. From here on the first registry is gone");
    upstream_server.shutdown().await?;
    shell
        .bundle(&format!("inspect {BUNDLE} --key cosign.pub"), 0)
        .await?;
    shell
        .bundle(&format!("verify {BUNDLE} --key cosign.pub"), 0)
        .await?;

    shell.chapter("Inside the gap: push it into the registry there");
    let (gap, gap_server) = serve(&directory.join("gap"), None).await?;
    let load = format!("load {BUNDLE} --to {} --key cosign.pub", gap.address);
    shell.bundle(&load, 0).await?;

    shell.chapter("Compare: everything is read from both registries, and digests are taken anew");
    let mut equal = true;
    for (image, original) in samples.iter().zip(&originals) {
        let arrived = gap.read(image.repository, image.tag).await?;
        equal &= compare(image, original, &arrived);
    }
    if !equal {
        return Err("the registries do not hold the same".into());
    }
    gap_server.shutdown().await?;

    shell.chapter("What if somebody changes one byte of the file on its way?");
    flip_a_byte(directory)?;
    refused(&shell, directory, &samples).await?;

    anstream::println!(
        "\nin {:.1} s: {} images went through one signed file and kept every digest, and a changed \
         file was refused\nnext: README.md, `cargo install --path .`, and examples/calico-cloud for a \
         list of 41 images",
        started.elapsed().as_secs_f64(),
        samples.len()
    );
    Ok(())
}

/// An empty registry on a free port.
async fn serve(store: &Path, record: Option<RequestLog>) -> Result<(Registry, Server), Failure> {
    let options = ServeOptions {
        record,
        ..ServeOptions::new(store, SocketAddr::from(([127, 0, 0, 1], 0)))
    };
    let server = Server::start(options).await?;
    Ok((Registry::at(server.local_addr())?, server))
}

fn bundle_yaml(samples: &[Image]) -> String {
    let images: String = samples
        .iter()
        .map(|image| format!("  - {HOST}/{}:{}\n", image.repository, image.tag))
        .collect();
    format!(
        "apiVersion: sneakernet/v1\nkind: Bundle\nmetadata: {{name: shop, version: \"1.4.2\"}}\n\
         images:\n{images}files: [install.md]\n"
    )
}

/// Shows whether an image arrived as it was.
fn compare(image: &Image, original: &Tagged, arrived: &Tagged) -> bool {
    let equal = original == arrived;
    let bytes: usize = arrived
        .documents
        .values()
        .chain(arrived.blobs.values())
        .sum();
    let name = format!("{}:{}", image.repository, image.tag);
    anstream::println!(
        "{name:<18} {}  {} documents, {} blobs, {bytes} bytes: {}",
        arrived.digest.short(),
        arrived.documents.len(),
        arrived.blobs.len(),
        if equal { "equal" } else { "DIFFERENT" }
    );
    equal
}

/// Makes a copy of the bundle of which one bit, in the middle of some layer, is another.
fn flip_a_byte(directory: &Path) -> Result<(), Failure> {
    let mut bytes = std::fs::read(directory.join(BUNDLE))?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(directory.join(DAMAGED), bytes)?;
    anstream::println!("{DAMAGED} is a copy whose byte {middle} is another");
    Ok(())
}

/// Loads the damaged copy, and the good one with another key, into an empty registry.
async fn refused(shell: &Shell, directory: &Path, samples: &[Image]) -> Result<(), Failure> {
    let log = RequestLog::default();
    let (registry, server) = serve(&directory.join("empty"), Some(log.clone())).await?;
    let to = format!("--to {}", registry.address);

    shell
        .bundle(&format!("load {DAMAGED} {to} --key cosign.pub"), 3)
        .await?;
    for image in samples {
        let documents = image.manifests.iter().chain([&image.index]);
        let digests = documents.map(|document| document.digest.to_string());
        for name in digests.chain([image.tag.to_owned()]) {
            if registry.has_manifest(image.repository, &name).await? {
                return Err(format!("{}:{name} is there", image.repository).into());
            }
        }
    }
    anstream::println!("the registry has no manifest and no tag");

    anstream::println!("\nAnd a file that somebody else has signed?");
    shell
        .bundle("keygen --no-password --output-key-prefix other --quiet", 0)
        .await?;
    log.clear();
    shell
        .bundle(&format!("load {BUNDLE} {to} --key other.pub"), 4)
        .await?;
    match log.entries().len() {
        0 => anstream::println!("the registry has seen no request"),
        some => return Err(format!("the registry has seen {some} requests").into()),
    }
    server.shutdown().await?;
    Ok(())
}
