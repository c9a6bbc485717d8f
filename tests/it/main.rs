//! Tests that run the `bundle` program and the library against real registries and real tools.

mod cli;
mod environment;
mod spec;
mod support;
