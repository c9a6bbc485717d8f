//! Charts, with the real `helm` of both major versions.

mod arrival;
mod broken_repositories;
mod checks;
mod classic;
mod handoff_directory;
mod handoff_findings;
mod handoff_size;
mod handoff_tls;
mod local;
mod locks;
mod manifests;
mod planning;
mod provenance;
mod readers;
mod refusals;
mod registry;
mod render;
mod sandbox;
mod signed;
mod versions;
