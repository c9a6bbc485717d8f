//! Chart archives, packed here so that the fuzzer need not find gzip: what is accepted makes an
//! artifact, and its values can be merged and searched.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sneakernet::helm::{
    chart::{Artifact, Chart},
    values,
};

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let archive = if kind % 2 == 1 {
        rest.to_vec()
    } else {
        sneakernet_fuzz::gzip(rest)
    };
    let Ok(chart) = Chart::read(&archive) else {
        return;
    };
    let _ = chart.missing();
    let _ = values::merged(&chart, std::slice::from_ref(&chart.values));
    let artifact = Artifact::new(&chart, &archive, None).expect("metadata within limits");
    let config: serde_json::Value =
        serde_json::from_slice(&artifact.config).expect("the configuration is JSON");
    assert_eq!(config["name"], chart.metadata.name.as_str());
    let _: serde_json::Value =
        serde_json::from_slice(&artifact.manifest).expect("the manifest is JSON");
});
