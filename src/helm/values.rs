//! The values of a release: a chart's defaults, those of its sub-charts, and the user's over them.

use serde_json::{Map, Value};

use super::chart::Chart;

/// The values that a release has: defaults of the chart with those of its sub-charts under their
/// names or aliases, and the user's values files over them, the last one winning (Helm's
/// `ToRenderValues`, without the copies of `global` that each sub-chart gets).
pub fn merged(chart: &Chart, user: &[Value]) -> Value {
    let mut values = defaults(chart);
    for file in user {
        overlay(&mut values, file);
    }
    values
}

/// What a chart says without a user: its own values go before those of its sub-charts.
fn defaults(chart: &Chart) -> Value {
    let mut values = Value::Object(Map::new());
    for (name, sub_chart) in sub_charts(chart) {
        let below = Map::from_iter([(name.to_owned(), defaults(sub_chart))]);
        overlay(&mut values, &Value::Object(below));
    }
    overlay(&mut values, &chart.values);
    values
}

/// The sub-charts under the names by which the chart knows them; one chart may have several.
fn sub_charts(chart: &Chart) -> impl Iterator<Item = (&str, &Chart)> {
    chart.dependencies.iter().flat_map(|sub_chart| {
        let name = sub_chart.metadata.name.as_str();
        let declared = chart.metadata.dependencies.iter();
        let mut names: Vec<&str> = declared
            .filter(|dependency| dependency.name == name)
            .map(|dependency| dependency.used_as())
            .collect();
        if names.is_empty() {
            names.push(name);
        }
        names.into_iter().map(move |name| (name, sub_chart))
    })
}

/// Maps are merged, everything else is replaced, and null takes away.
fn overlay(values: &mut Value, over: &Value) {
    let Value::Object(over) = over else { return };
    let Value::Object(values) = values else {
        *values = Value::Object(over.clone());
        return;
    };
    for (key, value) in over {
        match (values.get_mut(key), value) {
            (_, Value::Null) => {
                values.remove(key);
            }
            (Some(below @ Value::Object(_)), Value::Object(_)) => overlay(below, value),
            _ => {
                values.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_user_goes_before_the_chart_and_the_chart_before_its_sub_charts() {
        let mut values =
            json!({"image": {"repository": "a", "tag": "1"}, "list": [1], "gone": {"x": 1}});
        overlay(
            &mut values,
            &json!({"image": {"tag": "2"}, "list": [2, 3], "gone": null, "new": {"y": null}}),
        );
        assert_eq!(
            values,
            json!({"image": {"repository": "a", "tag": "2"}, "list": [2, 3], "new": {"y": null}})
        );
        overlay(&mut values, &Value::Null);
        overlay(&mut values, &json!({"image": "a:1"}));
        assert_eq!(values["image"], json!("a:1"));
    }
}
