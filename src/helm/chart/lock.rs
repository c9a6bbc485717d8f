//! `Chart.lock`, and whether it still fits `Chart.yaml`.

use sha2::{Digest as _, Sha256};

use super::{
    error::ChartError,
    fields::Fields,
    go_json,
    metadata::{Dependency, Metadata, dependencies},
    yaml,
};

/// `Chart.lock`, or `requirements.lock` of a `v1` chart: the exact versions of the dependencies.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    /// `sha256:…` over the dependencies of `Chart.yaml` and of the lock.
    pub digest: String,
    /// The dependencies, each with an exact version.
    pub dependencies: Vec<Dependency>,
}

impl Lock {
    /// Reads a lock; none where the file says nothing.
    pub(crate) fn parse(file: &str, text: &[u8]) -> Result<Option<Self>, ChartError> {
        let value = yaml::parse(file, text)?;
        if value.is_null() {
            return Ok(None);
        }
        let fields = Fields::of(file, "the file", &value)?;
        Ok(Some(Self {
            digest: fields.text("digest")?,
            dependencies: dependencies(file, &fields)?,
        }))
    }

    /// Whether the lock was made for these dependencies, as `helm dependency build` checks it
    /// (`internal/resolver`, `HashReq`; for `v1` charts also the hash of Helm 2).
    ///
    /// Helm replaces repositories that are named by an alias (`@NAME`) with their URL before, which
    /// only the machine that made the lock knows; for those the answer is no.
    pub fn fits(&self, metadata: &Metadata) -> bool {
        let wanted = list(&metadata.dependencies);
        let both = format!("[{wanted},{}]", list(&self.dependencies));
        let helm2 = || format!("{{\"dependencies\":{wanted}}}");
        self.digest == digest(&both)
            || (metadata.api_version == "v1" && self.digest == digest(&helm2()))
    }
}

fn list(dependencies: &[Dependency]) -> String {
    match dependencies {
        [] => "null".to_owned(),
        some => go_json::array(some, Dependency::to_go_json),
    }
}

fn digest(json: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(json.as_bytes())))
}
