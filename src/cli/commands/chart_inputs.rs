//! Charts and the releases that they are for: the arguments that `create` and `plan` share.

use std::path::PathBuf;

use clap::Args;

use crate::{
    bundle::Discover,
    cli::{exit::CliError, values},
    create::ChartOptions,
    request::{ChartArguments, ImageTemplate, Request, RequestBuilder, check_kube_version},
};

/// The heading of these options in a help text. (`next_help_heading` would go on behind them.)
const HEADING: &str = "Chart options";

/// A chart, how it is to be installed, and how its images are found.
#[derive(Clone, Debug, Default, Args)]
pub struct ChartArgs {
    /// Take this chart and the images that it installs: NAME with --repo, oci://HOST/PATH/NAME, a
    /// directory or a .tgz; may be repeated
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "CHART",
        env = "BUNDLE_CHART",
        value_delimiter = ','
    )]
    pub chart: Vec<String>,
    /// The repository of --chart: https://… or oci://…
    #[arg(help_heading = HEADING, long, value_name = "URL", env = "BUNDLE_REPO", requires = "chart")]
    pub repo: Option<String>,
    /// The version of --chart, or a constraint as `helm` takes it [default: the newest stable one]
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "VERSION",
        env = "BUNDLE_CHART_VERSION",
        requires = "chart"
    )]
    pub version: Option<String>,
    /// Values that the chart will be installed with; may be repeated, the last one wins
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "FILE",
        env = "BUNDLE_VALUES",
        value_delimiter = '\n',
        requires = "chart"
    )]
    pub values: Vec<PathBuf>,
    /// The name of the release [default: the chart's name]
    #[arg(help_heading = HEADING, long, value_name = "NAME", env = "BUNDLE_RELEASE", requires = "chart")]
    pub release: Option<String>,
    /// The namespace that the chart will be installed into [default: default]
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "NAME",
        env = "BUNDLE_NAMESPACE",
        requires = "chart"
    )]
    pub namespace: Option<String>,
    /// The Kubernetes version to render charts for, instead of `kubeVersion` [default: that of
    /// `helm`]
    #[arg(help_heading = HEADING, long, value_name = "VERSION", env = "BUNDLE_KUBE_VERSION")]
    #[arg(value_parser = kube_version)]
    pub kube_version: Option<String>,
    /// An API version that the cluster has, such as monitoring.coreos.com/v1; may be repeated
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "VERSION",
        env = "BUNDLE_API_VERSIONS",
        value_delimiter = ',',
        requires = "chart"
    )]
    pub api_versions: Vec<String>,
    /// How the images of --chart are found: `render` it with helm, or `none`: they are listed
    #[arg(help_heading = HEADING, long, value_name = "HOW", env = "BUNDLE_DISCOVER", requires = "chart")]
    #[arg(value_parser = ["render", "none"], default_value = "render")]
    pub discover: String,
    /// Take the images of the chart's test hooks too
    #[arg(help_heading = HEADING, long, env = "BUNDLE_TESTS", value_parser = values::switch, requires = "chart")]
    pub tests: bool,
    /// Take the images too that charts only suggest: in values that are switched off, in annotations
    #[arg(help_heading = HEADING, long, env = "BUNDLE_INCLUDE_SUGGESTED", value_parser = values::switch)]
    pub include_suggested: bool,
    /// Carry values that look like secrets; without FIELD all of them, else those of that path
    /// (`a.b`, `a.*`); may be repeated
    #[arg(help_heading = HEADING, long, value_name = "FIELD", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "", value_delimiter = ',')]
    pub allow_secrets: Vec<String>,
    /// Take archives that have not the digest that their repository's index says
    #[arg(help_heading = HEADING, long, requires = "chart")]
    pub allow_digest_mismatch: bool,
    /// Send the repository's credential to other hosts too, where its index points there
    #[arg(help_heading = HEADING, long, requires = "chart")]
    pub pass_credentials: bool,
    /// Check the provenance of every chart with the OpenPGP keys in this file
    #[arg(help_heading = HEADING, long, value_name = "FILE", env = "BUNDLE_KEYRING")]
    pub keyring: Option<PathBuf>,
    /// The `helm` that renders charts, 3.12 or later [default: the one in PATH]
    #[arg(help_heading = HEADING, long, value_name = "PATH", env = "BUNDLE_HELM")]
    pub helm: Option<PathBuf>,
}

fn kube_version(text: &str) -> Result<String, String> {
    check_kube_version(text).map(|()| text.to_owned())
}

impl ChartArgs {
    /// Refuses what the grammar of the arguments cannot.
    ///
    /// # Errors
    /// With exit code 2.
    pub fn check(&self) -> Result<(), CliError> {
        let of_one = [
            ("--repo", self.repo.is_some()),
            ("--version", self.version.is_some()),
            ("--values", !self.values.is_empty()),
            ("--release", self.release.is_some()),
            ("--namespace", self.namespace.is_some()),
        ];
        if self.chart.len() > 1
            && let Some((name, _)) = of_one.iter().find(|(_, given)| *given)
        {
            return Err(CliError::usage(format!(
                "{name} is for one --chart, and there are several"
            ))
            .hint("describe them in a bundle.yaml: bundle create --help shows one"));
        }
        Ok(())
    }

    /// Puts the charts into a request. Of `images`, those with gaps belong to the chart; the rest
    /// is given back.
    pub fn add_to<'i>(&self, builder: &mut RequestBuilder, images: &'i [String]) -> Vec<&'i str> {
        let with_gaps = |image: &&String| self.chart.len() == 1 && ImageTemplate::has_gaps(image);
        let gaps: Vec<String> = images.iter().filter(with_gaps).cloned().collect();
        for chart in &self.chart {
            builder.chart(&ChartArguments {
                chart,
                repo: self.repo.as_deref(),
                version: self.version.as_deref(),
                release: self.release.as_deref(),
                namespace: self.namespace.as_deref(),
                kube_version: self.kube_version.as_deref(),
                api_versions: &self.api_versions,
                values: &self.values,
                discover: match (self.discover.as_str(), self.tests) {
                    ("none", _) => Discover::None,
                    (_, true) => Discover::RenderWithTests,
                    (_, false) => Discover::Render,
                },
                images: &gaps,
                allow_secrets: &[],
                pass_credentials: self.pass_credentials,
                allow_digest_mismatch: self.allow_digest_mismatch,
            });
        }
        let rest = images.iter().filter(|image| !with_gaps(image));
        rest.map(String::as_str).collect()
    }

    /// Puts what holds for the charts of a bundle.yaml too in the place of what is said there.
    pub fn override_in(&self, request: &mut Request) {
        for chart in &mut request.charts {
            if let Some(version) = &self.kube_version {
                chart.kube_version = Some(version.clone());
            }
        }
    }

    /// What holds for all charts, those of a bundle.yaml included.
    pub fn options(&self) -> ChartOptions {
        ChartOptions {
            helm: self.helm.clone(),
            include_suggested: self.include_suggested,
            allow_all_secrets: self.allow_secrets.iter().any(String::is_empty),
            allow_secrets: self
                .allow_secrets
                .iter()
                .filter(|field| !field.is_empty())
                .cloned()
                .collect(),
            keyring: self.keyring.clone(),
        }
    }
}
