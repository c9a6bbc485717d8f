//! What a README shows: commands and their output, held against what is really printed.

/// A command of the README, and the lines that it shows of what the command prints.
pub struct Step {
    /// What follows the prompt.
    pub command: String,
    /// What the README shows of the output, line by line.
    pub shown: Vec<String>,
}

/// What follows `$ ` in the blocks for the console, each with the block of text behind it.
pub fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut block = None;
    for line in readme.lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some(language)) => block = Some(language),
            (Some(_), Some(_)) => block = None,
            (Some("console"), None) => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step {
                    command: command.to_owned(),
                    shown: Vec::new(),
                }),
                None => panic!("neither command nor comment: {line}"),
            },
            (Some("text"), None) => {
                let step = steps.last_mut().expect("output follows a command");
                step.shown.push(line.to_owned());
            }
            _ => {}
        }
    }
    steps
}

/// A line without what differs from run to run: digests, times taken, sizes of compressed text.
pub fn lasting(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut kept: Vec<&str> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let is_number = |word: &str| word.parse::<f64>().is_ok();
        let next = words.get(at + 1).copied().unwrap_or_default();
        let unit = next.trim_end_matches([')', ',']);
        let unit_follows = ["s", "min", "B", "KiB", "MiB", "GiB"].contains(&unit);
        if is_number(word.trim_start_matches('(')) && unit_follows {
            kept.push("N");
        } else if word.to_lowercase().starts_with("sha256:") || word.starts_with("(SHA256:") {
            kept.push("DIGEST");
        } else {
            kept.push(word);
        }
    }
    // A step that takes no time worth mentioning does not mention it.
    if kept.ends_with(&["N", "s"]) {
        kept.truncate(kept.len() - 2);
    }
    kept.join(" ")
}

/// The lines of `shown` are in `printed`, in this order, with nothing between them but where the
/// README says so with `…`.
pub fn assert_shows(step: &Step, printed: &str) {
    let mut rest = printed.lines().map(lasting);
    let mut gap = false;
    for line in &step.shown {
        if line.trim() == "…" {
            gap = true;
            continue;
        }
        let line = lasting(line);
        let found = match gap {
            true => rest.any(|printed| printed == line),
            false => rest.next().is_some_and(|printed| printed == line),
        };
        assert!(
            found,
            "{}: {line:?} is not next in:\n{printed}",
            step.command
        );
        gap = false;
    }
    let more = rest.next();
    let complete = step.shown.is_empty() || gap || more.is_none();
    assert!(complete, "{}: {more:?} is not shown", step.command);
}
