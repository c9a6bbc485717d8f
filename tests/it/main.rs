//! Tests that run the `bundle` program and the library against real registries and real tools.

mod approval;
mod charts;
mod cli;
mod conformance;
mod cosign;
mod crashes;
mod documents;
mod environment;
mod handoff;
mod other_tools;
mod proxies;
mod readme;
mod referrers;
mod registries;
mod reproducible;
mod requests;
mod seed_world;
mod soak;
mod sources;
mod spec;
mod supply_chain;
mod support;
mod tampering;
