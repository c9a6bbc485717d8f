//! What the program does with input that somebody made to deceive it, or that was damaged on the
//! way: bundles, registries, names. All of it with the real program as a process.

pub mod charts;
mod container;
mod destination;
mod documents;
mod framing;
mod layers;
mod limits;
mod parsers;
mod secrets;
mod signatures;
mod source;
