//! What goes into a bundle: the arguments that `create` and `plan` share.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::chart_inputs::ChartArgs;
use crate::{
    cli::{
        args::{RegistryArgs, one_reader_of_stdin},
        exit::CliError,
        output::Output,
        values::{self, is_dash},
    },
    registry::{Client, Mirror, ProxyUse},
    request::{
        ReferrerChoice, Request, RequestBuilder, RequestedImage, check_bundle_name,
        check_bundle_version, check_platform, check_referrer_type,
    },
};

/// The file that is read when nothing else says what goes in.
const DEFAULT_SPEC: &str = "bundle.yaml";
/// The lock beside it.
const DEFAULT_LOCK: &str = "bundle.lock";

/// What goes into a bundle.
#[derive(Clone, Debug, Default, Args)]
pub struct InputArgs {
    /// Read what goes in from this file [default: bundle.yaml, when nothing else is asked for]
    #[arg(short, long, value_name = "FILE", env = "BUNDLE_FILE")]
    pub file: Option<PathBuf>,
    /// Take this image, such as quay.io/tigera/cni:v3.16.1 or alpine; may be repeated
    #[arg(long, value_name = "REF", env = "BUNDLE_IMAGE", value_delimiter = ',')]
    pub image: Vec<String>,
    /// Take the images of this list, one reference a line (`-` for standard input); may be
    /// repeated
    #[arg(
        long,
        value_name = "FILE",
        env = "BUNDLE_IMAGES_FROM",
        value_delimiter = '\n'
    )]
    pub images_from: Vec<PathBuf>,
    /// Charts and their releases.
    #[command(flatten)]
    pub charts: ChartArgs,
    /// Carry this plain file along; may be repeated
    #[arg(
        long,
        value_name = "PATH",
        env = "BUNDLE_ADD_FILE",
        value_delimiter = '\n'
    )]
    pub add_file: Vec<PathBuf>,
    /// Take only this platform of each image; may be repeated
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", env = "BUNDLE_PLATFORM")]
    #[arg(value_delimiter = ',', value_parser = platform)]
    pub platform: Vec<String>,
    /// Do not take along what refers to images and charts: signatures, attestations, SBOMs
    #[arg(long, env = "BUNDLE_NO_REFERRERS", value_parser = values::switch)]
    #[arg(conflicts_with = "referrer_type")]
    pub no_referrers: bool,
    /// Of what refers to images and charts, take only this artifact type; may be repeated. What
    /// cosign keeps under tags has the types .sig, .att and .sbom
    #[arg(long, value_name = "TYPE", env = "BUNDLE_REFERRER_TYPE")]
    #[arg(value_delimiter = ',', value_parser = referrer_type)]
    pub referrer_type: Vec<String>,
    /// Name of the bundle, instead of metadata.name
    #[arg(long, env = "BUNDLE_NAME", value_parser = name)]
    pub name: Option<String>,
    /// Version of the bundle, instead of metadata.version
    #[arg(long, value_name = "VERSION", env = "BUNDLE_VERSION", value_parser = version)]
    pub bundle_version: Option<String>,
    /// Ask another registry for the images of a host; their names stay as they are. May be
    /// repeated
    #[arg(
        long,
        value_name = "HOST=HOST[/PATH]",
        env = "BUNDLE_MIRROR",
        value_delimiter = ','
    )]
    pub mirror: Vec<Mirror>,
}

fn platform(text: &str) -> Result<String, crate::request::NameError> {
    check_platform(text).map(|()| text.to_owned())
}

fn referrer_type(text: &str) -> Result<String, String> {
    check_referrer_type(text).map(|()| text.to_owned())
}

fn name(text: &str) -> Result<String, crate::request::NameError> {
    check_bundle_name(text).map(|()| text.to_owned())
}

fn version(text: &str) -> Result<String, crate::request::NameError> {
    check_bundle_version(text).map(|()| text.to_owned())
}

impl InputArgs {
    /// Refuses two readers of standard input, `password_stdin` being another one.
    pub(super) fn check(&self, password_stdin: bool) -> Result<(), CliError> {
        self.charts.check()?;
        let lists = self.images_from.iter().filter(|path| is_dash(path)).count();
        one_reader_of_stdin([
            ("--images-from -", lists),
            ("--password-stdin", usize::from(password_stdin)),
        ])
    }

    /// Reads everything that was asked for, and tells of what was asked for twice.
    ///
    /// # Errors
    /// With exit code 2 and everything that is wrong, or when nothing was asked for.
    pub fn request(&self, output: &Output) -> Result<Request, CliError> {
        let mut builder = RequestBuilder::new();
        if let Some(spec) = self.spec_file(Path::new(DEFAULT_SPEC).exists()) {
            builder.spec_file(&spec);
        }
        for reference in self.charts.add_to(&mut builder, &self.image) {
            builder.image(reference);
        }
        for list in &self.images_from {
            if is_dash(list) {
                builder.list_stdin(io::stdin().lock());
            } else {
                builder.list_file(list);
            }
        }
        for path in &self.add_file {
            builder.file(path);
        }
        builder.platforms(self.platform.iter().map(String::as_str));
        if self.no_referrers {
            builder.referrers(ReferrerChoice::None);
        } else if !self.referrer_type.is_empty() {
            builder.referrers(ReferrerChoice::of_types(self.referrer_type.clone()));
        }
        if let Some(name) = &self.name {
            builder.name(name);
        }
        if let Some(version) = &self.bundle_version {
            builder.version(version);
        }
        let mut request = builder.build()?;
        self.charts.override_in(&mut request);
        if request.is_empty() {
            return Err(nothing_asked_for());
        }
        tell_repeated(&request, output);
        Ok(request)
    }

    /// The hosts that will be asked for the images: their own or their mirrors.
    pub fn source_hosts(&self, request: &Request) -> BTreeSet<String> {
        let asked = |image: &RequestedImage| {
            let repository = image.reference.repository();
            let mirrored = self
                .mirror
                .iter()
                .find_map(|mirror| mirror.apply(repository));
            mirrored.as_ref().unwrap_or(repository).host().to_owned()
        };
        let images = request.images.iter().map(asked);
        let charts = request
            .charts
            .iter()
            .filter_map(|chart| chart.source.host());
        images.chain(charts).collect()
    }

    /// A client for the registries that a request names, mirrors applied.
    ///
    /// # Errors
    /// With exit code 2 when no client can be made of these arguments.
    pub fn client(
        &self,
        registry: &RegistryArgs,
        request: &Request,
        proxy: ProxyUse,
        output: &Arc<Output>,
    ) -> Result<Client, CliError> {
        let hosts = self.source_hosts(request);
        let mut config = registry.client_config(proxy, hosts.iter().map(String::as_str), output)?;
        config.mirrors = self.mirror.clone();
        Client::new(config).map_err(|error| CliError::source(&error))
    }

    /// The lock that belongs to these inputs: bundle.lock beside the bundle.yaml that is read.
    pub fn default_lock(&self) -> Option<PathBuf> {
        let spec = self.spec_file(Path::new(DEFAULT_SPEC).exists())?;
        Some(spec.with_file_name(DEFAULT_LOCK))
    }

    /// The `bundle.yaml` to read: the one that is named, or the one that is there when no other
    /// argument says what goes in.
    pub fn spec_file(&self, default_exists: bool) -> Option<PathBuf> {
        let nothing_else = self.image.is_empty()
            && self.images_from.is_empty()
            && self.add_file.is_empty()
            && self.charts.chart.is_empty();
        match &self.file {
            Some(file) => Some(file.clone()),
            None if nothing_else && default_exists => Some(PathBuf::from(DEFAULT_SPEC)),
            None => None,
        }
    }
}

fn nothing_asked_for() -> CliError {
    CliError::usage("nothing to put into a bundle").hint(
        "-f bundle.yaml, --image REFERENCE, --images-from FILE, --chart CHART or --add-file PATH",
    )
}

fn tell_repeated(request: &Request, output: &Output) {
    let repeated = request.repeated().count();
    if repeated == 0 {
        return;
    }
    output.note(&format!(
        "{} asked for more than once; each goes in once",
        crate::human::count(repeated, "image is", "images are")
    ));
    for image in request.repeated() {
        let origins: Vec<String> = image.origins.iter().map(ToString::to_string).collect();
        output.detail(&format!("  {}   {}", image.reference, origins.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Verbosity, tests::captured};

    #[test]
    fn a_mirror_is_asked_instead_of_the_host() {
        let mut builder = RequestBuilder::new();
        builder.image("quay.io/a/b").image("alpine");
        let request = builder.build().unwrap();
        let mut inputs = InputArgs::default();
        let hosts = |inputs: &InputArgs| Vec::from_iter(inputs.source_hosts(&request));
        assert_eq!(hosts(&inputs), ["docker.io", "quay.io"]);
        inputs.mirror = vec!["quay.io=mirror.local:5000/quay".parse().unwrap()];
        assert_eq!(hosts(&inputs), ["docker.io", "mirror.local:5000"]);
    }

    #[test]
    fn what_is_asked_for_twice_is_told() {
        let (output, _, stderr) = captured(Verbosity::Verbose);
        let inputs = InputArgs {
            image: vec![
                "alpine".to_owned(),
                "docker.io/library/alpine:latest".to_owned(),
            ],
            ..InputArgs::default()
        };
        assert_eq!(inputs.request(&output).unwrap().images.len(), 1);
        assert_eq!(stderr.text(), "", "one argument twice has one origin");

        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("list");
        std::fs::write(&list, "alpine\nalpine\n").unwrap();
        let inputs = InputArgs {
            images_from: vec![list],
            ..InputArgs::default()
        };
        inputs.request(&output).unwrap();
        assert_eq!(
            stderr.text(),
            "1 image is asked for more than once; each goes in once\n  \
             docker.io/library/alpine:latest   list:1, list:2\n"
        );
    }

    #[test]
    fn a_file_alone_is_enough_and_nothing_is_not() {
        let (output, ..) = captured(Verbosity::Normal);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.md");
        std::fs::write(&file, "x").unwrap();
        let inputs = InputArgs {
            add_file: vec![file],
            ..InputArgs::default()
        };
        assert_eq!(inputs.request(&output).unwrap().files[0].name, "a.md");
        let list = directory.path().join("empty");
        std::fs::write(&list, "# nothing\n").unwrap();
        let inputs = InputArgs {
            images_from: vec![list],
            ..InputArgs::default()
        };
        let error = inputs.request(&output).unwrap_err();
        assert_eq!(error.message, "nothing to put into a bundle");
    }
}
