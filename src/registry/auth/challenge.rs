//! `WWW-Authenticate` (RFC 9110, section 11.6.1), read with tolerance for what registries send.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// More challenges than this are not looked at.
const MAX_CHALLENGES: usize = 16;
/// Longest header value that is looked at, in bytes.
const MAX_VALUE: usize = 8 << 10;

/// One way of authenticating that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// The scheme, lower case: `basic`, `bearer`, `negotiate`.
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter that is present and not empty; names do not depend on case.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, value) = self.parameters.iter().find(|(n, _)| n == name)?;
        (!value.is_empty()).then_some(value)
    }
}

/// All challenges of an answer, in order, from all headers.
pub(crate) fn parse(headers: &HeaderMap) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        if let Ok(text) = value.to_str()
            && text.len() <= MAX_VALUE
        {
            parse_value(text, &mut challenges);
        }
    }
    challenges.truncate(MAX_CHALLENGES);
    challenges
}

fn parse_value(text: &str, challenges: &mut Vec<Challenge>) {
    let first = challenges.len();
    let mut rest = text;
    // Directly behind a scheme stands a parameter or, for `Negotiate`, a blob without a name.
    let mut behind_scheme = false;
    while challenges.len() < MAX_CHALLENGES {
        rest = rest.trim_start_matches([' ', '\t']);
        if let Some(behind) = rest.strip_prefix(',') {
            rest = behind;
            behind_scheme = false;
            continue;
        }
        if rest.is_empty() {
            return;
        }
        let end = rest.find([',', '=', ' ', '\t', '"']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let value = behind.trim_start_matches([' ', '\t']);
        if let Some(value) = value.strip_prefix('=') {
            let (value, behind) = read_value(value);
            if let Some(challenge) = challenges.get_mut(first..).and_then(|c| c.last_mut()) {
                challenge
                    .parameters
                    .push((word.to_ascii_lowercase(), value));
            }
            rest = behind;
            behind_scheme = false;
        } else if word.is_empty() {
            // A stray quote; skip it.
            rest = &behind[1..];
        } else if behind_scheme {
            rest = behind;
            behind_scheme = false;
        } else {
            challenges.push(Challenge {
                scheme: word.to_ascii_lowercase(),
                parameters: Vec::new(),
            });
            rest = behind;
            behind_scheme = true;
        }
    }
}

/// Reads a quoted or bare value; returns it with what follows.
fn read_value(text: &str) -> (String, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    fn parse_all(values: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        parse(&headers)
    }

    #[test]
    fn q06_a_bearer_challenge_keeps_commas_inside_quotes() {
        let all = parse_all(&[
            r#"Bearer realm="https://a.io/token",service="a.io",scope="repository:x/y:pull,push",error="insufficient_scope""#,
        ]);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].scheme, "bearer");
        assert_eq!(all[0].parameter("realm"), Some("https://a.io/token"));
        assert_eq!(all[0].parameter("scope"), Some("repository:x/y:pull,push"));
        assert_eq!(all[0].parameter("error"), Some("insufficient_scope"));
        assert_eq!(all[0].parameter("nothing"), None);
    }

    #[test]
    fn q06_several_challenges_are_told_apart_in_one_header_and_in_many() {
        let schemes = |values: &[&str]| -> Vec<String> {
            parse_all(values).into_iter().map(|c| c.scheme).collect()
        };
        for values in [
            &[
                "Negotiate",
                r#"Basic realm="x""#,
                r#"bearer realm="https://a/""#,
            ][..],
            &[r#"Negotiate, Basic realm="x", Bearer realm="https://a/",service=s"#],
            &[r#"Negotiate YIIabc==, BASIC realm = "x" ,, Bearer realm=https://a/"#],
            &[r#"Negotiate oYG/, Basic, Bearer realm="https://a/""#],
        ] {
            assert_eq!(
                schemes(values),
                ["negotiate", "basic", "bearer"],
                "{values:?}"
            );
            let last = parse_all(values).pop().unwrap();
            assert_eq!(last.parameter("realm"), Some("https://a/"));
        }
    }

    #[test]
    fn escapes_and_broken_quotes_do_no_harm() {
        assert_eq!(
            parse_all(&[r#"Basic realm="a\"b\\c""#])[0].parameter("realm"),
            Some(r#"a"b\c"#)
        );
        assert_eq!(
            parse_all(&[r#"Basic realm="open"#])[0].parameter("realm"),
            Some("open")
        );
        assert_eq!(parse_all(&["", ",,,", "\"\"", "=x"]), []);
        assert_eq!(parse_all(&[&"Basic, ".repeat(100)]).len(), MAX_CHALLENGES);
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(text in "[ -~\\t]{0,200}") {
            prop_assert!(parse_all(&[&text]).len() <= MAX_CHALLENGES);
        }
    }
}
