//! `Link` headers (RFC 8288), by which lists are read page by page.

use reqwest::{
    Url,
    header::{HeaderMap, LINK},
};

use super::{error::RegistryError, origin, transport::Answer};

impl Answer {
    /// The address of the next page of a list that was asked for at `asked`.
    ///
    /// # Errors
    /// When it is at another origin: that one did not answer for this registry.
    pub(super) fn next_page(&self, asked: &Url) -> Result<Option<Url>, RegistryError> {
        match next(self.headers(), self.url()) {
            Some(next) if !origin::same_origin(asked, &next) => {
                let place = origin::show(&next);
                Err(self.unexpected(format!("its next page is at {place}")))
            }
            next => Ok(next),
        }
    }
}

/// The target of the first link with the relation `next`.
fn next(headers: &HeaderMap, base: &Url) -> Option<Url> {
    let values = headers.get_all(LINK).iter();
    let target = values
        .filter_map(|v| next_target(v.to_str().ok()?))
        .next()?;
    let mut url = base.join(target).ok()?;
    // Nobody but us says who is asking; where the scheme has no user, there is none to remove.
    let _ = (url.set_username(""), url.set_password(None));
    Some(url)
}

fn next_target(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        let link = rest.trim_start_matches([' ', '\t', ',']);
        let (target, behind) = link.strip_prefix('<')?.split_once('>')?;
        let (parameters, others) = split_unquoted(behind, ',');
        if is_next(parameters) {
            return Some(target);
        }
        rest = others;
    }
}

/// Whether one of the parameters is `rel`, and one of its relations `next`.
fn is_next(parameters: &str) -> bool {
    let mut rest = parameters;
    while !rest.is_empty() {
        let (parameter, others) = split_unquoted(rest, ';');
        rest = others;
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        if name.trim().eq_ignore_ascii_case("rel") {
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            return relations.any(|relation| relation.eq_ignore_ascii_case("next"));
        }
    }
    false
}

/// What stands before and behind the first separator outside of quotes.
fn split_unquoted(text: &str, separator: char) -> (&str, &str) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => return (&text[..at], &text[at + c.len_utf8()..]),
            _ => {}
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    fn next_of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LINK, HeaderValue::from_str(value).unwrap());
        }
        let base = Url::parse("https://r.io/v2/a/tags/list?n=2").unwrap();
        next(&headers, &base).map(String::from)
    }

    #[test]
    fn q26_the_next_page_is_found_among_all_links() {
        let page = "https://r.io/v2/a/tags/list?last=b%2Cc&n=2";
        for values in [
            &[r#"</v2/a/tags/list?last=b%2Cc&n=2>; rel="next""#][..],
            &["<list?last=b%2Cc&n=2>;rel=next"],
            &[r#"<https://r.io/v2/a/tags/list?last=b%2Cc&n=2> ; REL = "Next""#],
            &[r#"<https://u:p@r.io/v2/a/tags/list?last=b%2Cc&n=2>; rel=next"#],
            &[
                r#"</first>; rel="prev first"; title="a, <b>; \"rel=next", </v2/a/tags/list?last=b%2Cc&n=2>; title="x;y"; rel="last next""#,
            ],
            &[
                "</0>; rel=prev",
                "</v2/a/tags/list?last=b%2Cc&n=2>; rel=next",
            ],
        ] {
            assert_eq!(next_of(values).as_deref(), Some(page), "{values:?}");
        }
        for none in [
            "",
            "</x>",
            "</x>; rel=prev",
            "</x>; rel=nextt",
            "</x; rel=next",
            "/x; rel=next",
            "</x>; rel=prev; rel=next",
            "<http://[>; rel=next",
        ] {
            assert_eq!(next_of(&[none]), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(value in "[ -~\\t]{0,200}", links in "[<>;,=\"\\\\a]{0,60}") {
            next_of(&[&value, &links, &format!("</x>;{links}")]);
        }
    }
}
