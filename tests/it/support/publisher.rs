//! A publisher who signs charts: OpenPGP keys of GnuPG, in a home of their own.

use std::path::PathBuf;

use super::{
    helm::{ChartFiles, HelmCli},
    tools::{Home, run},
};

/// The tools that a test with a [`Publisher`] asks for.
pub const TOOLS: [&str; 3] = ["gpg", "gpgv", "helm3"];

/// A key pair and the files that hold it.
pub struct Publisher {
    home: Home,
    name: String,
}

impl Publisher {
    /// A new key.
    pub fn new(name: &str) -> Self {
        let publisher = Self {
            home: Home::new(),
            name: name.to_owned(),
        };
        let directory = publisher.home.path().join("gnupg");
        std::fs::create_dir(&directory).unwrap();
        let only_own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&directory, only_own).unwrap();
        let key = format!("{name} <{name}@example.com>");
        publisher.gpg(&["--quick-gen-key", &key, "rsa2048", "sign", "never"]);
        let file = |name: &str| publisher.home.path().join(name).display().to_string();
        publisher.gpg(&["--output", &file("public.gpg"), "--export"]);
        publisher.gpg(&["--armor", "--output", &file("public.asc"), "--export"]);
        publisher.gpg(&["--output", &file("secret.gpg"), "--export-secret-keys"]);
        publisher
    }

    fn gpg(&self, arguments: &[&str]) {
        let mut gpg = self.home.tool("gpg");
        gpg.arg("--homedir").arg(self.home.path().join("gnupg"));
        gpg.args([
            "--batch",
            "--yes",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]);
        gpg.args(arguments);
        run(gpg).success();
    }

    /// The public key, as GnuPG keeps it.
    pub fn keyring(&self) -> PathBuf {
        self.home.path().join("public.gpg")
    }

    /// The public key, in ASCII armor.
    pub fn armored(&self) -> PathBuf {
        self.home.path().join("public.asc")
    }

    /// The private key.
    pub fn private(&self) -> PathBuf {
        self.home.path().join("secret.gpg")
    }

    /// What `helm package --sign` makes of a chart: the archive and its provenance.
    #[track_caller]
    pub fn package(&self, chart: &ChartFiles) -> (Vec<u8>, Vec<u8>) {
        let cli = HelmCli::new("helm3");
        let directory = chart.write_to(cli.home().path());
        let arguments = ["package", "--sign", "--key", &self.name, "--keyring"];
        let mut package = cli.command();
        package.args(arguments).arg(self.private()).arg(directory);
        run(package).success();
        let archive = cli.home().path().join(chart.archive_name());
        let mut beside = archive.clone().into_os_string();
        beside.push(".prov");
        (
            std::fs::read(archive).unwrap(),
            std::fs::read(beside).unwrap(),
        )
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // The agent that gpg has started ends by itself when its home is gone; this is sooner.
        let mut stop = self.home.tool("gpgconf");
        stop.arg("--homedir").arg(self.home.path().join("gnupg"));
        stop.args(["--kill", "all"]);
        let _ = stop.status();
    }
}
