//! A certificate authority for tests.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// A certificate authority that no machine trusts.
#[derive(Debug)]
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its private key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// The certificate in DER.
    pub certificate_der: Vec<u8>,
    /// The private key in PEM (PKCS #8).
    pub key_pem: String,
    /// The private key in DER (PKCS #8), an ECDSA P-256 key.
    pub key_der: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Where the files of an [`Identity`] are.
#[derive(Debug)]
pub struct IdentityFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl TestCa {
    /// A new authority with a new key.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params
            .distinguished_name
            .push(DnType::CommonName, "sneakernet test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        Self { issuer }
    }

    /// The authority's certificate in PEM, as `--ca-file` takes it.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes the authority's certificate to a file `ca.crt` in `dir`. Tools that take a directory
    /// of certificates per registry (`skopeo --cert-dir`) find it there.
    pub fn write_to(&self, dir: &Path) -> PathBuf {
        let file = dir.join("ca.crt");
        std::fs::write(&file, self.pem()).expect("a file");
        file
    }

    /// A server certificate for these DNS names and IP addresses.
    pub fn issue(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let common_name = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).expect("valid names");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            key_pem: key.serialize_pem(),
            key_der: key.serialize_der(),
        }
    }
}

impl Identity {
    /// Writes certificate and key to `dir`.
    pub fn write_to(&self, dir: &Path) -> IdentityFiles {
        let files = IdentityFiles {
            certificate: dir.join("server.crt"),
            key: dir.join("server.key"),
        };
        std::fs::write(&files.certificate, &self.certificate_pem).expect("a file");
        std::fs::write(&files.key, &self.key_pem).expect("a file");
        files
    }
}
