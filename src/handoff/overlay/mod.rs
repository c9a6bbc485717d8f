//! The values overlay of a chart: only the leaves that hold image references, rewritten to where
//! the images are now.
//!
//! A leaf is rewritten when it, alone or together with the registry that stands beside or above
//! it, names a repository that was moved; that something merely looks like an image is not enough.
//! What would be a guess is left and listed, for the check of the rendered chart to judge.

mod bases;
mod edits;
mod find;
#[cfg(test)]
mod hostile;
mod moved;
mod names;
mod path;
mod scope;
mod set;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde_json::Value;

use super::{Destination, HandoffError, Layout, MovedChart, MovedImage, tigera, yaml};
use moved::Moved;

pub(super) use {edits::Edits, path::Path, set::check_settings};

/// What an overlay is made from.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The chart with its values.
    pub chart: &'a MovedChart,
    /// All images of the bundle.
    pub images: &'a [MovedImage],
    /// The registry that they are in now.
    pub to: Destination<'a>,
    /// How they were renamed.
    pub layout: Layout,
    /// The name of the pull secret.
    pub pull_secret: &'a str,
}

/// An overlay: a values file to be given after all others.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The file.
    pub yaml: String,
    /// The same as a value.
    pub values: Value,
    /// What differs from the values of the chart, by path.
    pub changed: Vec<Change>,
    /// Leaves that name something that was moved, but could not be rewritten for certain.
    pub left: Vec<Left>,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// A leaf that was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where, as for `helm --set`.
    pub path: String,
    /// What was there; `None` where the key is new.
    pub from: Option<Value>,
    /// What is there now.
    pub to: Value,
}

/// A leaf that was not rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where, as for `helm --set`.
    pub path: String,
    /// What is there.
    pub value: String,
    /// Why it stays.
    pub reason: &'static str,
}

/// Makes the overlay of a chart.
///
/// # Errors
/// When `relocate.set` of the chart names a place that cannot be set.
pub fn overlay(request: &Request<'_>) -> Result<Overlay, HandoffError> {
    let chart = request.chart;
    let moved = Moved::new(request.images);
    let found = find::find(&chart.values, &moved);
    let mut edits = Edits::new(&chart.values);
    for (path, to) in found.edits {
        edits.put(path.as_users_write_it(), to);
    }
    if !edits.is_empty() {
        for path in find::insecure_image_switches(&chart.values) {
            edits.put(path, Value::Bool(true));
        }
    }
    let mut notes = found.notes;
    let place = tigera::place(request);
    tigera::edit_values(request, &place, &mut edits, &mut notes);
    set::apply(request, &place, &mut edits)?;
    let (values, changed) = edits.finish();
    let changed_paths: HashSet<&str> = changed.iter().map(|change| change.path.as_str()).collect();
    let mut left = found.left;
    left.retain(|left| !changed_paths.contains(left.path.as_str()));
    Ok(Overlay {
        yaml: page(&values),
        values,
        changed,
        left,
        notes,
    })
}

fn page(values: &Value) -> String {
    let mut page =
        "# Values for the registry inside; give this file after all others.\n".to_owned();
    page.push_str(&yaml::document(values));
    page
}
