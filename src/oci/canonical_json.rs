//! RFC 8785 (JSON Canonicalization Scheme), restricted to what the bundle's own documents hold:
//! no fractions and no integers beyond 2^53 - 1.

use serde::Serialize;
use serde_json::Value;

/// The largest integer that every JSON reader holds exactly.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why a value has no canonical form, or bytes are not in it.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalJsonError {
    /// Not JSON, or not one document.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A number that is not an integer of at most 53 bits.
    #[error("the number {0} is not an integer between -(2^53 - 1) and 2^53 - 1")]
    Number(serde_json::Number),
    /// Valid JSON, but spelled in another way.
    #[error("the document is not in canonical form (RFC 8785)")]
    NotCanonical,
}

/// Serialises `value` in canonical form.
///
/// # Errors
/// When it holds a number that the canonical form here does not cover.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalJsonError> {
    let mut out = Vec::new();
    write(&serde_json::to_value(value)?, &mut out)?;
    Ok(out)
}

/// Checks that `bytes` are in canonical form and returns the value.
///
/// # Errors
/// When they are not JSON or not canonical, repeated keys included.
pub fn parse(bytes: &[u8]) -> Result<Value, CanonicalJsonError> {
    let value: Value = serde_json::from_slice(bytes)?;
    let mut again = Vec::with_capacity(bytes.len());
    write(&value, &mut again)?;
    if again == bytes {
        Ok(value)
    } else {
        Err(CanonicalJsonError::NotCanonical)
    }
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), CanonicalJsonError> {
    match value {
        Value::Number(number) => {
            let in_range = number.as_u64().is_some_and(|n| n <= MAX_INTEGER)
                || number
                    .as_i64()
                    .is_some_and(|n| n.unsigned_abs() <= MAX_INTEGER);
            if !in_range {
                return Err(CanonicalJsonError::Number(number.clone()));
            }
            serde_json::to_writer(out, number)?;
        }
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // RFC 8785 section 3.2.3: names are sorted by their UTF-16 code units.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push(b'{');
            for (position, (name, member)) in members.into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, name)?;
                out.push(b':');
                write(member, out)?;
            }
            out.push(b'}');
        }
        // serde_json escapes strings as RFC 8785 section 3.2.2.2 wants it.
        scalar => serde_json::to_writer(out, scalar)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_sorted_by_utf16_and_strings_are_escaped_minimally() {
        let value = json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": "\u{1}\"\\/\u{7f}"});
        let text = String::from_utf8(to_vec(&value).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":\"\\u0001\\\"\\\\/\u{7f}\",\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
    }

    #[test]
    fn other_spellings_are_refused() {
        parse(br#"{"a":[1,-2,true,null,"x"],"b":{}}"#).unwrap();
        for bad in [
            r#"{"b":1,"a":2}"#,
            r#"{"a": 1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":-0}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":"\u0061"}"#,
            r#"{"a":"\/"}"#,
            r#"{"a":9007199254740992}"#,
            "{\"a\":1}\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad} was accepted");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_canonical(keys in proptest::collection::vec("\\PC{0,6}", 0..6), n in -5i64..5) {
            let object: serde_json::Map<String, Value> =
                keys.into_iter().map(|k| (k.clone(), json!([k, n]))).collect();
            let bytes = to_vec(&object).unwrap();
            prop_assert_eq!(parse(&bytes).unwrap(), Value::Object(object));
        }
    }
}
