//! Brings together what the arguments and the files ask for.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    ChartArguments, Origin, Problem, ReferrerChoice, Request, RequestError, RequestedChart,
    RequestedFile, RequestedImage, Spec, SpecFile, SpecImageSource, check_bundle_name,
    check_bundle_version, check_file_name, check_platform, load_spec, read_list,
    source::{check_regular, contained_file, open_argument},
};
use crate::oci::Reference;

/// Collects wishes from all sides into a [`Request`]. Nothing stops at a mistake:
/// [`build`](Self::build) reports them all.
#[derive(Debug, Default)]
pub struct RequestBuilder {
    name: Option<String>,
    version: Option<String>,
    platforms: Option<Vec<String>>,
    spec_name: Option<String>,
    spec_version: Option<String>,
    spec_platforms: Option<Vec<String>>,
    images: Vec<Wish>,
    files: Vec<RequestedFile>,
    charts: Vec<RequestedChart>,
    operators: Vec<RequestedFile>,
    referrers: Option<ReferrerChoice>,
    spec_referrers: Option<ReferrerChoice>,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Wish {
    reference: Reference,
    platforms: Option<Vec<String>>,
    origin: Origin,
}

impl RequestBuilder {
    /// Nothing asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the bundle; it goes before that of a `bundle.yaml`.
    pub fn name(&mut self, name: &str) -> &mut Self {
        self.check(check_bundle_name(name));
        self.name = Some(name.to_owned());
        self
    }

    /// The version of the bundle; it goes before that of a `bundle.yaml`.
    pub fn version(&mut self, version: &str) -> &mut Self {
        self.check(check_bundle_version(version));
        self.version = Some(version.to_owned());
        self
    }

    /// The platforms of all images that do not name their own, instead of those of a
    /// `bundle.yaml`.
    pub fn platforms<'a>(&mut self, platforms: impl IntoIterator<Item = &'a str>) -> &mut Self {
        for platform in platforms {
            self.check(check_platform(platform));
            self.platforms
                .get_or_insert_default()
                .push(platform.to_owned());
        }
        self
    }

    /// Which referrers come along, instead of what a `bundle.yaml` says.
    pub fn referrers(&mut self, choice: ReferrerChoice) -> &mut Self {
        self.referrers = Some(choice);
        self
    }

    /// An image that was asked for by argument.
    pub fn image(&mut self, reference: &str) -> &mut Self {
        match reference.parse() {
            Ok(reference) => self.images.push(Wish {
                reference,
                platforms: None,
                origin: Origin::Argument,
            }),
            Err(error) => self.wrong(error),
        }
        self
    }

    /// A list of images in a file (or a pipe that has a name).
    pub fn list_file(&mut self, path: &Path) -> &mut Self {
        let shown = path.display().to_string();
        match open_argument(path) {
            Ok(file) => self.list(file, &shown, &file_name(path)),
            Err(error) => self.failed(error),
        }
        self
    }

    /// A list of images that is read from standard input.
    pub fn list_stdin(&mut self, stdin: impl Read) -> &mut Self {
        self.list(stdin, "stdin", "stdin");
        self
    }

    /// Everything that a `bundle.yaml` says.
    pub fn spec_file(&mut self, path: &Path) -> &mut Self {
        match load_spec(path) {
            Ok((spec, directory)) => self.spec(spec, &directory, &path.display().to_string()),
            Err(error) => self.failed(error),
        }
        self
    }

    /// A file to carry that was asked for by argument, under its own name.
    pub fn file(&mut self, path: &Path) -> &mut Self {
        let name = file_name(path);
        if let Err(error) = check_regular(path) {
            self.failed(error);
        } else if self.check(check_file_name(&name)) {
            self.files.push(RequestedFile {
                name,
                path: path.to_owned(),
                origin: Origin::Argument,
            });
        }
        self
    }

    /// A chart that was asked for by argument.
    pub fn chart(&mut self, arguments: &ChartArguments<'_>) -> &mut Self {
        match arguments.requested() {
            Ok(chart) => self.charts.push(chart),
            Err(problems) => self.problems.extend(problems),
        }
        self
    }

    /// Puts it all together.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] with everything that was wrong.
    pub fn build(mut self) -> Result<Request, RequestError> {
        self.files.sort();
        for pair in self.files.windows(2) {
            if pair[0].name == pair[1].name {
                self.problems.push(Problem::of_argument(format!(
                    "two files would be named `{}`: give one of them another name \
                     in bundle.yaml, `{{path: PATH, name: NAME}}`",
                    pair[0].name
                )));
            }
        }
        if !self.problems.is_empty() {
            return Err(RequestError::Invalid {
                problems: self.problems,
            });
        }
        let platforms = self.platforms.or(self.spec_platforms).map(sorted);
        let images = merged(self.images, platforms.as_deref());
        Ok(Request {
            name: self.name.or(self.spec_name),
            version: self.version.or(self.spec_version),
            platforms,
            images,
            files: self.files,
            charts: self.charts,
            operators: self.operators,
            referrers: self.referrers.or(self.spec_referrers).unwrap_or_default(),
        })
    }

    fn spec(&mut self, spec: Spec, directory: &Path, shown: &str) {
        let file = file_name(Path::new(shown));
        for image in spec.images {
            match image.source {
                SpecImageSource::Image {
                    reference,
                    platforms,
                } => self.images.push(Wish {
                    reference,
                    platforms,
                    origin: Origin::File {
                        file: file.clone(),
                        line: image.line,
                    },
                }),
                SpecImageSource::List(path) => {
                    let opened = contained_file(directory, &path).and_then(|p| open_argument(&p));
                    match opened {
                        Ok(opened) => self.list(opened, &path, &path),
                        Err(error) => self.failed_at(error, shown, image.line),
                    }
                }
            }
        }
        for wanted in spec.files {
            let found = self.contained(wanted, directory, &file, shown);
            self.files.extend(found);
        }
        for wanted in spec.operators {
            let found = self.contained(wanted, directory, &file, shown);
            self.operators.extend(found);
        }
        for chart in spec.charts {
            let kube_version = spec.kube_version.as_deref();
            match self.spec_chart(chart, kube_version, directory, &file, shown) {
                Ok(chart) => self.charts.push(chart),
                Err((error, line)) => self.failed_at(error, shown, line),
            }
        }
        self.spec_name = Some(spec.name);
        self.spec_version = spec.version;
        self.spec_platforms = spec.platforms;
        self.spec_referrers = spec.referrers;
    }

    fn contained(
        &mut self,
        wanted: SpecFile,
        directory: &Path,
        file: &str,
        shown: &str,
    ) -> Option<RequestedFile> {
        match contained_file(directory, &wanted.path) {
            Ok(path) => Some(RequestedFile {
                name: wanted.name,
                path,
                origin: Origin::File {
                    file: file.to_owned(),
                    line: wanted.line,
                },
            }),
            Err(error) => {
                self.failed_at(error, shown, wanted.line);
                None
            }
        }
    }

    fn list(&mut self, reader: impl Read, shown: &str, origin: &str) {
        match read_list(reader, shown) {
            Ok(listed) => self.images.extend(listed.into_iter().map(|image| Wish {
                reference: image.reference,
                platforms: None,
                origin: Origin::File {
                    file: origin.to_owned(),
                    line: image.line,
                },
            })),
            Err(error) => self.failed(error),
        }
    }

    fn check<E: ToString>(&mut self, result: Result<(), E>) -> bool {
        result.map_err(|error| self.wrong(error)).is_ok()
    }

    fn wrong(&mut self, error: impl ToString) {
        self.problems.push(Problem::of_argument(error.to_string()));
    }

    fn failed(&mut self, error: RequestError) {
        match error {
            RequestError::Invalid { problems } => self.problems.extend(problems),
            other => self.wrong(other),
        }
    }

    pub(super) fn failed_at(&mut self, error: RequestError, file: &str, line: u64) {
        self.problems.push(Problem {
            file: file.to_owned(),
            line,
            column: 0,
            message: error.to_string(),
        });
    }
}

/// The last part of a path; `/dev/fd/63` and its like are as good as any other name.
fn file_name(path: &Path) -> String {
    let path = PathBuf::from(path);
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// Each reference once, with all its origins, and with the platforms of all who asked for it.
fn merged(wishes: Vec<Wish>, defaults: Option<&[String]>) -> Vec<RequestedImage> {
    let mut by_reference: BTreeMap<Reference, Vec<Wish>> = BTreeMap::new();
    for wish in wishes {
        by_reference
            .entry(wish.reference.clone())
            .or_default()
            .push(wish);
    }
    let merge = |(reference, wishes): (Reference, Vec<Wish>)| {
        let of_all = |wish: &Wish| match &wish.platforms {
            Some(own) => Some(own.clone()),
            None => defaults.map(<[String]>::to_vec),
        };
        let platforms = if wishes.iter().all(|wish| wish.platforms.is_none()) {
            None
        } else {
            // Whoever named no platforms, where there are no defaults either, wants them all.
            let each: Option<Vec<_>> = wishes.iter().map(of_all).collect();
            each.map(|each| sorted(each.concat()))
        };
        let mut origins: Vec<Origin> = wishes.into_iter().map(|wish| wish.origin).collect();
        origins.sort();
        origins.dedup();
        RequestedImage {
            reference,
            platforms,
            origins,
        }
    };
    by_reference.into_iter().map(merge).collect()
}

fn sorted(mut platforms: Vec<String>) -> Vec<String> {
    platforms.sort();
    platforms.dedup();
    platforms
}
