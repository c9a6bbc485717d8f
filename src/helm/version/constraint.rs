//! Constraints: alternatives (`||`) of comparisons that must all hold (space or comma).

use std::{fmt, str::FromStr};

use super::{MAX_TEXT, Parts, Version, VersionError, clip, compare_prereleases};

/// A constraint on versions, as `--version` and the dependencies of a chart have it.
///
/// `1.2.3` is exactly that, `1.2` and `1.2.x` any patch of 1.2, `^` up to the next breaking version,
/// `~` up to the next minor one. Pre-releases are accepted only by alternatives that name one
/// themselves, and then all that lie in the range: `>=1.0.0-0` accepts `2.0.0-rc1`.
#[derive(Clone, Debug)]
pub struct Constraint {
    text: String,
    alternatives: Vec<Alternative>,
}

#[derive(Clone, Debug)]
struct Alternative {
    comparisons: Vec<Comparison>,
    prereleases: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

/// Operators by their spelling, longer ones before their own beginnings.
const OPERATORS: [(&str, Operator); 12] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
    ("", Operator::Equal),
];

/// The first part of a version that a comparison leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// `*`
    Major,
    /// `1`, `1.x`
    Minor,
    /// `1.2`, `1.2.x`
    Patch,
    /// `1.2.3`
    Nothing,
}

#[derive(Clone, Debug)]
struct Comparison {
    operator: Operator,
    /// What is left open is zero here.
    version: Version,
    open: Open,
}

impl Constraint {
    /// Whether a version satisfies the constraint.
    pub fn matches(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|alternative| {
            (alternative.prereleases || !version.is_prerelease())
                && alternative
                    .comparisons
                    .iter()
                    .all(|comparison| comparison.holds(version))
        })
    }

    /// The constraint as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Constraint {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let wrong = || VersionError::Constraint(clip(text));
        if text.len() > MAX_TEXT {
            return Err(wrong());
        }
        let alternatives = rewrite_ranges(text)
            .split("||")
            .map(Alternative::parse)
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        Ok(Self {
            text: text.to_owned(),
            alternatives,
        })
    }
}

impl Alternative {
    fn parse(text: &str) -> Option<Self> {
        let mut comparisons = Vec::new();
        let mut rest = skip_space(text);
        loop {
            let (comparison, behind) = Comparison::parse(rest)?;
            comparisons.push(comparison);
            let next = skip_space(behind);
            if next.is_empty() {
                break;
            }
            rest = match next.strip_prefix(',') {
                Some(next) => skip_space(next),
                None if next.len() < behind.len() => next,
                None => return None,
            };
        }
        Some(Self {
            prereleases: comparisons.iter().any(|c| c.version.is_prerelease()),
            comparisons,
        })
    }
}

impl Comparison {
    /// Reads one comparison from the beginning of `text`; also gives what is left.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let (behind, operator) = OPERATORS.iter().find_map(|(spelling, operator)| {
            let behind = text.strip_prefix(spelling)?;
            Some((skip_space(behind), *operator))
        })?;
        let (parts, rest) = Parts::scan(behind, in_open_number)?;
        let is_open = |part: Option<&str>| matches!(part, None | Some("x" | "X" | "*"));
        let (major, minor) = (parts.major, parts.minor.unwrap_or_default());
        let (open, numbers) = if is_open(Some(major)) {
            (Open::Major, "0.0.0".to_owned())
        } else if is_open(parts.minor) {
            (Open::Minor, format!("{major}.0.0"))
        } else if is_open(parts.patch) {
            (Open::Patch, format!("{major}.{minor}.0"))
        } else {
            (Open::Nothing, String::new())
        };
        let version = match (open, parts.prerelease) {
            (Open::Nothing, _) => parts.whole.parse(),
            (_, "") => numbers.parse(),
            (_, prerelease) => format!("{numbers}-{prerelease}").parse(),
        };
        let comparison = Self {
            operator,
            version: version.ok()?,
            open,
        };
        Some((comparison, rest))
    }

    /// Whether the comparison holds; pre-releases have been judged before.
    fn holds(&self, version: &Version) -> bool {
        match self.operator {
            Operator::Equal if self.open == Open::Nothing => *version == self.version,
            Operator::Equal | Operator::Tilde => self.tilde(version),
            Operator::NotEqual => self.not_equal(version),
            Operator::Greater => self.greater(version),
            Operator::Less => *version < self.version,
            Operator::GreaterOrEqual => *version >= self.version,
            Operator::LessOrEqual => self.less_or_equal(version),
            Operator::Caret => self.caret(version),
        }
    }

    fn not_equal(&self, version: &Version) -> bool {
        let ([major, minor, _], [own_major, own_minor, _]) =
            (version.numbers, self.version.numbers);
        match self.open {
            Open::Nothing | Open::Major => *version != self.version,
            _ if major != own_major => true,
            Open::Minor => false,
            Open::Patch if minor != own_minor => true,
            Open::Patch => {
                (version.is_prerelease() || self.version.is_prerelease())
                    && compare_prereleases(&version.prerelease, &self.version.prerelease).is_ne()
            }
        }
    }

    fn greater(&self, version: &Version) -> bool {
        let ([major, minor, _], [own_major, own_minor, _]) =
            (version.numbers, self.version.numbers);
        match self.open {
            Open::Nothing => *version > self.version,
            _ if major != own_major => major > own_major,
            // `>11` begins at 12.0.0, `>11.1` at 11.2.0.
            Open::Minor => false,
            Open::Patch => minor > own_minor,
            Open::Major => *version > self.version,
        }
    }

    fn less_or_equal(&self, version: &Version) -> bool {
        let ([major, minor, _], [own_major, own_minor, _]) =
            (version.numbers, self.version.numbers);
        match self.open {
            Open::Nothing => *version <= self.version,
            // `<=11` goes up to 12.0.0.
            Open::Minor => major <= own_major,
            Open::Patch | Open::Major => {
                major < own_major || (major == own_major && minor <= own_minor)
            }
        }
    }

    fn tilde(&self, version: &Version) -> bool {
        let ([major, minor, _], [own_major, own_minor, _]) =
            (version.numbers, self.version.numbers);
        if *version < self.version {
            return false;
        }
        // `~0.0.0` means the same as `*`.
        if self.version.numbers == [0; 3] && matches!(self.open, Open::Major | Open::Nothing) {
            return true;
        }
        major == own_major && (minor == own_minor || self.open == Open::Minor)
    }

    fn caret(&self, version: &Version) -> bool {
        let ([major, minor, patch], [own_major, own_minor, own_patch]) =
            (version.numbers, self.version.numbers);
        if *version < self.version || major != own_major {
            return false;
        }
        if own_major > 0 || self.open == Open::Minor {
            return true;
        }
        if own_minor > 0 || self.open == Open::Patch {
            return minor == own_minor;
        }
        minor == 0 && patch == own_patch
    }
}

/// Characters of a number that may be left open. The bar is in upstream's class by mistake, and
/// never part of a number that can be read.
fn in_open_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'x' | b'X' | b'*' | b'|')
}

/// The white space of Go's regular expressions.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

/// Writes `1.2 - 1.4` as the two comparisons that it means, wherever it stands.
fn rewrite_ranges(text: &str) -> String {
    let mut rewritten = text.to_owned();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        match Range::scan(rest) {
            Some(range) => {
                let comparisons = format!(">= {}, <= {} ", range.low, range.high);
                rewritten = rewritten.replacen(range.whole, &comparisons, 1);
                rest = &rest[range.whole.len()..];
            }
            None => rest = &rest[next.len_utf8()..],
        }
    }
    rewritten
}

struct Range<'t> {
    whole: &'t str,
    low: &'t str,
    high: &'t str,
}

impl<'t> Range<'t> {
    fn scan(text: &'t str) -> Option<Self> {
        let (low, rest) = Parts::scan(skip_space(text), in_open_number)?;
        let dash = skip_space(rest);
        let behind = dash.strip_prefix('-').filter(|_| dash.len() < rest.len())?;
        let high = skip_space(behind);
        if high.len() == behind.len() {
            return None;
        }
        let (high, rest) = Parts::scan(high, in_open_number)?;
        let rest = skip_space(rest);
        Some(Self {
            whole: &text[..text.len() - rest.len()],
            low: low.whole,
            high: high.whole,
        })
    }
}
