//! YAML in block style from JSON values: sorted keys, every string quoted, nothing that two
//! versions of YAML would read differently.

use serde_json::Value;

use super::quote;

/// The document of a value, ending in a line break.
pub(super) fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut text, value, 0, false),
        Value::Array(list) if !list.is_empty() => block(&mut text, value, 0, false),
        scalar => {
            text.push_str(&flow(scalar));
            text.push('\n');
        }
    }
    text
}

/// Writes a map or list that is not empty. With `inline` the first line is already begun, behind
/// the dash of a list.
fn block(text: &mut String, value: &Value, indent: usize, inline: bool) {
    let mut first = inline;
    let mut start = |text: &mut String| {
        if !std::mem::take(&mut first) {
            text.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                start(text);
                text.push_str(&self::key(key));
                text.push(':');
                member(text, value, indent + 2);
            }
        }
        Value::Array(list) => {
            for value in list {
                start(text);
                text.push('-');
                if is_block(value) {
                    text.push(' ');
                    block(text, value, indent + 2, true);
                } else {
                    member(text, value, indent + 2);
                }
            }
        }
        _ => {}
    }
}

fn member(text: &mut String, value: &Value, indent: usize) {
    if is_block(value) {
        text.push('\n');
        block(text, value, indent, false);
    } else {
        text.push(' ');
        text.push_str(&flow(value));
        text.push('\n');
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

/// A scalar, or an empty map or list.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => quote::yaml(text),
        other => other.to_string(),
    }
}

/// Keys that no version of YAML takes for anything but text stay bare.
fn key(key: &str) -> String {
    let word = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
    let reserved = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf",
    ];
    let bare = key.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && key.bytes().all(word)
        && !reserved.contains(&key.to_ascii_lowercase().as_str());
    if bare {
        key.to_owned()
    } else {
        quote::yaml(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_and_lists_are_in_block_style() {
        let value = json!({
            "image": {"tag": "1.10", "pull": true, "no": null},
            "list": [{"a": 1, "b": ["x", []]}, ["y"], {}],
        });
        let expected = "\
image:
  \"no\": null
  pull: true
  tag: \"1.10\"
list:
  - a: 1
    b:
      - \"x\"
      - []
  - - \"y\"
  - {}
";
        assert_eq!(document(&value), expected);
        let read: Value = serde_saphyr::from_str(expected).unwrap();
        assert_eq!(read, value);
        assert_eq!(document(&json!({})), "{}\n");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = "[ -~\\n\\t\\x01\\u{85}ä😀]{0,8}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_reads_back(value in any_value()) {
            let read: Value = serde_saphyr::from_str(&document(&value)).unwrap();
            prop_assert_eq!(read, value);
        }
    }
}
