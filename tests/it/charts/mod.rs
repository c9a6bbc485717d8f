//! Charts, with the real `helm` of both major versions.

mod render;
mod sandbox;
mod signed;
