//! Certificates in files: authorities that are trusted, and what this client shows of itself.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use reqwest::{Certificate, Identity};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::error::RegistryError;

/// Largest file of certificates, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// What a directory holds about one host.
#[derive(Default)]
pub(super) struct HostCertificates {
    /// Authorities that are trusted for this host, in addition to the usual ones.
    pub(super) roots: Vec<Certificate>,
    /// What is shown to this host.
    pub(super) identity: Option<Identity>,
}

/// The certificates in a PEM file, at least one; or what is wrong with it.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    let pem = read(path)?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if found.is_empty() => Err("no PEM certificate in it".to_owned()),
        Ok(found) => Ok(found),
        Err(_) => Err("it is not in PEM format".to_owned()),
    }
}

/// A certificate with its key.
pub(super) fn read_identity(certificate: &Path, key: &Path) -> Result<Identity, RegistryError> {
    read_certificates(certificate).map_err(|detail| wrong(certificate, detail))?;
    let of_certificate = read(certificate).map_err(|detail| wrong(certificate, detail))?;
    let of_key = read(key).map_err(|detail| wrong(key, detail))?;
    if PrivateKeyDer::from_pem_slice(&of_key).is_err() {
        let encrypted = of_key.windows(9).any(|word| word == b"ENCRYPTED");
        let detail = match encrypted {
            true => "the key is encrypted",
            false => "no private key in PEM format in it",
        };
        return Err(wrong(key, detail.to_owned()));
    }
    let mut pem = Zeroizing::new(Vec::with_capacity(of_key.len() + of_certificate.len() + 1));
    for part in [&of_key[..], b"\n", &of_certificate] {
        pem.extend_from_slice(part);
    }
    Identity::from_pem(&pem).map_err(|error| wrong(key, error.to_string()))
}

/// The directory of a host: the first that is there. Docker and the containers tools write the
/// port where it is not the one of the scheme, and take it where it is.
pub(super) fn directory_of(host: &str, dirs: &[PathBuf]) -> Option<PathBuf> {
    // A server may send us to any host: one called `..` has no directory.
    let name = Path::new(host).file_name().filter(|name| *name == host)?;
    dirs.iter()
        .map(|dir| dir.join(name))
        .find(|dir| dir.is_dir())
}

/// Reads the directory of a host (Docker, "Use trusted certificates").
pub(super) fn read_directory(dir: &Path) -> Result<HostCertificates, RegistryError> {
    let unreadable = |error: io::Error| wrong(dir, error.to_string());
    // Sorted, so that the same file is complained of each time.
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        files.insert(entry.map_err(unreadable)?.path());
    }
    let mut found = HostCertificates::default();
    for file in &files {
        match file.extension().and_then(OsStr::to_str) {
            Some("crt") => {
                let roots = read_certificates(file).map_err(|detail| wrong(file, detail))?;
                found.roots.extend(roots);
            }
            Some("cert") => {
                let key = file.with_extension("key");
                if !files.contains(&key) {
                    let detail = "its key is not beside it; authorities are called *.crt";
                    return Err(wrong(file, detail.to_owned()));
                }
                let identity = read_identity(file, &key)?;
                if found.identity.replace(identity).is_some() {
                    let detail = "there are two client certificates, and one can be shown";
                    return Err(wrong(file, detail.to_owned()));
                }
            }
            Some("key") if !files.contains(&file.with_extension("cert")) => {
                let detail = "the certificate of this key is not beside it (*.cert)";
                return Err(wrong(file, detail.to_owned()));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let size = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("larger than {MAX_FILE} bytes"));
    }
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    Ok(Zeroizing::new(bytes))
}

pub(super) fn wrong(path: &Path, detail: String) -> RegistryError {
    RegistryError::Certificate {
        path: path.to_owned(),
        detail,
    }
}
