//! The mapping table: where every image was, and where it is.

use serde_json::json;

use super::{HandoffFile, Input, MovedImage, quote, text};

/// `images.csv` and `images.json`.
pub(super) fn files(input: &Input<'_>) -> Vec<HandoffFile> {
    let mut images: Vec<&MovedImage> = input.images_there().collect();
    images.sort_by(|a, b| {
        (&a.source, &a.destination, &a.tag).cmp(&(&b.source, &b.destination, &b.tag))
    });
    let mut json = serde_json::to_string_pretty(&table(input, &images)).unwrap_or_default();
    json.push('\n');
    vec![
        text("images.csv".to_owned(), csv(&images)),
        text("images.json".to_owned(), json),
    ]
}

fn csv(images: &[&MovedImage]) -> String {
    let mut page = "source,destination,tag,digest,platforms\n".to_owned();
    for image in images {
        let fields = [
            image.source.to_string(),
            image.destination_reference(),
            image.tag.clone().unwrap_or_default(),
            image.digest.to_string(),
            image.platforms.join(" "),
        ];
        let fields: Vec<String> = fields.iter().map(|field| quote::csv(field)).collect();
        page.push_str(&fields.join(","));
        page.push('\n');
    }
    page
}

fn table(input: &Input<'_>, images: &[&MovedImage]) -> serde_json::Value {
    let images: Vec<_> = images
        .iter()
        .map(|image| {
            json!({
                "source": image.source.to_string(),
                "destination": image.destination_reference(),
                "repository": image.destination.to_string(),
                "tag": image.tag,
                "digest": image.digest.to_string(),
                "platforms": image.platforms,
            })
        })
        .collect();
    let charts: Vec<_> = input
        .charts
        .iter()
        .map(|chart| {
            json!({
                "name": chart.name,
                "version": chart.version,
                "repository": chart.destination.to_string(),
                "digest": chart.digest.to_string(),
                "release": chart.release,
                "namespace": chart.namespace,
            })
        })
        .collect();
    json!({
        "bundle": {
            "name": input.bundle.name,
            "version": input.bundle.version,
            "root": input.bundle.root.to_string(),
        },
        "registry": input.to.place(),
        "images": images,
        "charts": charts,
    })
}
