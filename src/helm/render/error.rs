//! What can go wrong with `helm`.

use std::{io, path::PathBuf, time::Duration};

use super::message::clip;

/// A limit of the sandbox that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The time that a run may take.
    Time(Duration),
    /// The CPU time, in seconds. A system that is out of memory looks the same.
    Cpu(u64),
    /// The memory, in bytes.
    Memory(u64),
    /// The output, in bytes.
    Output(u64),
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MIB: u64 = 1 << 20;
        match self {
            Self::Time(time) => write!(f, "was not done after {} s", time.as_secs()),
            Self::Cpu(seconds) => write!(
                f,
                "was killed: more than {seconds} s of CPU time, or no memory left on this machine"
            ),
            Self::Memory(bytes) => write!(f, "needs more than {} MiB of memory", bytes / MIB),
            Self::Output(bytes) => write!(f, "printed more than {}", in_mib(*bytes)),
        }
    }
}

fn in_mib(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes.is_multiple_of(MIB) {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{bytes} bytes")
    }
}

/// Why a chart could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// There is no `helm` on `PATH`.
    #[error("rendering charts needs `helm`, and there is none on PATH")]
    NotFound,
    /// The program that was named cannot be run.
    #[error("cannot use {} as helm: {cause}", .program.display())]
    Unusable {
        /// As it was named.
        program: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The program does not answer as `helm` does.
    #[error("{} does not answer `helm version` with a version: {}", .program.display(), or_nothing(.said))]
    NotHelm {
        /// The program.
        program: PathBuf,
        /// What it printed.
        said: String,
    },
    /// A `helm` that is too old, or newer than what is known here.
    #[error("{} is helm {version}, and 3.12 or later, or 4, is needed", .program.display())]
    Unsupported {
        /// The program.
        program: PathBuf,
        /// Its version.
        version: String,
    },
    /// The program that uses this library does not set up the sandbox.
    #[error("no sandbox to run helm in: this program does not call `enter_if_asked` at its start")]
    NoSandbox,
    /// The sandbox could not be entered, so `helm` was not started.
    #[error("helm was not started: {reason}")]
    SandboxFailed {
        /// Why.
        reason: String,
    },
    /// Something that the call needs failed on this machine.
    #[error("cannot {action} to run helm: {cause}")]
    Io {
        /// What was tried, in the infinitive.
        action: &'static str,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// A limit was reached, and `helm` was ended.
    #[error("helm {0}")]
    Exceeded(Limit),
    /// A signal ended `helm`.
    #[error("helm was ended by signal {signal}")]
    Killed {
        /// The number of the signal.
        signal: i32,
    },
    /// `helm` refuses the chart with these values.
    #[error("the chart of release `{release}` does not render: {}", or_nothing(.said))]
    DoesNotRender {
        /// The release.
        release: String,
        /// The message of `helm`.
        said: String,
    },
    /// The rendered text is not UTF-8.
    #[error("the chart of release `{release}` renders to text that is not UTF-8")]
    NotText {
        /// The release.
        release: String,
    },
}

fn or_nothing(said: &str) -> &str {
    if said.is_empty() {
        "it says nothing"
    } else {
        said
    }
}

impl HelmError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFound | Self::Unsupported { .. } => {
                "install Helm 3.12 or later, or 4, or name it with `--helm PATH`; \
                 without helm, list the images and set `discover: none` for the chart"
            }
            Self::Unusable { .. } => "name the program with `--helm PATH`",
            Self::NotHelm { .. } => {
                "it runs without the environment of the user: name the program itself with \
                 `--helm PATH`, not a script or shim that looks for it"
            }
            Self::SandboxFailed { .. } => {
                "it is started without privileges: the program and the directories on the way to \
                 it have to be open to its owner or to everybody"
            }
            Self::Io { .. } => "check that TMPDIR names a directory with room in it",
            Self::Exceeded(
                Limit::Output(_) | Limit::Time(_) | Limit::Cpu(_) | Limit::Memory(_),
            ) => {
                "no known chart comes near: look at its templates and at the values; \
                 without rendering, list the images and set `discover: none` for the chart"
            }
            Self::DoesNotRender { said, .. } => rendering_hint(said),
            Self::NoSandbox | Self::Killed { .. } | Self::NotText { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// What helps against a message of `helm`. Most charts that do not render lack values.
fn rendering_hint(said: &str) -> &'static str {
    if said.contains("incompatible with Kubernetes") || said.contains("invalid kube version") {
        "name the version of Kubernetes that is installed on with `--kube-version VERSION`"
    } else if said.contains("missing in charts/") {
        "package the chart with its dependencies: `helm dependency build`"
    } else if said.contains("charts are not installable") {
        "other charts are built with it: carry those, or it alone with `discover: none`"
    } else if said.contains("parse error") || said.contains("failed to parse") {
        "a template or values file is broken: see the line that is named"
    } else {
        "give the values that the installation uses with `--values FILE`"
    }
}

impl HelmError {
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { action, cause }
    }

    pub(super) fn sandbox(reason: &str) -> Self {
        Self::SandboxFailed {
            reason: clip(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_in_numbers() {
        let told = |limit| HelmError::Exceeded(limit).to_string();
        assert_eq!(
            told(Limit::Time(Duration::from_secs(60))),
            "helm was not done after 60 s"
        );
        assert_eq!(
            told(Limit::Output(64 << 20)),
            "helm printed more than 64 MiB"
        );
        assert_eq!(told(Limit::Output(5)), "helm printed more than 5 bytes");
        assert_eq!(
            told(Limit::Memory(1 << 30)),
            "helm needs more than 1024 MiB of memory"
        );
    }

    #[test]
    fn the_hint_fits_what_helm_says() {
        let hint = |said: &str| {
            let said = said.to_owned();
            let release = "shop".to_owned();
            HelmError::DoesNotRender { release, said }.hint().unwrap()
        };
        for (said, helps) in [
            (
                "execution error at (loki/templates/validate.yaml:31:4): bucket is required",
                "--values",
            ),
            (
                "values don't meet the specifications of the schema(s)",
                "--values",
            ),
            (
                "chart requires kubeVersion: >=1.40 which is incompatible with Kubernetes v1.33.0",
                "--kube-version",
            ),
            (
                "found in Chart.yaml, but missing in charts/ directory: redis",
                "helm dependency build",
            ),
            (
                "failed to parse values.yaml: yaml: line 2",
                "the line that is named",
            ),
        ] {
            assert!(hint(said).contains(helps), "{said}: {}", hint(said));
        }
    }

    #[test]
    fn without_helm_it_says_how_to_go_on() {
        let hint = HelmError::NotFound.hint().unwrap();
        for helps in ["Helm 3.12", "--helm PATH", "discover: none"] {
            assert!(hint.contains(helps), "{hint}");
        }
    }
}
