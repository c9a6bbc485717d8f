//! JSON documents that every reader understands alike.
//!
//! Parsers disagree about repeated keys, about keys that differ only in case (Go's decoder takes the
//! last of them for the field) and about what follows the document. A document on which two readers
//! may disagree is not one that can be vouched for, so it is refused before anything is read from it.

use std::{collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of arrays and objects. OCI documents need six.
const MAX_DEPTH: usize = 64;

/// Field names of OCI documents; a key that equals one of them but for case is refused.
const FIELDS: [&str; 15] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
    "blobs",
    "fsLayers",
];

/// Checks that `bytes` are one UTF-8 JSON object without repeated keys, and without keys that some
/// reader would take for a field of an OCI document although this one does not.
///
/// # Errors
/// With the reason and the line and column.
pub fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Value {
        depth: 0,
        free_keys: false,
        root: true,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Walks one value without keeping it.
#[derive(Clone, Copy)]
struct Value {
    depth: usize,
    /// Inside `annotations`, keys are the author's: only exact repetition is refused.
    free_keys: bool,
    root: bool,
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Value {
    fn scalar<E: serde::de::Error>(self) -> Result<(), E> {
        if self.root {
            Err(E::custom("expected a JSON object"))
        } else {
            Ok(())
        }
    }

    fn below<E: serde::de::Error>(self, free_keys: bool) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self {
            depth: self.depth + 1,
            free_keys,
            root: false,
        })
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.scalar::<A::Error>()?;
        let below = self.below(self.free_keys)?;
        while items.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            let identity = if self.free_keys {
                key.clone()
            } else {
                fold(&key)
            };
            let shown: String = key.escape_default().take(80).collect();
            if !self.free_keys
                && FIELDS
                    .iter()
                    .any(|field| *field != key && field.eq_ignore_ascii_case(&identity))
            {
                let message = format!("the key `{shown}` differs from a field only in case");
                return Err(A::Error::custom(message));
            }
            let annotations = key == "annotations";
            if !seen.insert(identity) {
                return Err(A::Error::custom(format!(
                    "the key `{shown}` is there twice"
                )));
            }
            entries.next_value_seed(self.below(annotations)?)?;
        }
        Ok(())
    }
}

/// Case folding as wide as Go's `strings.EqualFold`: the Kelvin sign is a `k`, the long s an `s`.
fn fold(key: &str) -> String {
    key.to_uppercase().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn documents_with_one_meaning_pass() {
        for good in [
            r#"{}"#,
            r#"{"schemaVersion":2,"layers":[{"digest":"x"},{"digest":"y"}],"config":{}}"#,
            r#"{"annotations":{"Foo":"1","foo":"2","Layers":"3"}}"#,
            " {\"a\": [null, true, 1.5, -3, \"\\u0000\"]}\n",
        ] {
            check(good.as_bytes()).unwrap();
        }
    }

    #[test]
    fn documents_with_two_meanings_are_refused() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        for bad in [
            "",
            "[]",
            "null",
            "3",
            "{} x",
            "{}{}",
            "{}\0",
            "\u{feff}{}",
            r#"{"layers":[],"layers":[1]}"#,
            r#"{"layers":[],"Layers":[1]}"#,
            r#"{"Layers":[1]}"#,
            r#"{"a":{"b":1,"B":2}}"#,
            "{\"manife\u{17f}ts\":[]}",
            "{\"k\":1,\"\u{212a}\":2}",
            r#"{"annotations":{"a":"1","a":"2"}}"#,
            r#"{"a":"\ud800"}"#,
            &deep,
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad} was accepted");
        }
        assert!(check(b"{\"a\":\"\xff\"}").is_err());
    }
}
