//! A place in values.

use std::fmt;

use serde_json::Value;

/// One step from a value into a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::handoff) enum Step {
    Key(String),
    Index(usize),
}

/// Charts of Istio keep their defaults under this key, and merge the values beside it over them.
const DEFAULTS_OF_ISTIO: &str = "_internal_defaults_do_not_set";

/// Most steps and bytes of the paths that are looked at. Every leaf and every change carries its
/// path, so a long one that very many leaves are below would fill the memory.
pub(super) const MAX_STEPS: usize = 100;
pub(super) const MAX_BYTES: usize = 1024;

/// The steps from the root of the values. Its [`Display`](fmt::Display) is that of `helm --set`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::handoff) struct Path(pub(super) Vec<Step>);

impl Path {
    /// The path of these keys.
    pub(in crate::handoff) fn of(keys: &[&str]) -> Self {
        Self(
            keys.iter()
                .map(|key| Step::Key((*key).to_owned()))
                .collect(),
        )
    }

    pub(super) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    pub(super) fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The path of another key in the same map.
    pub(super) fn beside(&self, key: &str) -> Self {
        let map = self.0.split_last().map_or(&[][..], |(_, map)| map);
        Self(map.to_vec()).key(key)
    }

    /// Whether it is longer than the paths that are looked at.
    pub(super) fn is_too_long(&self) -> bool {
        let bytes = self.0.iter().map(|step| match step {
            Step::Key(key) => key.len(),
            Step::Index(_) => 0,
        });
        self.0.len() > MAX_STEPS || bytes.sum::<usize>() > MAX_BYTES
    }

    /// The place that is set to change this one.
    pub(super) fn as_users_write_it(&self) -> Self {
        match self.0.split_first() {
            Some((Step::Key(key), rest))
                if key == DEFAULTS_OF_ISTIO
                    && rest.iter().all(|step| matches!(step, Step::Key(_))) =>
            {
                Self(rest.to_vec())
            }
            _ => self.clone(),
        }
    }

    /// What is there.
    pub(in crate::handoff) fn find<'v>(&self, values: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(values, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }

    /// The part that an overlay has to hold whole: Helm merges maps, but replaces lists.
    pub(super) fn mergeable(&self) -> Self {
        let keys = self
            .0
            .iter()
            .take_while(|step| matches!(step, Step::Key(_)));
        Self(keys.cloned().collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) => {
                    if number > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(&key.replace('.', r"\."))?;
                }
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
