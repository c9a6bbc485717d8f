//! What can be wrong with a chart.

/// Why a chart cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChartError {
    /// The archive is larger than any chart.
    #[error("the archive has {size} bytes, more than the {limit} that a chart may have")]
    ArchiveTooLarge {
        /// Its size in bytes.
        size: u64,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// The content is not gzip at all.
    #[error("not a chart archive: {what}")]
    NotAnArchive {
        /// What it looks like.
        what: &'static str,
    },
    /// The compressed stream or the tar inside is damaged.
    #[error("the archive is damaged: {reason}")]
    Damaged {
        /// What the decoder says.
        reason: String,
    },
    /// Decompressed, the chart and its sub-charts are larger than Helm would read.
    #[error("decompressed, the chart is larger than {limit} bytes")]
    DecompressedTooLarge {
        /// The most that is decompressed, in bytes, all sub-charts included.
        limit: u64,
    },
    /// One file is larger than Helm would read.
    #[error("`{member}` has {size} bytes, more than the {limit} that Helm reads of one file")]
    FileTooLarge {
        /// The member of the archive.
        member: String,
        /// Its size in bytes.
        size: u64,
        /// The largest file that is read, in bytes.
        limit: u64,
    },
    /// More members than any chart has, sub-charts included.
    #[error("the chart has more than {limit} files")]
    TooManyMembers {
        /// The most that are read.
        limit: usize,
    },
    /// Sub-charts of sub-charts, deeper than any chart.
    #[error("sub-charts are nested deeper than {limit} levels")]
    TooDeep {
        /// The deepest level that is read.
        limit: usize,
    },
    /// A member that no honest packager writes: a link, a device, a path out of the directory.
    #[error("`{member}` {problem}")]
    Member {
        /// The member of the archive.
        member: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file that must be there is not.
    #[error("`{file}` is missing{}", nearly(.found))]
    FileMissing {
        /// What is missing.
        file: &'static str,
        /// A file whose name is nearly that one.
        found: Option<String>,
    },
    /// A YAML or JSON file of the chart cannot be read.
    #[error("{file}{}: {message}", place(*.line, *.column))]
    Syntax {
        /// The file within the chart.
        file: String,
        /// The line, counted from 1; 0 where there is none.
        line: u64,
        /// The column, counted from 1; 0 where there is none.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// `Chart.yaml` says something that Helm or a registry would refuse.
    #[error("{file}: {message}")]
    Metadata {
        /// The file within the chart.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// The directory in the archive and `Chart.yaml` name different charts.
    #[error("the archive holds the directory `{directory}`, but its Chart.yaml says `{name}`")]
    Directory {
        /// The directory that holds everything.
        directory: String,
        /// The name in `Chart.yaml`.
        name: String,
    },
    /// The chart is another one than was asked for.
    #[error("asked for the chart {asked}, but this is {found}")]
    OtherChart {
        /// Name and version that were asked for.
        asked: String,
        /// Name and version in `Chart.yaml`.
        found: String,
    },
    /// A sub-chart cannot be read.
    #[error("sub-chart `{sub_chart}`: {source}")]
    InSubChart {
        /// The path below the chart: `charts/NAME`.
        sub_chart: String,
        /// What is wrong with it.
        source: Box<ChartError>,
    },
    /// The metadata is too large for an OCI manifest.
    #[error("the {what} of the chart's OCI artifact has {size} bytes, more than {limit}")]
    ArtifactTooLarge {
        /// `manifest` or `config`.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The largest that registries take, in bytes.
        limit: usize,
    },
}

impl ChartError {
    /// What to do next, where that is not obvious.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotAnArchive { .. } => {
                "a chart is a .tgz as `helm package` writes it, or a directory with a Chart.yaml"
            }
            Self::Damaged { .. } => "fetch the archive again and compare its sha256",
            Self::Member { .. } => "package the chart again with `helm package`",
            Self::FileMissing { found: Some(_), .. } => "file names are case-sensitive for Helm",
            Self::FileTooLarge { .. } | Self::DecompressedTooLarge { .. } => {
                "leave out with .helmignore what is not part of the chart"
            }
            Self::InSubChart { source, .. } => return source.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Keeps foreign text in a message short, and on one line.
pub(crate) fn clip(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut clipped: String = text.chars().take(LONGEST).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn nearly(name: &Option<String>) -> String {
    name.as_ref()
        .map(|name| format!(" (there is `{name}`)"))
        .unwrap_or_default()
}

fn place(line: u64, column: u64) -> String {
    match (line, column) {
        (0, _) => String::new(),
        (line, 0) => format!(":{line}"),
        (line, column) => format!(":{line}:{column}"),
    }
}
