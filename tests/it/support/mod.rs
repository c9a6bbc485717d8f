//! What the tests stand on: real registries, real tools, real images, and places to run them in.
//!
//! Everything here listens on loopback or inside network namespaces that the test made, owns its
//! files in temporary directories, and is ended by its own process id when its value is dropped.

// Each test uses a part of this; what no test uses at the moment is no reason for a warning.
#![allow(dead_code)]

pub mod attempt;
pub mod background;
pub mod calico_cloud;
pub mod chart_repository;
pub mod containerd;
pub mod distribution;
pub mod embedded;
pub mod forge;
pub mod front;
pub mod helm;
pub mod images;
pub mod line;
pub mod netns;
pub mod nginx;
pub mod pki;
pub mod product;
pub mod publisher;
pub mod pusher;
pub mod random;
pub mod recording;
pub mod samples;
pub mod scripted;
pub mod seed;
pub mod shop;
pub mod shown;
pub mod static_server;
pub mod tls_listener;
pub mod token_service;
pub mod tools;
