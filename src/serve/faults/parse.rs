//! The text form of rules and plans.

use std::{str::FromStr, time::Duration};

use super::{Fault, FaultPlan, FaultRule};
use crate::serve::names::clip;

/// Why a text is no rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{rule}` is not a fault rule: {problem}")]
pub struct FaultParseError {
    rule: String,
    problem: String,
}

impl FaultParseError {
    /// The form that is expected.
    pub fn hint(&self) -> Option<String> {
        Some(
            "expected METHOD:PATTERN:ACTION[:OPTION]..., as in GET:/blobs/:cut=65536:times=2"
                .into(),
        )
    }
}

impl FromStr for FaultPlan {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, FaultParseError> {
        let rules = text
            .split(';')
            .map(str::trim)
            .filter(|rule| !rule.is_empty());
        let rules = rules.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }
}

impl FromStr for FaultRule {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, FaultParseError> {
        parse_rule(text).map_err(|problem| FaultParseError {
            rule: clip(text),
            problem,
        })
    }
}

fn parse_rule(text: &str) -> Result<FaultRule, String> {
    let (method, rest) = text.split_once(':').ok_or("there is no `:`")?;
    let is_method = method == "*" || method.bytes().all(|b| b.is_ascii_alphabetic());
    if method.is_empty() || !is_method {
        return Err(format!("`{}` is not a method", clip(method)));
    }
    let parts: Vec<&str> = rest.split(':').collect();
    // The first part is of the pattern in any case, so that every rule has a pattern.
    let start = (1..parts.len())
        .find(|index| is_action(parts[*index]))
        .ok_or("there is no action")?;
    let pattern = parts[..start].join(":");
    let fault = parse_action(parts[start])?;
    let mut rule = FaultRule::new(method, &pattern, fault);
    let (mut nth, mut probability, mut seed) = (None, None, None);
    for option in &parts[start + 1..] {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match (key, &mut rule.fault) {
            ("times", _) => rule.times = Some(number(value)?),
            ("nth", _) => nth = Some(number(value)?),
            ("probability", _) => probability = Some(chance(value)?),
            ("seed", _) => seed = Some(number(value)?),
            ("retry-after", Fault::Status { retry_after, .. }) => {
                *retry_after = Some(number(value)?);
            }
            ("at", Fault::Stall { at, .. }) => *at = number(value)?,
            _ => return Err(format!("`{}` is not an option of its action", clip(option))),
        }
    }
    if let Some(nth) = nth {
        if nth == 0 {
            return Err("`nth` counts from 1".into());
        }
        rule.nth = nth;
        rule.times = rule.times.or(Some(1));
    }
    rule.probability = match (probability, seed) {
        (Some(probability), seed) => Some((probability, seed.unwrap_or(0))),
        (None, None) => None,
        (None, Some(_)) => return Err("`seed` needs `probability`".into()),
    };
    Ok(rule)
}

fn is_action(part: &str) -> bool {
    let key = part.split_once('=').map_or(part, |(key, _)| key);
    let with_value = ["status", "cut", "stall", "corrupt", "delay", "slow"];
    match part.contains('=') {
        true => with_value.contains(&key),
        false => ["reset", "lose-answer"].contains(&key),
    }
}

fn parse_action(part: &str) -> Result<Fault, String> {
    let (key, value) = part.split_once('=').unwrap_or((part, ""));
    Ok(match key {
        "status" => Fault::Status {
            code: status(value)?,
            retry_after: None,
        },
        "reset" => Fault::Reset,
        "lose-answer" => Fault::LoseAnswer,
        "cut" => Fault::Cut {
            after: number(value)?,
        },
        "stall" => Fault::Stall {
            pause: duration(value)?,
            at: 0,
        },
        "corrupt" => Fault::Corrupt { at: number(value)? },
        "delay" => Fault::Delay(duration(value)?),
        "slow" => match number(value)? {
            0 => return Err("`slow` needs at least one byte a second".into()),
            rate => Fault::Slow { rate },
        },
        _ => return Err(format!("`{}` is not an action", clip(part))),
    })
}

fn status(text: &str) -> Result<u16, String> {
    match text.parse() {
        // 1xx is no answer, only an announcement of one.
        Ok(code @ 200..=999) => Ok(code),
        _ => Err(format!("`{}` is not a status code", clip(text))),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{}` is not a number", clip(text)))
}

fn chance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value @ 0.0..=1.0) => Ok(value),
        _ => Err(format!("`{}` is not a probability (0 to 1)", clip(text))),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{}` is not a time such as 200ms, 2s or 1m", clip(text));
    let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (value, unit) = text.split_at(unit);
    let value: u32 = value.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return Err(wrong()),
    };
    Ok(unit * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let rule: FaultRule = "get:/blobs/:cut=65536:times=2".parse().unwrap();
        let cut = Fault::Cut { after: 65536 };
        assert_eq!(rule, FaultRule::new("GET", "/blobs/", cut).times(2));

        let rule: FaultRule = "*:/sha256:ab:status=429:retry-after=3".parse().unwrap();
        assert_eq!((rule.method, rule.pattern.as_str()), (None, "/sha256:ab"));
        let (code, retry_after) = (429, Some(3));
        assert_eq!(rule.fault, Fault::Status { code, retry_after });

        let rule: FaultRule = "PUT::stall=200ms:at=10:nth=3".parse().unwrap();
        let pause = Duration::from_millis(200);
        assert_eq!(rule.fault, Fault::Stall { pause, at: 10 });
        assert_eq!((rule.nth, rule.times), (3, Some(1)));

        let rule: FaultRule = "GET::delay=1m:probability=0.5".parse().unwrap();
        assert_eq!(rule.fault, Fault::Delay(Duration::from_secs(60)));
        assert_eq!(rule.probability, Some((0.5, 0)));

        let rule: FaultRule = "GET::slow=1000".parse().unwrap();
        assert_eq!(rule.fault, Fault::Slow { rate: 1000 });

        // An action's name as the pattern.
        let rule: FaultRule = "GET:reset:reset".parse().unwrap();
        assert_eq!((rule.pattern.as_str(), rule.fault), ("reset", Fault::Reset));
    }

    #[test]
    fn plans_are_lists_of_rules() {
        assert_eq!("".parse(), Ok(FaultPlan::default()));
        let plan: FaultPlan = "GET::reset; PUT::lose-answer;".parse().unwrap();
        let expected = FaultPlan::default()
            .with(FaultRule::new("GET", "", Fault::Reset))
            .with(FaultRule::new("PUT", "", Fault::LoseAnswer));
        assert_eq!(plan, expected);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "GET",
            "GET:/x",
            ":/x:reset",
            "G T:/x:reset",
            "GET:reset",
            "GET:/x:reset=1",
            "GET:/x:status",
            "GET:/x:status=abc",
            "GET:/x:status=100",
            "GET:/x:status=1000",
            "GET:/x:cut=-1",
            "GET:/x:slow=0",
            "GET:/x:stall=5",
            "GET:/x:stall=5h",
            "GET:/x:reset:at=5",
            "GET:/x:cut=5:retry-after=1",
            "GET:/x:reset:times=x",
            "GET:/x:reset:nth=0",
            "GET:/x:reset:probability=1.5",
            "GET:/x:reset:probability=NaN",
            "GET:/x:reset:seed=1",
            "GET:/x:reset:",
            "GET::reset;nonsense",
        ] {
            let error = text.parse::<FaultPlan>().unwrap_err();
            assert!(error.hint().is_some(), "{text}");
        }
    }
}
