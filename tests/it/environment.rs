//! The environment proves itself: what the other tests stand on works with the real tools.

mod commands;
mod images;
mod network;
mod nodes;
mod registries;
mod seed;
