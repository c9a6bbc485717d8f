//! Deliberate misbehaviour, to test what clients make of it.

mod inflict;
mod parse;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::{Method, Uri};

pub use parse::FaultParseError;

/// What goes wrong with a request.
///
/// The *body* is that of the request for POST, PUT and PATCH, and that of the answer otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Read the request, ignore it, and answer with this status and an error document.
    Status {
        /// The status code, 100 to 999; an error code to be useful.
        code: u16,
        /// Seconds for the `Retry-After` header.
        retry_after: Option<u64>,
    },
    /// Reset the connection without an answer, and without doing what was asked for.
    Reset,
    /// Do what was asked for, then reset the connection instead of answering.
    LoseAnswer,
    /// End the connection when this many bytes of the body have passed. Of an upload, the
    /// registry keeps these bytes.
    Cut {
        /// Bytes that pass.
        after: u64,
    },
    /// Pause the body, then go on.
    Stall {
        /// How long.
        pause: Duration,
        /// Bytes that pass before.
        at: u64,
    },
    /// Invert one byte of the body.
    Corrupt {
        /// Its offset; a shorter body stays as it is.
        at: u64,
    },
    /// Wait before doing anything.
    Delay(Duration),
    /// Let the body pass at this many bytes a second.
    Slow {
        /// Bytes a second, at least 1.
        rate: u64,
    },
}

/// Goes with an answer that a fault had to do with.
#[derive(Clone, Debug)]
pub(super) struct Inflicted(pub(super) Fault);

impl Fault {
    /// The word for it in the text form of a rule.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Reset => "reset",
            Self::LoseAnswer => "lose-answer",
            Self::Cut { .. } => "cut",
            Self::Stall { .. } => "stall",
            Self::Corrupt { .. } => "corrupt",
            Self::Delay(_) => "delay",
            Self::Slow { .. } => "slow",
        }
    }

    /// Whether the answer is made and not sent.
    pub(super) fn takes_the_answer(&self) -> bool {
        matches!(self, Self::Reset | Self::LoseAnswer)
    }
}

/// Which requests suffer from a [`Fault`].
///
/// As text, `METHOD:PATTERN:ACTION[:OPTION]...`, for example
/// `GET:/blobs/:cut=65536:times=2`:
///
/// | part | forms |
/// |---|---|
/// | METHOD | `GET`, `PUT`, ...; `*` for all |
/// | PATTERN | text that path and query contain; `^TEXT` for one that they start with; empty for all |
/// | ACTION | `status=CODE`, `reset`, `lose-answer`, `cut=BYTES`, `stall=TIME`, `corrupt=OFFSET`, `delay=TIME`, `slow=BYTES` (a second) |
/// | OPTION | `retry-after=SECONDS` (with `status`), `at=BYTES` (with `stall`), `times=COUNT`, `nth=NUMBER`, `probability=0..1`, `seed=NUMBER` |
///
/// TIME is a whole number with `ms`, `s` or `m`. A pattern may hold colons: it ends where an
/// action begins. `nth` is the first request that suffers, counted from 1 among those that match;
/// `times` is how many suffer, all if it is missing (one, if there is `nth`). With `probability`,
/// which of them suffer follows from `seed` (0 if missing): the same in every run.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// The method in upper case, `None` for all.
    pub method: Option<String>,
    /// Part of path and query, or, after `^`, their beginning.
    pub pattern: String,
    /// What goes wrong.
    pub fault: Fault,
    /// The first request that suffers, counted from 1 among those that match.
    pub nth: u64,
    /// How many requests suffer; `None` for all.
    pub times: Option<u64>,
    /// Probability, 0 to 1, with which a matching request suffers, and the seed of the choice.
    pub probability: Option<(f64, u64)>,
}

impl FaultRule {
    /// A rule for all requests of a method (`*` for any) whose path and query match.
    pub fn new(method: &str, pattern: &str, fault: Fault) -> Self {
        Self {
            method: (method != "*").then(|| method.to_ascii_uppercase()),
            pattern: pattern.to_owned(),
            fault,
            nth: 1,
            times: None,
            probability: None,
        }
    }

    /// Limits how many requests suffer.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, method: &Method, target: &str) -> bool {
        let method_matches = self.method.as_deref().is_none_or(|m| m == method.as_str());
        method_matches
            && match self.pattern.strip_prefix('^') {
                Some(start) => target.starts_with(start),
                None => target.contains(&self.pattern),
            }
    }
}

/// A list of [rules](FaultRule). For each request, the first rule decides that matches and has not
/// done its part yet. As text: the rules with `;` between them; the empty text is no fault at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    rules: Vec<FaultRule>,
}

impl FaultPlan {
    /// Adds a rule behind those that are there.
    #[must_use]
    pub fn with(mut self, rule: FaultRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// The rules in their order.
    pub fn rules(&self) -> &[FaultRule] {
        &self.rules
    }
}

impl Extend<FaultRule> for FaultPlan {
    fn extend<I: IntoIterator<Item = FaultRule>>(&mut self, rules: I) {
        self.rules.extend(rules);
    }
}

/// A plan in use, with what each rule has done so far.
pub(super) struct ArmedFaults(Mutex<Vec<(FaultRule, Progress)>>);

#[derive(Default)]
struct Progress {
    matched: u64,
    inflicted: u64,
}

impl ArmedFaults {
    /// `None` for a plan without rules.
    pub(super) fn new(plan: FaultPlan) -> Option<Self> {
        let rules = plan.rules.into_iter();
        let armed: Vec<_> = rules.map(|rule| (rule, Progress::default())).collect();
        (!armed.is_empty()).then(|| Self(Mutex::new(armed)))
    }

    /// What goes wrong with this request, if anything.
    pub(super) fn select(&self, method: &Method, uri: &Uri) -> Option<Fault> {
        let target = uri
            .path_and_query()
            .map_or(uri.path(), |both| both.as_str());
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (rule, progress) in rules.iter_mut() {
            if rule.matches(method, target) && progress.is_due(rule) {
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

impl Progress {
    fn is_due(&mut self, rule: &FaultRule) -> bool {
        self.matched += 1;
        let exhausted = rule.times.is_some_and(|times| self.inflicted >= times);
        if self.matched < rule.nth || exhausted {
            return false;
        }
        if let Some((probability, seed)) = rule.probability
            && uniform(seed, self.matched) >= probability
        {
            return false;
        }
        self.inflicted += 1;
        true
    }
}

/// The `index`-th number, 0 to 1, of a sequence (SplitMix64).
fn uniform(seed: u64, index: u64) -> f64 {
    let mut x = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    // 53 bits fit a double exactly.
    (x >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: &str, requests: usize) -> Vec<bool> {
        let armed = ArmedFaults::new(rule.parse().unwrap()).unwrap();
        let uri: Uri = "/v2/a/blobs/x?y=1".parse().unwrap();
        (0..requests)
            .map(|_| armed.select(&Method::GET, &uri).is_some())
            .collect()
    }

    #[test]
    fn counts_decide_which_requests_suffer() {
        assert_eq!(run("GET:/blobs/:reset", 3), [true, true, true]);
        assert_eq!(run("GET:/blobs/:reset:times=2", 3), [true, true, false]);
        assert_eq!(run("GET:/blobs/:reset:nth=2", 3), [false, true, false]);
        assert_eq!(run("*::reset:nth=2:times=2", 4), [false, true, true, false]);
        assert_eq!(run("PUT:/blobs/:reset", 1), [false]);
        assert_eq!(run("GET:^/v2/a:reset", 1), [true]);
        assert_eq!(run("GET:^/blobs/:reset", 1), [false]);
        assert_eq!(run("GET:?y=1:reset", 1), [true]);
        assert!(ArmedFaults::new(FaultPlan::default()).is_none());
    }

    #[test]
    fn chance_is_reproducible() {
        let first = run("GET::reset:probability=0.3:seed=7", 1000);
        assert_eq!(first, run("GET::reset:probability=0.3:seed=7", 1000));
        assert_ne!(first, run("GET::reset:probability=0.3:seed=8", 1000));
        let hit = first.iter().filter(|hit| **hit).count();
        assert!((200..400).contains(&hit), "{hit}");
    }

    #[test]
    fn a_rule_that_is_done_leaves_the_request_to_the_next() {
        let plan = "GET::reset:times=1;GET::status=503:times=1"
            .parse()
            .unwrap();
        let armed = ArmedFaults::new(plan).unwrap();
        let next = || armed.select(&Method::GET, &Uri::from_static("/v2/"));
        assert_eq!(next(), Some(Fault::Reset));
        assert!(matches!(next(), Some(Fault::Status { code: 503, .. })));
        assert_eq!(next(), None);
    }
}
