//! The one place that prints: results to standard output, messages to standard error.
//!
//! Callers hand over plain text; it is escaped and styled here, so that no foreign string can
//! reach a terminal by another way.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use super::{
    escape::{escape, escape_json},
    exit::{CliError, Exit},
    table::Table,
};
use crate::human;

/// How much is said on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors and warnings only.
    Quiet,
    /// Steps and progress too.
    #[default]
    Normal,
    /// Every item that is done, and what would be left out otherwise.
    Verbose,
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const WORD: Style = AnsiColor::Green.on_default().bold();
const HEADER: Style = Style::new().bold();

/// Both output streams. Messages on standard error are best effort (there is nowhere to report a
/// failure to); a result that cannot be written is an error, except when its reader has gone.
pub struct Output {
    streams: Mutex<Streams>,
    colours: Colours,
    bars: MultiProgress,
    verbosity: Verbosity,
}

struct Streams {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
}

/// Which streams get colours.
#[derive(Clone, Copy, Debug, Default)]
struct Colours {
    stdout: bool,
    stderr: bool,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("verbosity", &self.verbosity)
            .finish_non_exhaustive()
    }
}

impl Output {
    /// The output of this process. Colours follow `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`,
    /// `TERM` and whether a terminal is there; progress bars need a terminal too.
    pub fn of_process(verbosity: Verbosity) -> Self {
        // A terminal of a CI system is a log that happens to understand colours.
        let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        let quiet = verbosity == Verbosity::Quiet;
        let bars = if quiet || ci || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let colours = Colours {
            stdout: AutoStream::choice(&io::stdout()) != ColorChoice::Never,
            stderr: AutoStream::choice(&io::stderr()) != ColorChoice::Never,
        };
        let (stdout, stderr) = (Box::new(io::stdout()), Box::new(io::stderr()));
        Self {
            colours,
            ..Self::new(stdout, stderr, bars, verbosity)
        }
    }

    /// Output to these streams without colours, with bars drawn to `bars`.
    pub fn new(
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
        bars: ProgressDrawTarget,
        verbosity: Verbosity,
    ) -> Self {
        Self {
            streams: Mutex::new(Streams { stdout, stderr }),
            colours: Colours::default(),
            bars: MultiProgress::with_draw_target(bars),
            verbosity,
        }
    }

    /// How much is said.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// The progress bars, below which messages are not lost because everything is printed above.
    pub(super) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Takes the progress bars off the screen, at the end of the program.
    pub(super) fn clear_bars(&self) {
        let _ = self.bars.clear();
    }

    /// Prints one line of the result.
    ///
    /// # Errors
    /// When standard output cannot be written; not when its reader has closed it.
    pub fn line(&self, text: &str) -> Result<(), CliError> {
        self.result(format!("{}\n", escape(text)).as_bytes())
    }

    /// Prints a table as the result.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn table(&self, table: &Table) -> Result<(), CliError> {
        let header = if self.colours.stdout {
            HEADER
        } else {
            Style::new()
        };
        let mut text = String::new();
        for (at, line) in table.lines().iter().enumerate() {
            let style = if at == 0 { header } else { Style::new() };
            text.push_str(&format!("{style}{line}{style:#}\n"));
        }
        self.result(text.as_bytes())
    }

    /// Prints a value as indented JSON as the result.
    ///
    /// # Errors
    /// As [`line`](Self::line), and when the value cannot be JSON, which is a fault of this
    /// program.
    pub fn json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let json = serde_json::to_string_pretty(value)
            .map_err(|e| CliError::new(Exit::Internal, format!("cannot write JSON: {e}")))?;
        self.result(format!("{}\n", escape_json(&json)).as_bytes())
    }

    /// Writes bytes as they are to standard output: a document that was asked for by name
    /// (`--raw`), a completion script. Not escaped, so not for anything that is only shown.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn raw(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.result(bytes)
    }

    /// Prints a warning.
    pub fn warn(&self, text: &str) {
        self.message(&self.labelled("warning:", WARNING, [text]));
    }

    /// Prints a finished step with the time that it took, unless quiet.
    pub fn step(&self, word: &str, text: &str, took: Option<Duration>) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let mut lines = text.lines().map(escape);
        let mut first = lines.next().unwrap_or_default();
        if let Some(took) = took.filter(|took| *took >= Duration::from_millis(100)) {
            first.push_str("   ");
            first.push_str(&human::duration(took));
        }
        let style = self.for_messages(WORD);
        let mut message = format!("{style}{:<10}{style:#} {first}\n", escape(word));
        for line in lines {
            message.push_str(&format!("{:<10} {line}\n", ""));
        }
        self.message(&message);
    }

    /// Says what the user would do next, unless quiet.
    pub fn next(&self, text: &str) {
        self.step("next", text, None);
    }

    /// Prints a plain line of progress, unless quiet.
    pub fn note(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.message(&format!("{}\n", escape(text)));
        }
    }

    /// Prints a line that only `--verbose` shows.
    pub fn detail(&self, text: &str) {
        if self.verbosity == Verbosity::Verbose {
            self.note(text);
        }
    }

    /// Prints an error with its particulars and its hint.
    pub fn error(&self, error: &CliError) {
        let mut message = self.labelled("error:", ERROR, [error.message.as_str()]);
        for detail in &error.details {
            message.push_str(&format!("  {}\n", escape(detail)));
        }
        if let Some(hint) = &error.hint {
            message.push_str(&self.labelled("hint:", HINT, hint.lines()));
        }
        self.message(&message);
    }

    /// `label: line`, with further lines indented below it.
    fn labelled<'a>(
        &self,
        label: &str,
        style: Style,
        lines: impl IntoIterator<Item = &'a str>,
    ) -> String {
        let style = self.for_messages(style);
        let mut lines = lines.into_iter().map(escape);
        let first = lines.next().unwrap_or_default();
        let mut message = format!("{style}{label}{style:#} {first}\n");
        let indent = label.len() + 1;
        for line in lines {
            message.push_str(&format!("{:indent$}{line}\n", ""));
        }
        message
    }

    /// The style, if messages have any.
    fn for_messages(&self, style: Style) -> Style {
        if self.colours.stderr {
            style
        } else {
            Style::new()
        }
    }

    fn result(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.bars.suspend(|| {
            let stdout = &mut self.streams().stdout;
            finished(stdout.write_all(bytes).and_then(|()| stdout.flush()))
        })
    }

    fn message(&self, styled: &str) {
        self.bars.suspend(|| {
            let stderr = &mut self.streams().stderr;
            let written = stderr.write_all(styled.as_bytes());
            // Nobody is left to tell about it.
            let _ = written.and_then(|()| stderr.flush());
        });
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        // A panic while printing leaves a half line, nothing worse.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader that has seen enough (`| head`) is no failure.
fn finished(written: io::Result<()>) -> Result<(), CliError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::new(
            Exit::LocalIo,
            format!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    /// A stream that can be read while it is written.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output whose streams are kept, without colours: `(output, stdout, stderr)`.
    pub(in crate::cli) fn captured(verbosity: Verbosity) -> (Arc<Output>, Shared, Shared) {
        let (stdout, stderr) = (Shared::default(), Shared::default());
        let hidden = ProgressDrawTarget::hidden();
        let output = Output::new(
            Box::new(stdout.clone()),
            Box::new(stderr.clone()),
            hidden,
            verbosity,
        );
        (Arc::new(output), stdout, stderr)
    }

    struct Fails(io::ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn failing(kind: io::ErrorKind) -> Output {
        let hidden = ProgressDrawTarget::hidden();
        Output::new(
            Box::new(Fails(kind)),
            Box::new(Fails(kind)),
            hidden,
            Verbosity::Normal,
        )
    }

    #[test]
    fn an_error_is_one_idea_a_line() {
        let (output, stdout, stderr) = captured(Verbosity::Quiet);
        let error = CliError::usage("no key\nforged: line")
            .detail("a\nb")
            .hint("--key cosign.pub\nor another one");
        output.error(&error);
        assert_eq!(
            stderr.text(),
            "error: no key\\nforged: line\n  a\\nb\nhint: --key cosign.pub\n      or another one\n"
        );
        assert_eq!(stdout.text(), "");
    }

    #[test]
    fn nothing_foreign_reaches_the_streams_unescaped() {
        let (output, stdout, stderr) = captured(Verbosity::Verbose);
        let foreign = "a\x1b[31m\u{202e}\u{9b}\r\x07z";
        output.line(foreign).unwrap();
        output
            .json(&serde_json::json!({ foreign: foreign }))
            .unwrap();
        let mut table = Table::new([("X", super::super::table::Align::Left)]);
        table.row([foreign]);
        output.table(&table).unwrap();
        output.warn(foreign);
        output.step(foreign, foreign, None);
        output.detail(foreign);
        output.error(&CliError::usage(foreign).detail(foreign).hint(foreign));
        for text in [stdout.text(), stderr.text()] {
            let bad = text
                .chars()
                .find(|c| *c != '\n' && super::super::escape::is_unsafe(*c));
            assert_eq!(bad, None, "{text:?}");
            assert!(text.contains("31m"), "{text:?}");
        }
    }

    #[test]
    fn quiet_keeps_errors_warnings_and_results() {
        let (output, stdout, stderr) = captured(Verbosity::Quiet);
        output.step("resolved", "41 images", None);
        output.note("x");
        output.next("y");
        output.detail("z");
        assert_eq!(stderr.text(), "");
        output.warn("careful");
        output.line("result").unwrap();
        assert_eq!(stderr.text(), "warning: careful\n");
        assert_eq!(stdout.text(), "result\n");
    }

    #[test]
    fn steps_show_their_time_when_it_is_worth_it() {
        let (output, _, stderr) = captured(Verbosity::Normal);
        output.step(
            "resolved",
            "41 of 41 images",
            Some(Duration::from_millis(2100)),
        );
        output.step("signed", "root", Some(Duration::from_millis(3)));
        output.step("plan", "one\ntwo", None);
        assert_eq!(
            stderr.text(),
            "resolved   41 of 41 images   2.1 s\nsigned     root\nplan       one\n           two\n"
        );
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_but_a_full_disk_is() {
        assert!(failing(io::ErrorKind::BrokenPipe).line("x").is_ok());
        let error = failing(io::ErrorKind::StorageFull).line("x").unwrap_err();
        assert_eq!(error.exit, Exit::LocalIo);
        // Messages have nowhere to fail to.
        failing(io::ErrorKind::StorageFull).warn("x");
    }
}
