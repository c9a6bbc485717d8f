//! Rendering charts with the real `helm`, as a subprocess that gets nothing and may do little.
//!
//! A chart is a program written by others. `helm` runs it, and [`sandbox`] runs `helm`: with
//! limits for time, memory and files, with no environment, home, plugins or cluster of the user,
//! and, where the system allows it, without a network. The chart and the values are given as
//! files, so that nothing has to be fetched.
//!
//! A program that renders calls [`sandbox::enter_if_asked`] first of all in its `main`, and then
//! uses [`Helm::find`] and [`Helm::template`].

mod error;
mod find;
mod message;
mod run;
pub mod sandbox;
mod workspace;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

pub use error::{HelmError, Limit};
pub use workspace::abandon_workspaces;

use self::{
    message::chart_message,
    run::{Job, run},
    sandbox::Sandbox,
    workspace::Workspace,
};

/// A `helm` program of a supported version: 3.12 and later of 3, and 4.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
    version: String,
    sandbox: Sandbox,
    offline: bool,
}

/// What `helm template` is to render.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    /// The chart with its dependencies, as a `.tgz` archive that has been checked.
    pub archive: &'a [u8],
    /// The values files in their order, each with the name that messages use for it.
    pub values: &'a [(String, Vec<u8>)],
    /// The name of the release.
    pub release: &'a str,
    /// The namespace of the release.
    pub namespace: &'a str,
    /// The version of Kubernetes to render for; without one, what this `helm` assumes.
    pub kube_version: Option<&'a str>,
    /// API versions that the cluster has beside those that `helm` assumes.
    pub api_versions: &'a [String],
    /// Whether to keep the hooks of `helm test`. All other hooks are always rendered.
    pub tests: bool,
}

impl Helm {
    /// Finds `helm` and asks it for its version: the program `explicit` names, else the first
    /// `helm` on `PATH`. Relative directories on `PATH` are not searched.
    ///
    /// # Errors
    /// When this program does not call [`sandbox::enter_if_asked`], when there is no `helm`, or
    /// when it does not start or is of a version that is not supported.
    pub async fn find(explicit: Option<&Path>) -> Result<Self, HelmError> {
        Self::find_in(explicit, Sandbox::of_this_program()?).await
    }

    /// Like [`find`](Self::find), with a sandbox that the caller has set up.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn find_in(explicit: Option<&Path>, sandbox: Sandbox) -> Result<Self, HelmError> {
        let program = find::locate(explicit, std::env::var_os("PATH").as_deref())?;
        let arguments = ["version", "--template", "{{.Version}}"].map(OsString::from);
        let ended = run(Job {
            sandbox: sandbox.clone(),
            program: program.clone(),
            arguments: arguments.into(),
            workspace: Workspace::create()?,
            max_output: find::MAX_VERSION_OUTPUT,
        })
        .await?;
        if !ended.succeeded {
            return Err(HelmError::NotHelm {
                said: message::plain(&ended.stderr),
                program,
            });
        }
        let version = find::accepted_version(&program, &ended.stdout)?;
        Ok(Self {
            program,
            version,
            sandbox,
            offline: ended.offline,
        })
    }

    /// Where the program is; an absolute path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its version in its own words: `v3.17.3`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether the system let it have a network namespace of its own, in which there is nothing
    /// to talk to.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Renders a chart: the YAML documents of all templates and hooks, without CRDs of `crds/`.
    ///
    /// The process group of `helm` is killed, and its files are removed, when the future is
    /// dropped or this process ends. Two runs may differ, where the chart makes random passwords or
    /// certificates.
    ///
    /// # Errors
    /// [`HelmError::DoesNotRender`] with the message of `helm`; the other variants where `helm`
    /// does not start, exceeds a limit, or prints what is not UTF-8.
    pub async fn template(&self, rendering: &Rendering<'_>) -> Result<String, HelmError> {
        let workspace = Workspace::create()?;
        workspace.write_chart(rendering.archive)?;
        let mut shown = vec![(workspace::CHART.to_owned(), "the chart".to_owned())];
        for (number, (name, content)) in rendering.values.iter().enumerate() {
            let file = workspace.write_values(number, content)?;
            shown.push((file, message::clip(name)));
        }
        let shown = workspace.names_in_messages(&shown);
        let ended = run(Job {
            sandbox: self.sandbox.clone(),
            program: self.program.clone(),
            arguments: template_arguments(rendering),
            workspace,
            max_output: self.sandbox.limits().output,
        })
        .await?;
        if !ended.succeeded {
            return Err(HelmError::DoesNotRender {
                release: message::clip(rendering.release),
                said: chart_message(&ended.stderr, &shown),
            });
        }
        String::from_utf8(ended.stdout).map_err(|_| HelmError::NotText {
            release: message::clip(rendering.release),
        })
    }
}

/// Values follow their flag after `=`, and names come after `--`, so that none is taken for a flag.
fn template_arguments(rendering: &Rendering<'_>) -> Vec<OsString> {
    let mut arguments = vec![
        "template".to_owned(),
        format!("--namespace={}", rendering.namespace),
        "--include-crds=false".to_owned(),
    ];
    for number in 0..rendering.values.len() {
        arguments.push(format!("--values={}", workspace::values_name(number)));
    }
    if let Some(version) = rendering.kube_version {
        arguments.push(format!("--kube-version={version}"));
    }
    for version in rendering.api_versions {
        arguments.push(format!("--api-versions={version}"));
    }
    if !rendering.tests {
        arguments.push("--skip-tests".to_owned());
    }
    arguments.extend([
        "--".to_owned(),
        rendering.release.to_owned(),
        workspace::CHART.to_owned(),
    ]);
    arguments.into_iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_caller_is_taken_for_a_flag() {
        let values = [("values.yaml".to_owned(), Vec::new())];
        let api_versions = ["monitoring.coreos.com/v1".to_owned()];
        let rendering = Rendering {
            archive: b"",
            values: &values,
            release: "--post-renderer",
            namespace: "--debug",
            kube_version: Some("1.33"),
            api_versions: &api_versions,
            tests: false,
        };
        assert_eq!(
            template_arguments(&rendering),
            [
                "template",
                "--namespace=--debug",
                "--include-crds=false",
                "--values=./values-0.yaml",
                "--kube-version=1.33",
                "--api-versions=monitoring.coreos.com/v1",
                "--skip-tests",
                "--",
                "--post-renderer",
                "./chart.tgz",
            ]
        );
        let with_tests = Rendering {
            tests: true,
            ..rendering
        };
        let skip = OsString::from("--skip-tests");
        assert!(!template_arguments(&with_tests).contains(&skip));
    }
}
