//! Reading the fields of a YAML mapping as Go's `encoding/json` fills a struct: keys are compared
//! without regard to case, `null` is as good as nothing, unknown keys are passed over.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    error::{ChartError, clip},
    yaml::scalar_text,
};

/// A mapping of a file of the chart.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'v> {
    file: &'v str,
    map: &'v Map<String, Value>,
}

impl<'v> Fields<'v> {
    /// The mapping `value`, called `what` in errors.
    pub(crate) fn of(file: &'v str, what: &str, value: &'v Value) -> Result<Self, ChartError> {
        match value {
            Value::Object(map) => Ok(Self { file, map }),
            _ => Err(wrong(file, format!("{what} is not a mapping"))),
        }
    }

    fn get(&self, key: &str) -> Result<Option<&'v Value>, ChartError> {
        let mut found = self.map.iter().filter(|(k, _)| k.eq_ignore_ascii_case(key));
        let first = found.next();
        if let (Some((one, _)), Some((other, _))) = (first, found.next()) {
            let message = format!("`{one}` and `{other}` are one key for Helm");
            return Err(wrong(self.file, message));
        }
        Ok(first
            .map(|(_, value)| value)
            .filter(|value| !value.is_null()))
    }

    /// A text; empty where there is none.
    pub(crate) fn text(&self, key: &str) -> Result<String, ChartError> {
        let Some(value) = self.get(key)? else {
            return Ok(String::new());
        };
        scalar_text(value).ok_or_else(|| wrong(self.file, format!("`{key}` is not a text")))
    }

    /// A truth value; false where there is none.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, ChartError> {
        match self.get(key)? {
            None => Ok(false),
            Some(Value::Bool(truth)) => Ok(*truth),
            Some(_) => Err(wrong(
                self.file,
                format!("`{key}` is neither true nor false"),
            )),
        }
    }

    /// A list; empty where there is none.
    pub(crate) fn list(&self, key: &str) -> Result<&'v [Value], ChartError> {
        match self.get(key)? {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(wrong(self.file, format!("`{key}` is not a list"))),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<String>, ChartError> {
        let text = |item| {
            scalar_text(item)
                .ok_or_else(|| wrong(self.file, format!("`{key}` is not a list of texts")))
        };
        self.list(key)?.iter().map(text).collect()
    }

    /// A mapping of texts.
    pub(crate) fn text_map(&self, key: &str) -> Result<BTreeMap<String, String>, ChartError> {
        let Some(value) = self.get(key)? else {
            return Ok(BTreeMap::new());
        };
        let Value::Object(map) = value else {
            return Err(wrong(self.file, format!("`{key}` is not a mapping")));
        };
        let text = |(name, value): (&String, &Value)| {
            let value = scalar_text(value).ok_or_else(|| {
                wrong(
                    self.file,
                    format!("`{key}`: `{}` is not a text", clip(name)),
                )
            })?;
            Ok((name.clone(), value))
        };
        map.iter().map(text).collect()
    }
}

/// An error about what a file says.
pub(crate) fn wrong(file: &str, message: impl Into<String>) -> ChartError {
    ChartError::Metadata {
        file: file.to_owned(),
        message: message.into(),
    }
}
