//! Charts, with the real `helm` of both major versions.

mod arrival;
mod broken_repositories;
mod classic;
mod local;
mod locks;
mod planning;
mod provenance;
mod registry;
mod render;
mod sandbox;
