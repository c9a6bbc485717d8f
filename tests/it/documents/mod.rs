//! Manifests and indexes of every kind from one registry into another: what registries make of them,
//! and what a load makes of registries.

mod kinds;
mod parts;
mod refusals;

use crate::support::{
    embedded::Embedded,
    images::Image,
    tools::{Finished, Home, run},
};

/// Images at a source, and a bundle with all of them.
struct Carried {
    source: Embedded,
    home: Home,
    images: Vec<(String, Image)>,
    created: Finished,
}

impl Carried {
    /// Pushes the images under these repositories, with tag `1`, and makes a bundle of them.
    #[track_caller]
    fn new(images: &[(&str, &Image)], more: &[&str]) -> Self {
        let source = Embedded::start();
        let client = source.client();
        let home = Home::new();
        let mut create = home.bundle();
        create.args(["create", "--unsigned", "-o", "bundle", "--format", "json"]);
        create.args(more);
        for (repository, image) in images {
            client.push(repository, "1", image);
            let name = format!("{}/{repository}:1", source.host());
            create.args(["--image", &name]);
        }
        source.log.clear();
        let created = run(create).success();
        let images = images.iter();
        Self {
            source,
            home,
            images: images
                .map(|(r, i)| ((*r).to_owned(), (*i).clone()))
                .collect(),
            created,
        }
    }

    /// Loads the bundle.
    fn load(&self, to: &str, more: &[&str]) -> Finished {
        let mut load = self.home.bundle();
        load.args(["load", "bundle", "--allow-unsigned", "--to", to]);
        load.args(["--retries", "2"]).args(more);
        run(load)
    }

    /// Asserts that a registry has all of it, byte for byte.
    #[track_caller]
    fn assert_arrived(&self, client: &crate::support::pusher::Client) {
        for (repository, image) in &self.images {
            client.assert_holds(repository, "1", image);
        }
    }
}
