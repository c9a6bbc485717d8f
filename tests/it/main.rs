//! Tests that run the `bundle` program and the library against real registries and real tools.

mod approval;
mod charts;
mod cli;
mod cosign;
mod crashes;
mod environment;
mod handoff;
mod other_tools;
mod readme;
mod registries;
mod reproducible;
mod seed_world;
mod sources;
mod spec;
mod support;
mod tampering;
