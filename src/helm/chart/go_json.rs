//! JSON as Go's `encoding/json` writes it, byte for byte.
//!
//! The configuration of a chart's OCI artifact is `json.Marshal` of Helm's metadata; writing the
//! same bytes gives the same digest, whoever pushes the chart.

use serde_json::Value;

/// An object whose members keep their order. Empty values are left out by the caller, as
/// `omitempty` does.
#[derive(Debug, Default)]
pub(crate) struct Object {
    text: String,
}

impl Object {
    /// Adds a member whose value is JSON already.
    pub(crate) fn raw(&mut self, key: &str, json: &str) -> &mut Self {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        push_string(&mut self.text, key);
        self.text.push(':');
        self.text.push_str(json);
        self
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.raw(key, &string(value))
    }

    /// Adds a text unless it is empty.
    pub(crate) fn text_unless_empty(&mut self, key: &str, value: &str) -> &mut Self {
        if !value.is_empty() {
            self.text(key, value);
        }
        self
    }

    /// Adds a text if there is one.
    pub(crate) fn text_if_some(&mut self, key: &str, value: &Option<String>) -> &mut Self {
        self.text_unless_empty(key, value.as_deref().unwrap_or_default())
    }

    /// Adds a list unless it is empty.
    pub(crate) fn list_unless_empty<T>(
        &mut self,
        key: &str,
        items: &[T],
        json: impl Fn(&T) -> String,
    ) -> &mut Self {
        if !items.is_empty() {
            self.raw(key, &array(items, json));
        }
        self
    }

    /// Adds `true`, or nothing.
    pub(crate) fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        if value {
            self.raw(key, "true");
        }
        self
    }

    /// The JSON text.
    pub(crate) fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.text);
        if text.is_empty() {
            text.push('{');
        }
        text.push('}');
        text
    }
}

/// A list.
pub(crate) fn array<T>(items: &[T], json: impl Fn(&T) -> String) -> String {
    let items: Vec<String> = items.iter().map(json).collect();
    format!("[{}]", items.join(","))
}

/// A text, with everything escaped that Go escapes for HTML's sake.
pub(crate) fn string(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    push_string(&mut text, value);
    text
}

fn push_string(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

/// Any value. Go holds all numbers as `float64` here.
pub(crate) fn value(any: &Value) -> String {
    match any {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), float),
        Value::String(text) => string(text),
        Value::Array(items) => array(items, value),
        Value::Object(members) => {
            let mut object = Object::default();
            for (key, member) in members {
                object.raw(key, &value(member));
            }
            object.finish()
        }
    }
}

/// A number as JavaScript writes it: with an exponent below 1e-6 and from 1e21 on.
fn float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let exponent: i32 = scientific
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or_default();
    match exponent {
        -6..21 => number.to_string(),
        21.. => scientific.replace('e', "e+"),
        _ => scientific,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn escapes_what_go_escapes_and_nothing_else() {
        assert_eq!(
            string("a<b>&\"\\\u{1}\u{8}\n\u{2028}/é\u{7f}"),
            "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\u0001\\b\\n\\u2028/é\u{7f}\""
        );
    }

    #[test]
    fn numbers_are_written_as_go_writes_floats() {
        for (number, written) in [
            (json!(1), "1"),
            (json!(1.5), "1.5"),
            (json!(1e21), "1e+21"),
            (json!(1e20), "100000000000000000000"),
            (json!(1.5e-7), "1.5e-7"),
            (json!(0.000001), "0.000001"),
            (json!(-2.0), "-2"),
            (json!(0), "0"),
        ] {
            assert_eq!(value(&number), written);
        }
    }

    #[test]
    fn objects_keep_the_order_in_which_members_are_added() {
        let mut object = Object::default();
        object
            .text("z", "1")
            .text_unless_empty("y", "")
            .flag("x", true);
        assert_eq!(object.finish(), r#"{"z":"1","x":true}"#);
        assert_eq!(Object::default().finish(), "{}");
        assert_eq!(
            value(&json!({"b": [null, {}], "a": "<"})),
            r#"{"a":"\u003c","b":[null,{}]}"#
        );
    }
}
