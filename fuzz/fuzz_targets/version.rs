//! Versions and constraints as Masterminds has them: no panic, texts stay as they are, order is an
//! order.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sneakernet::helm::version::{Constraint, Version, newest};

fuzz_target!(|text: &str| {
    let (constraint, versions) = text.split_once('\n').unwrap_or((text, ""));
    let constraint: Option<Constraint> = constraint.parse().ok();
    let parsed = versions.lines().filter_map(|line| line.parse::<Version>().ok());
    let parsed: Vec<Version> = parsed.take(50).collect();
    for a in &parsed {
        assert!(versions.lines().any(|line| line == a.as_str()));
        for b in &parsed {
            assert_eq!(a.cmp(b), b.cmp(a).reverse());
        }
    }
    if let Some(found) = newest(parsed.iter(), constraint.as_ref())
        && let Some(constraint) = &constraint
    {
        assert!(constraint.matches(found));
    }
});
