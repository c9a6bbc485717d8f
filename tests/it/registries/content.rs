//! Content that registries treat in different ways.

use sneakernet::oci::{Algorithm, Hasher};

use super::{Door, Place, Traveller, is_ready};
use crate::support::{
    embedded::Embedded,
    images::{Blob, Image, artifact, empty_config},
    product::Product::{self, *},
    tools::Finished,
};

/// Loads an artifact into a registry; what came of it, and the registry.
fn loaded(product: Product, image: &Image) -> (Finished, Place) {
    let traveller = Traveller::new();
    let source = Embedded::start();
    source.client().push("team/odd", "1", image);
    let file = traveller.create(&[format!("{}/team/odd:1", source.host())], &[]);
    let place = traveller.place(product, Door::Open);
    (traveller.load(&file, &place.host, &[]), place)
}

#[test]
fn q43_every_registry_takes_empty_blobs() {
    for product in Product::ALL {
        if !is_ready(&[product], &[]) {
            continue;
        }
        let empty = Blob::new("application/vnd.example.nothing", &b""[..]);
        let image = artifact(None, empty_config(), vec![empty, empty_config()], None);
        let (finished, place) = loaded(product, &image);
        finished.success();
        place.client(&[]).assert_holds("team/odd", "1", &image);
    }
}

#[test]
fn q57_blobs_by_their_sha512_arrive_or_are_missed() {
    for product in Product::ALL {
        if !is_ready(&[product], &[]) {
            continue;
        }
        let bytes = b"by another sum".to_vec();
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(&bytes);
        let layer = Blob {
            media_type: "application/vnd.example.data".to_owned(),
            digest: hasher.finish(),
            bytes: bytes.into(),
        };
        let image = artifact(None, empty_config(), vec![layer], None);
        let (finished, place) = loaded(product, &image);
        if product == Ggcr {
            // It says that it has taken the blob, and does not have it.
            let refused = finished.exits(6);
            let said = "is not there afterwards";
            assert!(refused.stderr.contains(said), "{refused:?}");
            continue;
        }
        finished.success();
        let served = place.client(&[]).blob("team/odd", image.blobs[1].digest);
        assert_eq!(served.as_ref(), Some(&image.blobs[1].bytes), "{product:?}");
    }
}

#[test]
fn q66_a_media_type_with_parameters_is_taken_or_refused_in_words() {
    let odd = Blob::new("text/plain; charset=utf-8", &b"words"[..]);
    let image = artifact(None, empty_config(), vec![odd], None);
    for product in Product::ALL {
        if !is_ready(&[product], &[]) {
            continue;
        }
        let (finished, place) = loaded(product, &image);
        let client = place.client(&[]);
        if product == Zot {
            let refused = finished.exits(6);
            for part in ["team/odd", "MANIFEST_INVALID"] {
                assert!(refused.stderr.contains(part), "{part}: {refused:?}");
            }
            assert!(client.manifest("team/odd", "1").is_none());
        } else {
            finished.success();
            client.assert_holds("team/odd", "1", &image);
        }
    }
}
