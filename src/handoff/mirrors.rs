//! Which original names lead where, for nodes that are to pull by the original names.

use std::collections::{BTreeMap, BTreeSet};

use crate::oci::Repository;

use super::{Input, Layout};

/// The images of one source host.
#[derive(Debug)]
pub(super) struct HostMirror {
    /// What stands before every path of this host: `registry.local:5000/mirror`, where that is
    /// the same for all of its images.
    pub base: Option<String>,
    /// Whether that holds for any image of the host, in the bundle or not, because the layout
    /// says so.
    pub whole: bool,
    /// Every repository, where it is now.
    pub repositories: BTreeMap<String, Repository>,
}

/// Where each source host's images are.
#[derive(Debug)]
pub(super) struct Mirrors {
    /// By source host.
    pub hosts: BTreeMap<String, HostMirror>,
    /// `HOST/PATH` of the repositories of which an image is referred to by tag.
    pub tagged: BTreeSet<String>,
    /// What cannot be mirrored, and why.
    pub notes: Vec<String>,
}

impl Mirrors {
    /// Hosts of which every image of the bundle is found by the mirror.
    pub(super) fn covered_hosts(&self) -> Vec<String> {
        let covered = self
            .hosts
            .iter()
            .filter(|(_, mirror)| mirror.base.is_some());
        covered.map(|(host, _)| host.clone()).collect()
    }

    /// Works out the rules, from where the images really are.
    pub(super) fn of(input: &Input<'_>) -> Self {
        let mut places: BTreeMap<&Repository, BTreeSet<&Repository>> = BTreeMap::new();
        let mut tagged = BTreeSet::new();
        for image in input.images {
            let source = image.source.repository();
            places.entry(source).or_default().insert(&image.destination);
            if image.source.tag().is_some() {
                tagged.insert(source.to_string());
            }
        }
        let mut by_host: BTreeMap<&str, BTreeMap<String, Repository>> = BTreeMap::new();
        let mut notes = Vec::new();
        let mut split_hosts = BTreeSet::new();
        for (source, places) in places {
            let mut places = places.into_iter();
            match (places.next(), places.next()) {
                (Some(place), None) if place != source => {
                    let host = by_host.entry(source.host()).or_default();
                    host.insert(source.path().to_owned(), place.clone());
                }
                (Some(_), Some(_)) => {
                    split_hosts.insert(source.host());
                    notes.push(format!(
                        "no mirror rule for {source}: its images are in more than one repository"
                    ));
                }
                _ => {}
            }
        }
        let by_layout =
            matches!(input.layout, Layout::Strip | Layout::Host) && !input.has_map_rules;
        let hosts = by_host.into_iter().map(|(host, repositories)| {
            let base = common_base(&repositories).filter(|_| !split_hosts.contains(host));
            if base.is_none() {
                notes.push(no_hosts_file(host, input));
            }
            let mirror = HostMirror {
                whole: by_layout && base.is_some(),
                base,
                repositories,
            };
            (host.to_owned(), mirror)
        });
        let hosts = hosts.collect();
        Self {
            hosts,
            tagged,
            notes,
        }
    }
}

fn no_hosts_file(host: &str, input: &Input<'_>) -> String {
    let because = if input.has_map_rules {
        "`--map` rules"
    } else {
        match input.layout {
            Layout::Strip | Layout::Host => "other destinations",
            Layout::Last2 => "`--layout last2`",
            Layout::Flat => "`--layout flat`",
        }
    };
    format!(
        "no certs.d/{}/hosts.toml: with {because}, images of {host} are not under their own paths, \
         and containerd can only change what stands before the path (load with `--layout strip` \
         or `--layout host`)",
        directory(host)
    )
}

/// The directory of a host below `certs.d`, by containerd's rule: a port is written so that it
/// can stand in a file name anywhere.
pub(super) fn directory(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => format!("{name}_{port}_"),
        _ => host.to_owned(),
    }
}

fn common_base(repositories: &BTreeMap<String, Repository>) -> Option<String> {
    let mut bases = BTreeSet::new();
    for (path, place) in repositories {
        let name = place.to_string();
        bases.insert(
            name.strip_suffix(path.as_str())?
                .strip_suffix('/')?
                .to_owned(),
        );
    }
    let only = bases.pop_first()?;
    bases.is_empty().then_some(only)
}
