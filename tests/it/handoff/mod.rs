//! The files of the hand-off, as the tools that they are for read them.

mod nodes;
pub mod schemas;

use std::path::Path;

use sneakernet::{
    handoff::{
        BundleName, DEFAULT_PULL_SECRET, Destination, Handoff, Input, Layout, MovedChart,
        MovedImage, files,
    },
    oci::{Digest, Reference, Repository},
};

/// An image that was moved by `--layout strip`.
fn moved(source: &str, digest: Digest, to: &Destination<'_>) -> MovedImage {
    let source: Reference = source.parse().expect("a reference");
    let path = match to.prefix {
        "" => source.repository().path().to_owned(),
        prefix => format!("{prefix}/{}", source.repository().path()),
    };
    MovedImage {
        destination: Repository::new(to.host, &path).expect("a repository"),
        tag: source.tag().map(str::to_owned),
        digest,
        source,
        platforms: vec!["linux/amd64".to_owned()],
    }
}

fn hand_off(to: Destination<'_>, images: &[MovedImage], charts: &[MovedChart]) -> Handoff {
    let input = Input {
        bundle: BundleName {
            name: "demo",
            version: "1.0",
            root: Digest::sha256_of(b"root"),
        },
        to,
        layout: Layout::Strip,
        has_map_rules: false,
        images,
        kept: &[],
        charts,
        pull_secret: DEFAULT_PULL_SECRET,
        certificate: None,
    };
    files(&input).expect("a hand-off")
}

fn write(handoff: &Handoff, dir: &Path) {
    for file in &handoff.files {
        let path = dir.join(&file.path);
        std::fs::create_dir_all(path.parent().expect("below dir")).expect("a directory");
        std::fs::write(path, &file.content).expect("a file");
    }
}
