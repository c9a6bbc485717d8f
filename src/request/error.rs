//! What can be wrong with a request. Everything wrong with one file is reported at once.

use std::{fmt, io};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the user named it, or `stdin`; empty for an argument.
    pub file: String,
    /// The line, counted from 1; 0 where there is none.
    pub line: u64,
    /// The column, counted from 1; 0 where there is none.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// A problem of an argument, which has no place.
    pub(super) fn of_argument(message: impl Into<String>) -> Self {
        Self {
            file: String::new(),
            line: 0,
            column: 0,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    /// `FILE:LINE:COLUMN: MESSAGE`, without the parts that are not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
            if self.line > 0 {
                write!(f, "{}:", self.line)?;
                if self.column > 0 {
                    write!(f, "{}:", self.column)?;
                }
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

/// Why a request cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file as the user named it.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file is larger than anything that is meant to be one.
    #[error("{file} is larger than {limit} bytes")]
    TooLarge {
        /// The file as the user named it.
        file: String,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// A path that leads to something other than the kind of file that is wanted.
    #[error("{file} is {what}")]
    NotAFile {
        /// The file as the user named it.
        file: String,
        /// What it is instead.
        what: &'static str,
    },
    /// Content that is not as it must be.
    #[error("{}", summary(problems))]
    Invalid {
        /// Everything that is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
}

impl RequestError {
    /// What to do next, where that is not obvious.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooLarge { .. } => Some("is this the right file?".to_owned()),
            _ => None,
        }
    }

    /// The problems one by one, where there are several; the error's own text only counts them.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems } if problems.len() > 1 => problems,
            _ => &[],
        }
    }
}

fn summary(problems: &[Problem]) -> String {
    match problems {
        [one] => one.to_string(),
        [first, ..] if problems.iter().all(|p| p.file == first.file) && !first.file.is_empty() => {
            format!("{} has {} problems", first.file, problems.len())
        }
        _ => format!("the request has {} problems", problems.len()),
    }
}
