//! Progress as the user sees it: bars on a terminal, a line every ten seconds elsewhere.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::{
    escape::escape,
    meter::Meter,
    output::{Output, Verbosity},
};
use crate::human;
use crate::progress::{ItemId, Progress};

/// How often a line is written where there are no bars.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// Most bars at a time, the total not counted; more would not fit a small terminal.
const MAX_BARS: usize = 12;
/// Width of the names before the bars, in the templates too.
const LABEL_WIDTH: usize = 24;
/// What is in flight. The columns behind the bar have fixed widths, so that all bars are equally
/// long: 9 characters on a terminal of 80.
const ITEM: &str = " {prefix:24} {wide_bar} {part:15}                            ";
/// All of it: the same with rate and time left.
const TOTAL: &str = " {prefix:24} {wide_bar} {part:15} {rate:>12}{left:15}";
/// A time left that is longer says nothing but that it is long.
const LONGEST_LEFT: Duration = Duration::from_secs(100 * 3600);

/// Shows the steps and transfers of a flow through an [`Output`].
#[derive(Debug)]
pub struct TerminalProgress {
    output: Arc<Output>,
    shared: Arc<Shared>,
    plain_interval: Duration,
    last_step: Mutex<Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when a transfer ends, so that the thread that writes lines does too.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    transfer: Option<Transfer>,
    /// Counts transfers, so that a thread notices that its own is over.
    transfers: u64,
    items: BTreeMap<u64, Item>,
    next_item: u64,
}

#[derive(Debug)]
struct Transfer {
    meter: Meter,
    bar: Option<ProgressBar>,
}

#[derive(Debug)]
struct Item {
    label: String,
    bytes: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

impl TerminalProgress {
    /// Progress on this output.
    pub fn new(output: Arc<Output>) -> Self {
        Self::with_interval(output, PLAIN_INTERVAL)
    }

    fn with_interval(output: Arc<Output>, plain_interval: Duration) -> Self {
        Self {
            output,
            shared: Arc::default(),
            plain_interval,
            last_step: Mutex::new(Instant::now()),
        }
    }

    fn has_bars(&self) -> bool {
        !self.output.bars().is_hidden()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    fn new_bar(&self, length: u64, label: &str, template: &str, last: bool) -> ProgressBar {
        let bars = self.output.bars();
        let bar = ProgressBar::new(length);
        // The total is the last line, whatever comes and goes above it.
        let bar = if last {
            bars.add(bar)
        } else {
            bars.insert_from_back(1, bar)
        };
        bar.set_style(style(template));
        bar.set_prefix(end_of(label, LABEL_WIDTH));
        bar
    }

    /// Gives bars to items that have none, as far as there is room.
    fn fill_bars(&self, state: &mut State) {
        if !self.has_bars() || state.transfer.is_none() {
            return;
        }
        let shown = state
            .items
            .values()
            .filter(|item| item.bar.is_some())
            .count();
        let without = state.items.values_mut().filter(|item| item.bar.is_none());
        for item in without.take(MAX_BARS.saturating_sub(shown)) {
            let bar = self.new_bar(item.bytes, &item.label, ITEM, false);
            bar.set_position(item.done);
            item.bar = Some(bar);
        }
    }

    /// Starts the thread that writes a line every interval until the transfer ends.
    fn write_lines(&self, transfer: u64) {
        let (shared, output) = (Arc::clone(&self.shared), Arc::clone(&self.output));
        let interval = self.plain_interval;
        let lines = move || {
            while let Some(line) = shared.line_after(interval, transfer) {
                output.note(&line);
            }
        };
        let started = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(lines);
        // Without the thread the transfer works all the same, only silently.
        drop(started);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is only numbers: a panic elsewhere does not make them wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an interval; the line to write then, or nothing when the transfer is over.
    fn line_after(&self, interval: Duration, transfer: u64) -> Option<String> {
        let over = |state: &mut State| state.transfers == transfer && state.transfer.is_some();
        let waited = self.ended.wait_timeout_while(self.lock(), interval, over);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.transfers != transfer {
            return None;
        }
        let in_flight = state.items.len();
        let transfer = state.transfer.as_mut()?;
        Some(transfer.meter.line(Instant::now(), in_flight))
    }
}

impl Progress for TerminalProgress {
    fn step(&self, word: &str, text: &str) {
        let now = Instant::now();
        let mut last = self
            .last_step
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let took = now.duration_since(*last);
        *last = now;
        drop(last);
        self.output.step(word, text, Some(took));
    }

    fn warn(&self, text: &str) {
        self.output.warn(text);
    }

    fn start(&self, total_bytes: u64) {
        let mut state = self.state();
        state.transfers += 1;
        let number = state.transfers;
        let bar = self.has_bars().then(|| {
            let bar = self.new_bar(total_bytes, "total", TOTAL, true);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let plain = bar.is_none() && self.output.verbosity() > Verbosity::Quiet;
        state.transfer = Some(Transfer {
            meter: Meter::new(total_bytes, Instant::now()),
            bar,
        });
        drop(state);
        if plain {
            self.write_lines(number);
        }
    }

    fn item(&self, label: &str, bytes: u64) -> ItemId {
        let mut state = self.state();
        let id = state.next_item;
        state.next_item += 1;
        let item = Item {
            label: label.to_owned(),
            bytes,
            done: 0,
            bar: None,
        };
        state.items.insert(id, item);
        self.fill_bars(&mut state);
        ItemId(id)
    }

    fn advance(&self, item: ItemId, bytes: u64) {
        let mut state = self.state();
        if let Some(item) = state.items.get_mut(&item.0) {
            item.done = item.done.saturating_add(bytes);
            if let Some(bar) = &item.bar {
                bar.set_position(item.done.min(item.bytes));
            }
        }
        if let Some(transfer) = &mut state.transfer {
            transfer.meter.advance(bytes);
            if let Some(bar) = &transfer.bar {
                bar.inc(bytes);
            }
        }
    }

    fn finish_item(&self, item: ItemId) {
        let mut state = self.state();
        let Some(item) = state.items.remove(&item.0) else {
            return;
        };
        if let Some(bar) = &item.bar {
            bar.finish_and_clear();
            self.output.bars().remove(bar);
        }
        self.fill_bars(&mut state);
        drop(state);
        if item.done >= item.bytes {
            let text = format!(
                "{:<10} {}   {}",
                "done",
                item.label,
                human::bytes(item.bytes)
            );
            self.output.detail(&text);
        }
    }

    fn finish(&self) {
        let mut state = self.state();
        let items = std::mem::take(&mut state.items);
        let total = state.transfer.take().and_then(|transfer| transfer.bar);
        drop(state);
        self.shared.ended.notify_all();
        for bar in items.into_values().filter_map(|item| item.bar).chain(total) {
            bar.finish_and_clear();
            self.output.bars().remove(&bar);
        }
    }
}

impl Drop for TerminalProgress {
    /// A flow that failed in the middle leaves no bars and no thread behind.
    fn drop(&mut self) {
        self.finish();
    }
}

/// The end of a name, which tells more than its beginning, in at most `width` characters.
fn end_of(label: &str, width: usize) -> String {
    let label = escape(label);
    match label.chars().count().checked_sub(width) {
        None | Some(0) => label,
        Some(beyond) => std::iter::once('…')
            .chain(label.chars().skip(beyond + 1))
            .collect(),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("█░")
        .with_key(
            "part",
            |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let total = state.len().unwrap_or(0);
                let _ = out.write_str(&human::part_of(state.pos().min(total), total));
            },
        )
        .with_key(
            "rate",
            |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&human::rate(state.per_sec()));
            },
        )
        .with_key(
            "left",
            |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                // From little that has arrived nothing can be guessed.
                let enough = state.pos() > state.len().unwrap_or(0) / 200;
                if enough && state.eta() < LONGEST_LEFT {
                    let _ = write!(out, "   {} left", human::time_left(state.eta()));
                }
            },
        )
}

#[cfg(test)]
mod tests {
    use std::io;

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;
    use crate::cli::output::tests::{Shared as Stream, captured};

    #[test]
    fn without_a_terminal_a_line_is_written_every_interval() {
        let (output, _, stderr) = captured(Verbosity::Normal);
        let progress = TerminalProgress::with_interval(output, Duration::from_millis(5));
        progress.start(100);
        let item = progress.item("quay.io/a/b", 50);
        progress.advance(item, 20);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !stderr.text().contains("20 / 100 B") && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let text = stderr.text();
        let line = text.lines().find(|line| line.contains("20 / 100 B"));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        assert!(line.starts_with("total      20 / 100 B   20 %"), "{line}");
        assert!(line.ends_with("1 in flight"), "{line}");

        progress.finish_item(item);
        progress.finish();
        // A line that was being written when the transfer ended may still come.
        thread::sleep(Duration::from_millis(50));
        let after = stderr.text();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(stderr.text(), after, "lines are still written");
    }

    #[test]
    fn quiet_shows_warnings_only() {
        let (output, _, stderr) = captured(Verbosity::Quiet);
        let progress = TerminalProgress::with_interval(output, Duration::from_millis(1));
        progress.start(100);
        let item = progress.item("a", 50);
        thread::sleep(Duration::from_millis(50));
        progress.finish_item(item);
        progress.step("wrote", "it");
        progress.warn("careful");
        progress.finish();
        assert_eq!(stderr.text(), "warning: careful\n");
    }

    #[test]
    fn verbose_tells_each_item_that_is_complete() {
        let (output, _, stderr) = captured(Verbosity::Verbose);
        let progress = TerminalProgress::new(output);
        progress.start(2048);
        let (whole, half) = (
            progress.item("whole\x1b", 1024),
            progress.item("half", 1024),
        );
        progress.advance(whole, 1024);
        progress.advance(half, 10);
        progress.finish_item(whole);
        progress.finish_item(half);
        progress.finish_item(half);
        assert_eq!(stderr.text(), "done       whole\\x1b   1.00 KiB\n");
    }

    /// A terminal of a given width that keeps what is drawn.
    #[derive(Clone, Debug)]
    struct FakeTerminal {
        width: u16,
        drawn: Arc<Mutex<String>>,
    }

    impl TermLike for FakeTerminal {
        fn width(&self) -> u16 {
            self.width
        }
        fn height(&self) -> u16 {
            24
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.drawn.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn of_a_long_name_the_end_is_shown() {
        assert_eq!(
            end_of("quay.io/tigera/cni:v3.16.1", 26),
            "quay.io/tigera/cni:v3.16.1"
        );
        assert_eq!(end_of("quay.io/tigera/cni:v3.16.1", 12), "…cni:v3.16.1");
        assert_eq!(end_of("a\u{202e}b", 4), "…e}b");
    }

    #[test]
    fn the_line_of_the_total_fits_a_terminal_of_80() {
        let drawn = Arc::default();
        let terminal = FakeTerminal {
            width: 80,
            drawn: Arc::clone(&drawn),
        };
        let target = ProgressDrawTarget::term_like(Box::new(terminal));
        let stream = || Box::new(Stream::default());
        let output = Output::new(stream(), stream(), target, Verbosity::Normal);
        let progress = TerminalProgress::new(Arc::new(output));
        progress.start(1 << 40);
        let item = progress.item("quay.io/tigera/elasticsearch:v3.16.1", 1 << 40);
        progress.advance(item, 1 << 39);
        thread::sleep(Duration::from_millis(600));
        progress.finish();
        let drawn = drawn.lock().unwrap();
        assert!(drawn.contains("…a/elasticsearch:v3.16.1 "), "{drawn}");
        // The drawing has no line ends: every line fills the width.
        let (_, total) = drawn
            .rsplit_once(" total ")
            .unwrap_or_else(|| panic!("{drawn}"));
        assert!(total.contains(" left"), "{total}");
        assert!(" total ".len() + total.chars().count() <= 80, "{total}");
    }

    #[test]
    fn bars_are_drawn_on_terminals_of_any_width() {
        for width in [0, 1, 20, 80, 300] {
            let drawn = Arc::default();
            let terminal = FakeTerminal {
                width,
                drawn: Arc::clone(&drawn),
            };
            let target = ProgressDrawTarget::term_like(Box::new(terminal));
            let stream = || Box::new(Stream::default());
            let output = Output::new(stream(), stream(), target, Verbosity::Normal);
            let progress = TerminalProgress::new(Arc::new(output));
            progress.start(5000);
            let items: Vec<ItemId> = (0..20)
                .map(|at| progress.item(&format!("quay.io/item\u{202e}{at}"), 100))
                .collect();
            for item in &items {
                progress.advance(*item, 60);
            }
            progress.step("a", "step in between");
            for item in items {
                progress.finish_item(item);
            }
            progress.finish();
            let drawn = drawn.lock().unwrap();
            assert!(!drawn.contains('\u{202e}'));
            if width == 300 {
                assert!(drawn.contains("quay.io/item\\u{202e}0"), "{drawn}");
                assert!(drawn.contains("/ 4.88 KiB"), "{drawn}");
            }
        }
    }
}
