//! What `plan --format json` prints: the lock, and what is not certain.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Planned, Unsure};
use crate::{bundle::Lock, helm::discover::Place};

/// A plan, for other programs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// What a bundle would hold.
    #[serde(flatten)]
    pub lock: Lock,
    /// Images that charts only suggest and the bundle does not hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suggested: Vec<SuggestedImage>,
    /// What may name an image, and does not say which.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unsure: Vec<UnsureImage>,
    /// Lists of images in charts that cannot be read, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
    /// Images that no value of their chart brings to another registry: nodes need a mirror.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_relocatable: Vec<FixedImage>,
    /// Releases that do not render with values for another registry: nodes need a mirror.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixed_values: Vec<FixedValues>,
    /// Operators that make pods of images which nothing lists, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<String>,
}

/// An image that a chart names where nothing is certain.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SuggestedImage {
    /// The image.
    pub reference: String,
    /// The release.
    pub release: String,
    /// Where it is named: `values.yaml image`.
    pub from: String,
}

/// Something in a release that may name an image.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UnsureImage {
    /// What stands there.
    pub text: String,
    /// The release.
    pub release: String,
    /// Where.
    pub place: ImagePlace,
    /// Why it is not certain.
    pub why: String,
}

/// An image whose name no value decides.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FixedImage {
    /// The image.
    pub reference: String,
    /// The release.
    pub release: String,
    /// Where it is named.
    pub places: Vec<ImagePlace>,
    /// Whether `load --layout last2` brings it to another registry after all.
    pub except_with_last2: bool,
}

/// A release whose values cannot be changed for another registry.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FixedValues {
    /// The release.
    pub release: String,
    /// What Helm says when they are.
    pub why: String,
}

/// A place in what a chart renders.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ImagePlace {
    /// The template that makes the object; empty where that is not known.
    pub template: String,
    /// The object: `Deployment/NAMESPACE/NAME`.
    pub object: String,
    /// The field in it: `spec.template.spec.containers[0].image`.
    pub path: String,
}

impl PlanReport {
    /// The report of a plan.
    pub fn of(planned: &Planned) -> Self {
        let advice = &planned.advice;
        let suggested = advice.suggested.iter().map(|suggested| SuggestedImage {
            reference: suggested.reference.to_string(),
            release: suggested.release.clone(),
            from: suggested.from.clone(),
        });
        let unsure = advice.unsure.iter();
        let unsure = unsure.map(|Unsure { release, unsure }| UnsureImage {
            text: unsure.text.clone(),
            release: release.clone(),
            place: ImagePlace::of(&unsure.place),
            why: unsure.why.to_owned(),
        });
        let fixed = advice.not_relocatable.iter().flat_map(|found| {
            found.strays.iter().map(|stray| FixedImage {
                reference: stray.reference.to_string(),
                release: found.release.clone(),
                places: stray.places.iter().map(ImagePlace::of).collect(),
                except_with_last2: found.except_with_last2,
            })
        });
        let fixed_values = advice.fixed_values.iter();
        let fixed_values = fixed_values.map(|(release, why)| FixedValues {
            release: release.clone(),
            why: why.clone(),
        });
        Self {
            lock: planned.lock.clone(),
            suggested: suggested.collect(),
            unsure: unsure.collect(),
            unreadable: advice.unreadable.clone(),
            not_relocatable: fixed.collect(),
            fixed_values: fixed_values.collect(),
            operators: advice.operators.clone(),
        }
    }
}

impl ImagePlace {
    fn of(place: &Place) -> Self {
        Self {
            template: place.template.clone(),
            object: place.object.clone(),
            path: place.field.clone(),
        }
    }
}
