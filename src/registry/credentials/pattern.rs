//! Hosts with wildcards, as the kubelet reads them in pull secrets (Kubernetes documentation,
//! "Interpretation of config.json"): a pattern for each label, and the port has to be the same.

/// `HOST[:PORT]` where at least one label is a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPattern {
    labels: Vec<String>,
    port: Option<String>,
}

impl HostPattern {
    /// Reads a host; `None` when there is no pattern in it.
    pub(super) fn parse(host: &str) -> Option<Self> {
        // What begins so is an IPv6 address.
        if host.starts_with('[') || !host.contains(['*', '?', '[']) {
            return None;
        }
        let (labels, port) = split(host);
        Some(Self {
            labels: labels.map(str::to_ascii_lowercase).collect(),
            port: port.map(str::to_owned),
        })
    }

    /// Whether a host, in lower case, is one of those that are meant.
    pub(super) fn matches(&self, host: &str) -> bool {
        let (labels, port) = split(host);
        let labels: Vec<&str> = labels.collect();
        port == self.port.as_deref()
            && labels.len() == self.labels.len()
            && self.labels.iter().zip(labels).all(|(p, l)| glob(p, l))
    }

    /// How much of the host it says itself, in characters.
    pub(super) fn exactness(&self) -> usize {
        let said = |label: &String| label.chars().filter(|c| !"*?".contains(*c)).count();
        self.labels.iter().map(said).sum()
    }
}

fn split(host: &str) -> (std::str::Split<'_, char>, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) => (name.split('.'), Some(port)),
        None => (host.split('.'), None),
    }
}

/// `*` is any number of characters, `?` one, `[a-z]` and `[^a-z]` one of a class, `\` takes the
/// next as it is. A pattern that is none matches nothing.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how far it reaches: the only place to go back to.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => {
                if let Some(length) = one(&pattern[p..], text[t]) {
                    (p, t) = (p + length, t + 1);
                    continue;
                }
            }
            None => {}
        }
        let Some((at, reached)) = star else {
            return false;
        };
        star = Some((at, reached + 1));
        (p, t) = (at + 1, reached + 1);
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The length of the term that a pattern begins with, if it fits the character.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', exact, ..] => (*exact == character).then_some(2),
        ['[', class @ ..] => {
            let negated = class.first() == Some(&'^');
            let body = &class[usize::from(negated)..];
            let end = body.iter().position(|c| *c == ']')?;
            let mut found = false;
            let mut rest = &body[..end];
            while let [first, behind @ ..] = rest {
                let last = match behind {
                    ['-', last, ..] => last,
                    _ => first,
                };
                found |= (*first..=*last).contains(&character);
                rest = &rest[if behind.first() == Some(&'-') && behind.len() > 1 {
                    3
                } else {
                    1
                }..];
            }
            (end > 0 && found != negated).then_some(2 + usize::from(negated) + end)
        }
        [exact, ..] => (exact == &character).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, host: &str) -> bool {
        HostPattern::parse(pattern).unwrap().matches(host)
    }

    #[test]
    fn q12_a_pattern_is_for_one_label_and_one_port() {
        for (pattern, host) in [
            ("*.example.com", "r.example.com"),
            ("*.Example.com", "r.example.com"),
            ("*.*.example.com", "a.b.example.com"),
            ("reg*ry.example.com", "registry.example.com"),
            ("*ist*.example.com", "registry.example.com"),
            ("r?.example.com", "r1.example.com"),
            ("r[0-9].example.com", "r1.example.com"),
            ("r[^a-z].example.com", "r1.example.com"),
            ("*.example.com:5000", "r.example.com:5000"),
            ("*", "registry"),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "1.dkr.ecr.eu-west-1.amazonaws.com",
            ),
        ] {
            assert!(matches(pattern, host), "{pattern} {host}");
        }
        for (pattern, host) in [
            ("*.example.com", "example.com"),
            ("*.example.com", "a.b.example.com"),
            ("*.example.com", "r.example.com.evil.io"),
            ("*.example.com", "r.example.com:5000"),
            ("*.example.com:5000", "r.example.com"),
            ("*.example.com:5000", "r.example.com:50001"),
            ("*", "registry.io"),
            ("r?.example.com", "r.example.com"),
            ("r[0-9].example.com", "rx.example.com"),
            ("r[].example.com", "r].example.com"),
            ("r[0-9.example.com", "r1.example.com"),
            ("*a.example.com", "b.example.com"),
        ] {
            assert!(!matches(pattern, host), "{pattern} {host}");
        }
        for exact in ["r.example.com", "[::1]:5000", ""] {
            assert_eq!(HostPattern::parse(exact), None, "{exact}");
        }
        let exactness = |text| HostPattern::parse(text).unwrap().exactness();
        assert!(exactness("r*.example.com") > exactness("*.example.com"));
    }

    proptest! {
        #[test]
        fn any_pattern_ends_and_a_star_takes_all(
            pattern in "[a-c*?\\[\\]^\\\\-]{0,12}", label in "[a-c-]{0,12}",
        ) {
            glob(&pattern, &label);
            let (before, behind) = (format!("*{label}"), format!("{label}*"));
            for pattern in ["*", &before, &behind, &label] {
                prop_assert!(glob(pattern, &label), "{}", pattern);
            }
        }
    }
}
