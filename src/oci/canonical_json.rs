//! RFC 8785 (JSON Canonicalization Scheme), restricted to what the bundle's own documents hold:
//! no fractions and no integers beyond 2^53 - 1.

use std::{cell::RefCell, fmt};

use serde::{
    Deserialize, Serialize,
    de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
};

/// The largest integer that every JSON reader holds exactly.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why a value has no canonical form, or bytes are not in it.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalJsonError {
    /// Not JSON, not one document, not in canonical form, or not of the expected shape.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// There is more than the canonical form of what was read.
    #[error("the document is not in canonical form (RFC 8785)")]
    NotCanonical,
}

/// Serialises `value` in canonical form. Structs must declare their fields in canonical order.
///
/// # Errors
/// When it holds a number that the canonical form here does not cover, or names out of order.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalJsonError> {
    let bytes = serde_json::to_vec(value)?;
    check(&bytes)?;
    Ok(bytes)
}

/// Parses a document that must be in canonical form.
///
/// # Errors
/// When it is not JSON, not canonical (repeated names included), or not of the type.
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CanonicalJsonError> {
    check(bytes)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Checks that `bytes` are one document in canonical form, in constant memory: the document is
/// written anew while it is read, and what is written is compared.
///
/// # Errors
/// When they are not.
pub fn check(bytes: &[u8]) -> Result<(), CanonicalJsonError> {
    let rest = RefCell::new(bytes);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Again(&rest).deserialize(&mut deserializer)?;
    deserializer.end()?;
    if rest.into_inner().is_empty() {
        Ok(())
    } else {
        Err(CanonicalJsonError::NotCanonical)
    }
}

/// Writes one value again, onto what is left of the original.
#[derive(Clone, Copy)]
struct Again<'r, 'b>(&'r RefCell<&'b [u8]>);

impl Again<'_, '_> {
    /// Compares the next bytes.
    fn wrote<E: de::Error>(self, expected: &[u8]) -> Result<(), E> {
        let mut rest = self.0.borrow_mut();
        match rest.strip_prefix(expected) {
            Some(behind) => {
                *rest = behind;
                Ok(())
            }
            None => Err(E::custom("not in canonical form (RFC 8785)")),
        }
    }

    fn wrote_json<E: de::Error>(self, scalar: &impl Serialize) -> Result<(), E> {
        // serde_json escapes strings as RFC 8785 section 3.2.2.2 wants it.
        self.wrote(&serde_json::to_vec(scalar).map_err(E::custom)?)
    }

    fn wrote_integer<E: de::Error>(self, value: impl Serialize, size: u64) -> Result<(), E> {
        if size > MAX_INTEGER {
            return Err(E::custom("a number is not an integer of at most 53 bits"));
        }
        self.wrote_json(&value)
    }
}

impl<'de> DeserializeSeed<'de> for Again<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Again<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without fractions")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.wrote_json(&value)
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.wrote_integer(value, value.unsigned_abs())
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.wrote_integer(value, value)
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.wrote_json(&value)
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.wrote(b"null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.wrote(b"[")?;
        let mut first = true;
        while items
            .next_element_seed(Element { again: self, first })?
            .is_some()
        {
            first = false;
        }
        self.wrote(b"]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.wrote(b"{")?;
        let mut last: Option<String> = None;
        while let Some(name) = members.next_key::<String>()? {
            if let Some(last) = &last {
                // RFC 8785 section 3.2.3: names are sorted by their UTF-16 code units.
                if !last.encode_utf16().lt(name.encode_utf16()) {
                    return Err(de::Error::custom(
                        "names are not in order, or one is there twice",
                    ));
                }
                self.wrote(b",")?;
            }
            self.wrote_json(&name)?;
            self.wrote(b":")?;
            members.next_value_seed(self)?;
            last = Some(name);
        }
        self.wrote(b"}")
    }
}

/// An element of an array, with the comma before it.
struct Element<'r, 'b> {
    again: Again<'r, 'b>,
    first: bool,
}

impl<'de> DeserializeSeed<'de> for Element<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.first {
            self.again.wrote(b",")?;
        }
        self.again.deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn names_are_sorted_by_utf16_and_strings_are_escaped_minimally() {
        // The order of RFC 8785 section 3.2.3, in which U+1F600 precedes U+FB33.
        let text = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":\"\\u0001\\\"\\\\/\u{7f}\",\
                    \"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}";
        check(text.as_bytes()).unwrap();
    }

    #[test]
    fn other_spellings_are_refused() {
        check(br#"{"a":[1,-2,true,null,"x"],"b":{}}"#).unwrap();
        for bad in [
            r#"{"b":1,"a":2}"#,
            r#"{"a": 1}"#,
            r#"{"a":[1 ,2]}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":-0}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":"\u0061"}"#,
            r#"{"a":"\/"}"#,
            r#"{"a":9007199254740992}"#,
            "{\"a\":1}\n",
            "{\"a\":1}{}",
            "",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad} was accepted");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_canonical(keys in proptest::collection::vec("[ -~]{0,6}", 0..6), n in -5i64..5) {
            let object: serde_json::Map<String, Value> =
                keys.into_iter().map(|k| (k.clone(), json!([k, n]))).collect();
            let bytes = to_vec(&object).unwrap();
            let again: Value = from_slice(&bytes).unwrap();
            prop_assert_eq!(again, Value::Object(object));
        }

        #[test]
        fn a_changed_byte_is_noticed_or_is_another_document(at in 0_usize..40, byte in any::<u8>()) {
            let mut bytes = br#"{"a":[1,-2,true,null,"x\n"],"b":{"c":"d"}}"#.to_vec();
            let before = bytes.clone();
            bytes[at] = byte;
            if check(&bytes).is_ok() && bytes != before {
                let value: Value = serde_json::from_slice(&bytes).unwrap();
                prop_assert_eq!(to_vec(&value).unwrap(), bytes);
            }
        }
    }
}
