//! The OCI distribution specification: its own conformance suite against `bundle serve`, and data
//! of the suite's shapes carried through a bundle.

mod data;
mod round_trip;
mod suite;
