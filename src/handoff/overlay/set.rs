//! `relocate.set`: what the author of the bundle knows about a chart and no rule can.

use serde_json::Value;

use super::{
    Request,
    edits::{self, Edits},
    path::{Path, Step},
};
use crate::handoff::{HandoffError, MovedChart, quote, tigera::Place};

/// Longest list index that is taken.
const MAX_INDEX: usize = 10_000;

/// Applies the settings over everything else.
pub(super) fn apply(
    request: &Request<'_>,
    place: &Place,
    edits: &mut Edits<'_>,
) -> Result<(), HandoffError> {
    let mut trial = edits.values().clone();
    for (path, value) in &request.chart.set {
        let failed = |reason| HandoffError::Set {
            chart: quote::shown(&request.chart.name),
            path: quote::shown(path),
            reason,
        };
        let parsed = parse(path).map_err(failed)?;
        let value = Value::String(fill_in(value, request, place));
        if !edits::put(&mut trial, &parsed.0, value.clone()) {
            return Err(failed("the list has fewer elements"));
        }
        edits.put(parsed, value);
    }
    Ok(())
}

/// Checks the paths of all settings of a chart, which needs none of its values.
///
/// # Errors
/// When one is not as `helm --set` has it.
pub(in crate::handoff) fn check_settings(chart: &MovedChart) -> Result<(), HandoffError> {
    for (path, _) in &chart.set {
        parse(path).map_err(|reason| HandoffError::Set {
            chart: quote::shown(&chart.name),
            path: quote::shown(path),
            reason,
        })?;
    }
    Ok(())
}

fn fill_in(value: &str, request: &Request<'_>, place: &Place) -> String {
    // One pass: what is filled in is not looked at again.
    let mut filled = String::new();
    let mut rest = value;
    while let Some(start) = rest.find('{') {
        filled.push_str(&rest[..start]);
        rest = &rest[start..];
        let known = [
            ("{registry}", place.registry.as_str()),
            ("{registryHost}", request.to.host),
            ("{imagePath}", place.image_path.as_str()),
            ("{pullSecret}", request.pull_secret),
        ];
        match known.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, text)) => {
                filled.push_str(text);
                rest = &rest[name.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// Parses `a.b[0].c\.d` as `helm --set` does.
fn parse(text: &str) -> Result<Path, &'static str> {
    let mut path = Path::default();
    let mut key = String::new();
    let mut chars = text.chars();
    // Behind an index comes a dot, another index, or the end.
    let mut after_index = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => key.push(
                chars
                    .next()
                    .ok_or("there is nothing behind the backslash")?,
            ),
            '.' if after_index => after_index = false,
            '.' | '[' if key.is_empty() && !(after_index && c == '[') => {
                return Err("a key is empty");
            }
            '.' => path = path.key(&std::mem::take(&mut key)),
            '[' => {
                if !after_index {
                    path = path.key(&std::mem::take(&mut key));
                }
                let index: String = chars.by_ref().take_while(|c| *c != ']').collect();
                let index = index.parse().ok().filter(|i| *i <= MAX_INDEX);
                path = path.step(Step::Index(
                    index.ok_or("an index is not a number up to 10000")?,
                ));
                after_index = true;
            }
            _ if after_index => return Err("behind `]` comes `.` or `[`"),
            '{' | '}' | ',' | '=' => return Err("braces, commas and `=` need a backslash"),
            c => key.push(c),
        }
    }
    if !key.is_empty() {
        path = path.key(&key);
    } else if !after_index {
        return Err("a key is empty");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_helm() {
        for (text, same) in [
            ("a", "a"),
            ("a.b[0].c", "a.b[0].c"),
            (r"a.b\.c", r"a.b\.c"),
            ("a[1][2]", "a[1][2]"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), same);
        }
        for text in [
            "", ".", "a.", "a..b", "[0]", "a[x]", "a[0]b", "a[20000]", "a\\", "a=b",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
