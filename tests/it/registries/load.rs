//! Heavy images, made on the disk: small enough for every run of the tests, or, where
//! `SNEAKERNET_LONG=1` asks for it, as large as what breaks in practice.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::Traveller;
use crate::support::{
    attempt::Watched,
    distribution::{Options, Registry},
    product::Product,
    random::Random,
    tools::{Home, run_with},
};

/// How long one step with heavy images may take.
const PATIENCE: Duration = Duration::from_secs(1800);
/// What the blobs are said to be, so that nothing tries to compress them.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Where the image is.
const NAME: &str = "team/heavy";

/// Whether the tests are to be as heavy as what breaks in practice: minutes, and gigabytes on the
/// disk. The code is the same.
pub fn is_long() -> bool {
    std::env::var_os("SNEAKERNET_LONG").is_some_and(|value| value == "1")
}

/// Says what was measured in a long run. Numbers of short ones mean nothing.
pub fn tell_measured(size: u64, took: Duration, watched: &Watched) {
    if is_long() {
        let (test, peak) = (std::thread::current(), watched.peak >> 10);
        let test = test.name().unwrap_or("a test");
        // Not `println!`: the harness would keep that to itself.
        let line = format!("{test}: {size} bytes in {took:.1?}, at most {peak} KiB of memory");
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// An artifact in a registry of its own, with a blob of each size; its test asks for
/// `docker-registry` and `oras`.
pub struct Load {
    registry: Registry,
    sums: Vec<String>,
}

impl Load {
    /// Makes the blobs and puts them into the registry.
    pub fn of(sizes: &[u64]) -> Self {
        Self::in_a(Product::Distribution2, sizes)
    }

    /// The same in another registry, whose program the test asks for.
    pub fn in_a(product: Product, sizes: &[u64]) -> Self {
        let registry = Registry::start(Options::of(product));
        let home = Home::new();
        let mut oras = home.tool("oras");
        let place = format!("{}/{NAME}:1", registry.host());
        oras.args([
            "push",
            "--plain-http",
            "--no-tty",
            "--disable-path-validation",
            &place,
        ]);
        let mut sums = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            let name = format!("blob-{number}");
            let file = home.path().join(&name);
            write(&file, *size, number as u64);
            sums.push(sha256(Command::new("cat").arg(&file)));
            oras.arg(format!("{name}:{LAYER}"));
        }
        run_with(oras, Vec::new(), PATIENCE).success();
        Self { registry, sums }
    }

    /// The registry's address and port.
    pub fn host(&self) -> &str {
        self.registry.host()
    }

    /// A bundle with the artifact, made without any fault.
    pub fn bundled(&self, traveller: &Traveller) -> PathBuf {
        self.bundled_from(self.host(), traveller, &[])
    }

    /// A bundle with the artifact, made from this address, which leads to the registry.
    #[track_caller]
    pub fn bundled_from(&self, host: &str, traveller: &Traveller, more: &[&str]) -> PathBuf {
        let file = traveller.home.path().join("heavy.bundle.tar.zst");
        let mut create = traveller.bundle(&["create", "--unsigned", "--quiet", "--force"]);
        create.args(["--image", &format!("{host}/{NAME}:1"), "-o"]);
        create.arg(&file).args(more);
        run_with(create, Vec::new(), PATIENCE).success();
        file
    }

    /// Asserts that the registry at this address has every blob, byte for byte.
    #[track_caller]
    pub fn assert_arrived(&self, host: &str) {
        for sum in &self.sums {
            let url = format!("http://{host}/v2/{NAME}/blobs/sha256:{sum}");
            let mut curl = crate::support::tools::tool("curl");
            curl.args(["--silent", "--fail", "--max-time", "1800", &url]);
            assert_eq!(&sha256(&mut curl), sum, "{host}");
        }
    }
}

/// Bytes that do not compress, and no block of which is like another.
fn write(path: &Path, size: u64, seed: u64) {
    const BLOCK: u64 = 1 << 20;
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    let mut block = Random(seed).bytes(BLOCK as usize);
    let mut written = 0;
    while written < size {
        block[..8].copy_from_slice(&written.to_le_bytes());
        let length = BLOCK.min(size - written);
        file.write_all(&block[..length as usize]).expect("room");
        written += length;
    }
    file.flush().expect("room");
}

/// The SHA-256 of what a command says, in hexadecimal.
fn sha256(command: &mut Command) -> String {
    let mut source = command.stdout(Stdio::piped()).spawn().expect("a command");
    let mut sum = crate::support::tools::tool("sha256sum");
    sum.stdin(source.stdout.take().expect("piped"));
    let said = sum.output().expect("sha256sum").stdout;
    let status = source.wait().expect("a child");
    assert!(status.success(), "{command:?}: {status}");
    String::from_utf8_lossy(&said).chars().take(64).collect()
}
