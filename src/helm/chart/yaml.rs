//! YAML of a chart, understood as Helm understands it: YAML 1.1 booleans and octal numbers, and
//! numbers where a text is wanted printed as Go prints them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::{
    Error, Location, MessageFormatter as _, Options, UserMessageFormatter,
    options::{DuplicateKeyPolicy, NonFiniteFloatPolicy},
};

use super::{
    archive::MAX_FILE_BYTES,
    error::{ChartError, clip},
};

/// Reads one document strictly: no duplicate keys, and within the parser's budgets for aliases,
/// depth and size.
pub(crate) fn parse(file: &str, text: &[u8]) -> Result<Value, ChartError> {
    let text = utf8(file, text)?;
    serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::Error))
        .map(|Node(value)| value)
        .map_err(|error| syntax(file, &error))
}

/// Reads `values.yaml` as Helm does: several documents are merged, of duplicate keys the last one
/// counts, and nothing is as good as an empty mapping.
pub(crate) fn parse_values(file: &str, text: &[u8]) -> Result<Value, ChartError> {
    let text = utf8(file, text)?;
    let documents: Vec<Node> =
        serde_saphyr::from_multiple_with_options(text, options(DuplicateKeyPolicy::LastWins))
            .map_err(|error| syntax(file, &error))?;
    let mut merged = Map::new();
    for Node(document) in documents {
        match document {
            Value::Null => {}
            Value::Object(document) => merge(&mut merged, document),
            _ => {
                return Err(ChartError::Syntax {
                    file: file.to_owned(),
                    line: 0,
                    column: 0,
                    message: "values are a mapping, and this is not one".to_owned(),
                });
            }
        }
    }
    Ok(Value::Object(merged))
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        // Real charts comment out whole sections of their values. A file has no more comments than
        // half its bytes, and a file of a chart is small.
        budget: serde_saphyr::budget! {
            max_buffered_comment_events: (MAX_FILE_BYTES / 2) as usize,
            // One anchor used in a hundred places is nothing bad; bombs run into the limits of
            // what aliases may expand to.
            enforce_alias_anchor_ratio: false,
        },
        duplicate_keys: duplicate_keys,
        legacy_octal_numbers: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

/// The text without a byte order mark, which Helm cuts off too.
fn utf8<'t>(file: &str, text: &'t [u8]) -> Result<&'t str, ChartError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    std::str::from_utf8(text).map_err(|error| {
        let line = text[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        ChartError::Syntax {
            file: file.to_owned(),
            line: line as u64 + 1,
            column: 0,
            message: "not UTF-8".to_owned(),
        }
    })
}

fn syntax(file: &str, error: &Error) -> ChartError {
    let error = error.without_snippet();
    let at = error.location().unwrap_or(Location::UNKNOWN);
    let message = match error {
        Error::MultipleDocuments { .. } => "more than one YAML document".to_owned(),
        other => {
            let message = UserMessageFormatter.format_message(other);
            clip(message.trim_end_matches('.'))
        }
    };
    ChartError::Syntax {
        file: file.to_owned(),
        line: at.line(),
        column: at.column(),
        message,
    }
}

/// A value whose keys are texts, made of other scalars as Go makes them: `on: x` has the key `true`.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Self)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Value, D::Error> {
        value.deserialize_any(self)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(float(number as f64))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(float(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Node(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((Node(key), Node(value))) = entries.next_entry()? {
            let key = scalar_text(&key)
                .ok_or_else(|| serde::de::Error::custom("a list or mapping is used as a key"))?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

fn float(number: f64) -> Value {
    match number {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        number if number.is_nan() => "NaN".into(),
        number => number.into(),
    }
}

/// A scalar as Helm reads it where a text is wanted (`sigs.k8s.io/yaml`): `1.10` is `1.1`. None
/// for lists and mappings; nothing is the empty text.
pub(crate) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(int), _, _) => int.to_string(),
            (_, Some(int), _) => int.to_string(),
            (_, _, Some(float)) => go_float(float),
            _ => number.to_string(),
        }),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// `strconv.FormatFloat(value, 'g', -1, 64)`: the shortest digits, with an exponent below 1e-4 and
/// from 1e6 on.
fn go_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
