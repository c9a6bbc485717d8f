//! What goes into a bundle: the arguments that `create` and `plan` share.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    cli::{args::one_reader_of_stdin, exit::CliError, output::Output, values::is_dash},
    request::{Request, RequestBuilder, check_bundle_name, check_bundle_version, check_platform},
};

/// The file that is read when nothing else says what goes in.
const DEFAULT_SPEC: &str = "bundle.yaml";

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
    pub mirror: Vec<String>,
}

fn platform(text: &str) -> Result<String, crate::request::NameError> {
    check_platform(text).map(|()| text.to_owned())
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
        for reference in &self.image {
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
        if let Some(name) = &self.name {
            builder.name(name);
        }
        if let Some(version) = &self.bundle_version {
            builder.version(version);
        }
        let request = builder.build()?;
        if request.is_empty() {
            return Err(nothing_asked_for());
        }
        tell_repeated(&request, output);
        Ok(request)
    }

    /// The `bundle.yaml` to read: the one that is named, or the one that is there when no other
    /// argument says what goes in.
    pub fn spec_file(&self, default_exists: bool) -> Option<PathBuf> {
        let nothing_else =
            self.image.is_empty() && self.images_from.is_empty() && self.add_file.is_empty();
        match &self.file {
            Some(file) => Some(file.clone()),
            None if nothing_else && default_exists => Some(PathBuf::from(DEFAULT_SPEC)),
            None => None,
        }
    }
}

fn nothing_asked_for() -> CliError {
    CliError::usage("nothing to put into a bundle")
        .hint("-f bundle.yaml, --image REFERENCE, --images-from FILE or --add-file PATH")
}

fn tell_repeated(request: &Request, output: &Output) {
    let repeated = request.repeated().count();
    if repeated == 0 {
        return;
    }
    output.note(&format!(
        "{} asked for more than once; each goes in once",
        crate::cli::human::count(repeated, "image is", "images are")
    ));
    for image in request.repeated() {
        let origins: Vec<String> = image.origins.iter().map(ToString::to_string).collect();
        output.detail(&format!("  {}   {}", image.reference, origins.join(", ")));
    }
}
