//! Tests that run the `bundle` program and the library against real registries and real tools.

mod cli;
mod crashes;
mod environment;
mod readme;
mod seed_world;
mod support;
