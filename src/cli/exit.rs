//! How the program ends: exit codes, and errors as the user sees them.

use std::{fmt, process::ExitCode};

/// What the exit code says. The numbers are a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for is done.
    Done = 0,
    /// A fault of this program.
    Internal = 1,
    /// Wrong usage or input: arguments, `bundle.yaml`, lists, key files.
    Usage = 2,
    /// The bundle is damaged or not canonical.
    Damaged = 3,
    /// The bundle is not trusted: signature or policy.
    Untrusted = 4,
    /// The source failed or is incomplete.
    Source = 5,
    /// The destination failed or clashes.
    Destination = 6,
    /// Reading or writing on this machine failed.
    LocalIo = 7,
    /// Ended by SIGINT or SIGTERM.
    Interrupted = 130,
}

impl Exit {
    /// All codes, in ascending order.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Internal,
        Self::Usage,
        Self::Damaged,
        Self::Untrusted,
        Self::Source,
        Self::Destination,
        Self::LocalIo,
        Self::Interrupted,
    ];

    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Internal => "internal fault",
            Self::Usage => "wrong usage or input",
            Self::Damaged => "the bundle is damaged or not canonical",
            Self::Untrusted => "not trusted (signature, policy)",
            Self::Source => "the source failed or is incomplete",
            Self::Destination => "the destination failed or clashes",
            Self::LocalIo => "local input or output failed",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure, ready to be shown: what happened in one line, the particulars one a line, and what
/// to do next. Text may hold foreign strings; they are escaped when it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    /// How the program ends.
    pub exit: Exit,
    /// What failed: lower case, no full stop.
    pub message: String,
    /// Particulars, each one line.
    pub details: Vec<String>,
    /// What to do next; may have several lines.
    pub hint: Option<String>,
}

impl CliError {
    /// An error without particulars and hint.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            details: Vec::new(),
            hint: None,
        }
    }

    /// Wrong usage or input (exit code 2).
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The end after a signal (exit code 130).
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    /// The same error with one more particular.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.details.push(detail.to_string());
        self
    }

    /// The same error with more particulars.
    #[must_use]
    pub fn details<T: fmt::Display>(mut self, details: impl IntoIterator<Item = T>) -> Self {
        let details = details.into_iter().map(|detail| detail.to_string());
        self.details.extend(details);
        self
    }

    /// The same error with this advice.
    #[must_use]
    pub fn hint(self, hint: impl fmt::Display) -> Self {
        self.maybe_hint(Some(hint.to_string()))
    }

    /// The same error with this advice, if there is any; takes what the library's `hint()` gives.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_were_promised() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 130]);
    }

    #[test]
    fn an_error_keeps_what_was_put_into_it() {
        let error = CliError::new(Exit::Source, "x").detail(1).details(["2"]);
        assert_eq!(error.details, ["1", "2"]);
        assert_eq!(error.clone().hint("a").maybe_hint(None).hint.unwrap(), "a");
        assert_eq!(error.exit.code(), 5);
    }
}
