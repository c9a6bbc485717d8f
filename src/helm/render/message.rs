//! What `helm` says, made fit for a message of ours.

use crate::human;

/// The longest message of `helm` that is handed on, in characters.
const LONGEST: usize = 2048;

/// The message of a `helm template` that failed: from its last `Error:` on, as one line, with the
/// files of the workspace under the names that the user knows them by.
pub(super) fn chart_message(stderr: &[u8], names: &[(String, String)]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let error = last_error(&text);
    let mut message = error
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Use --debug flag"))
        .collect::<Vec<_>>()
        .join(" ");
    for (path, name) in names {
        message = message.replace(path, name);
    }
    human::clip(&message, LONGEST)
}

/// Warnings come first, and the error itself may go over several lines.
fn last_error(text: &str) -> &str {
    const PREFIX: &str = "Error: ";
    let at_start = text.starts_with(PREFIX).then_some(0);
    let later = text.rfind("\nError: ").map(|at| at + 1);
    match later.or(at_start) {
        Some(at) => &text[at + PREFIX.len()..],
        None => last_words(text).unwrap_or(text),
    }
}

/// Of a crash, the line that says what happened; the stacks that follow say nothing to a user.
fn last_words(text: &str) -> Option<&str> {
    text.lines()
        .find(|line| line.starts_with("panic: ") || line.starts_with("fatal error: "))
}

/// The message of a program of which nothing is known.
pub(super) fn plain(stderr: &[u8]) -> String {
    clip(&chart_message(stderr, &[]))
}

/// Keeps foreign text in a message short.
pub(super) fn clip(text: &str) -> String {
    human::clip(text, 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_found_behind_warnings() {
        let stderr = b"coalesce.go:298: warning: cannot overwrite table with non table for a\n\
            Error: execution error at (x/templates/y.yaml:1:4): Error: host is required\n\n\
            Use --debug flag to render out invalid YAML\n";
        assert_eq!(
            chart_message(stderr, &[]),
            "execution error at (x/templates/y.yaml:1:4): Error: host is required"
        );
    }

    #[test]
    fn lines_become_one_and_files_get_their_names() {
        let stderr =
            b"Error: values don't meet the specifications:\nshop:\n- (root): /t/x/v is it\n";
        let names = [("/t/x/v".to_owned(), "prod.yaml".to_owned())];
        assert_eq!(
            chart_message(stderr, &names),
            "values don't meet the specifications: shop: - (root): prod.yaml is it"
        );
    }

    #[test]
    fn of_a_crash_only_the_first_line_is_kept() {
        let stderr =
            b"level=WARN msg=x\npanic: runtime error: index out of range\n\ngoroutine 1:\nmain()";
        assert_eq!(
            chart_message(stderr, &[]),
            "panic: runtime error: index out of range"
        );
    }

    #[test]
    fn what_is_long_or_no_text_is_cut_and_replaced() {
        let message = chart_message(&[b'x'; 10_000], &[]);
        assert_eq!(message.chars().count(), LONGEST + 1);
        assert!(message.ends_with('…'));
        assert_eq!(chart_message(b"Error: \xff", &[]), "\u{fffd}");
        assert_eq!(chart_message(b"", &[]), "");
    }
}
