//! What is left when something breaks off: the program killed at any moment, interrupted, or run
//! against disks that are full, read-only or broken.
//!
//! `kills`: `create` and `load` ended by SIGKILL at random moments and run again. `resume`: what
//! exactly is kept of an interrupted `create`, and that forged left-overs are not believed.
//! `signals`: Ctrl-C. `output`: outputs that exist, are no files, or are written twice at a time.
//! `disks`: full and read-only file systems, limits, and system calls that fail.

mod disks;
mod kills;
mod output;
mod resume;
mod signals;
pub(crate) mod world;
