//! Which signatures, attestations, SBOMs and the like come along with what was asked for.

/// What cosign puts behind the tag that it makes of a digest; each counts as a type of its own.
pub const COSIGN_TAGS: [&str; 3] = [".sig", ".att", ".sbom"];
/// Longest type (RFC 6838, section 4.2: two names of at most 127 characters).
const MAX_TYPE: usize = 255;

/// The referrers that come along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReferrerChoice {
    /// All that are found.
    #[default]
    All,
    /// None, and none are looked for.
    None,
    /// Those of these types, sorted: artifact types, or [`COSIGN_TAGS`].
    Types(Vec<String>),
}

impl ReferrerChoice {
    /// The types, sorted; all where there are none.
    pub fn of_types(mut types: Vec<String>) -> Self {
        types.sort();
        types.dedup();
        match types.is_empty() {
            true => Self::All,
            false => Self::Types(types),
        }
    }

    /// Whether what is of this type comes along.
    pub fn takes(&self, artifact_type: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Types(types) => types.iter().any(|wanted| wanted == artifact_type),
        }
    }

    /// Whether anything can come along that has a subject, and not only a tag.
    pub fn takes_subjects(&self) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Types(types) => types
                .iter()
                .any(|wanted| !COSIGN_TAGS.contains(&wanted.as_str())),
        }
    }

    /// As the lock says it: none for all.
    pub fn in_lock(&self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::None => Some(Vec::new()),
            Self::Types(types) => Some(types.clone()),
        }
    }
}

/// Checks that a text can be a type of referrers: a media type, or one of [`COSIGN_TAGS`].
///
/// # Errors
/// In words, when it cannot.
pub fn check_referrer_type(text: &str) -> Result<(), String> {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let is_media_type = text
        .split_once('/')
        .is_some_and(|(first, second)| is_name(first) && is_name(second) && text.len() <= MAX_TYPE);
    if is_media_type || COSIGN_TAGS.contains(&text) {
        return Ok(());
    }
    Err(format!(
        "`{}` is no type of referrers: an artifact type such as application/vnd.example.sbom, or one of {} for cosign's tags",
        super::names::clip(text),
        COSIGN_TAGS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_media_types_or_cosigns_tags() {
        for good in [
            "application/vnd.a+json",
            "text/spdx",
            ".sig",
            ".att",
            ".sbom",
        ] {
            check_referrer_type(good).unwrap();
        }
        for bad in ["", "sig", ".sigs", "a/", "/b", "a/b/c", "a/b c", "a/b;c=d"] {
            assert!(check_referrer_type(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_choice_takes_what_it_names() {
        let of = |types: &[&str]| {
            ReferrerChoice::of_types(types.iter().map(|t| (*t).to_owned()).collect())
        };
        assert_eq!(of(&[]), ReferrerChoice::All);
        assert_eq!(
            of(&["b/c", ".sig", "b/c"]).in_lock().unwrap(),
            [".sig", "b/c"]
        );
        assert!(of(&[".sig"]).takes(".sig") && !of(&[".sig"]).takes(".att"));
        assert!(!of(&[".sig"]).takes_subjects() && of(&[".sig", "b/c"]).takes_subjects());
        assert!(!ReferrerChoice::None.takes(".sig"));
        assert_eq!(ReferrerChoice::None.in_lock(), Some(Vec::new()));
    }
}
