//! Other tools read a bundle: `zstd`, `tar`, `skopeo`, `oras`, `crane`, `ctr`. Each of them brings
//! its own idea of an archive or an OCI image layout, and gets the same digests out of it.

mod archive;
mod containers;
mod copies;
