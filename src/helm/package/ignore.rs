//! `.helmignore`: a port of Helm's `pkg/ignore/rules.go`, with everything that is peculiar about it.

use super::glob::Glob;

/// The rules of a `.helmignore`, with the one that Helm always adds.
#[derive(Debug)]
pub(super) struct Rules {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    glob: Glob,
    /// The pattern is compared with the whole path, not with the last part of it.
    whole_path: bool,
    negate: bool,
    must_be_directory: bool,
}

/// A line that Helm does not understand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRule {
    /// Counted from 1.
    pub line: usize,
    pub reason: &'static str,
}

impl Rules {
    /// Reads the rules of a `.helmignore`; of the empty text for a chart that has none.
    pub(super) fn parse(text: &str) -> Result<Self, BadRule> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, rule) in text.split('\n').chain(["templates/.?*"]).enumerate() {
            let bad = |reason| BadRule {
                line: index + 1,
                reason,
            };
            patterns.extend(Pattern::parse(rule).map_err(bad)?);
        }
        Ok(Self { patterns })
    }

    /// Whether a path, relative to the chart, is left out. The first rule that decides counts; a
    /// negated rule decides on everything that it does not match.
    pub(super) fn ignore(&self, path: &str, is_directory: bool) -> bool {
        for pattern in &self.patterns {
            let wrong_kind = pattern.must_be_directory && !is_directory;
            if pattern.negate {
                if wrong_kind || !pattern.matches(path) {
                    return true;
                }
            } else if !wrong_kind && pattern.matches(path) {
                return true;
            }
        }
        false
    }
}

impl Pattern {
    /// None for an empty line or a comment.
    fn parse(rule: &str) -> Result<Option<Self>, &'static str> {
        const SYNTAX: &str = "syntax error in pattern";
        let rule = rule.trim();
        if rule.is_empty() || rule.starts_with('#') {
            return Ok(None);
        }
        if rule.contains("**") {
            return Err("double-star (**) syntax is not supported");
        }
        Glob::new(rule).ok_or(SYNTAX)?;
        let (rule, negate) = strip(rule, rule.strip_prefix('!'));
        let (rule, must_be_directory) = strip(rule, rule.strip_suffix('/'));
        let (rule, from_root) = strip(rule, rule.strip_prefix('/'));
        Ok(Some(Self {
            glob: Glob::new(rule).ok_or(SYNTAX)?,
            whole_path: from_root || rule.contains('/'),
            negate,
            must_be_directory,
        }))
    }

    fn matches(&self, path: &str) -> bool {
        let last = path.rsplit('/').next().unwrap_or(path);
        self.glob.matches(if self.whole_path { path } else { last })
    }
}

fn strip<'t>(text: &'t str, stripped: Option<&'t str>) -> (&'t str, bool) {
    (stripped.unwrap_or(text), stripped.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignores(rules: &str, path: &str) -> bool {
        let is_directory = path.ends_with('/');
        let rules = Rules::parse(rules).unwrap();
        rules.ignore(path.trim_end_matches('/'), is_directory)
    }

    #[test]
    fn decides_as_helm_does() {
        // After Helm's pkg/ignore/rules_test.go; a directory ends in `/`.
        for (rule, path, ignored) in [
            ("helm.txt", "helm.txt", true),
            ("helm.*", "helm.txt", true),
            ("helm.*", "rudder.txt", false),
            ("*.txt", "tiller.txt", true),
            ("*.txt", "cargo/a.txt", true),
            ("cargo/*.txt", "cargo/a.txt", true),
            ("cargo/*.*", "cargo/a.txt", true),
            ("cargo/*.txt", "mast/a.txt", false),
            ("ru[c-e]?er.txt", "rudder.txt", true),
            ("templates/.?*", "templates/.dotfile", true),
            (".*", ".joonix", true),
            (".*", "helm.txt", false),
            ("cargo/", "cargo/", true),
            ("cargo/", "cargo", false),
            ("cargo/", "mast/", false),
            ("helm.txt/", "helm.txt", false),
            ("!helm.txt", "helm.txt", false),
            ("!helm.txt", "tiller.txt", true),
            ("!*.txt", "cargo/", true),
            ("!cargo/", "mast/", true),
            ("!cargo/", "cargo/", false),
            ("!cargo/", "helm.txt", true),
            ("/a.txt", "a.txt", true),
            ("/a.txt", "cargo/a.txt", false),
            ("/cargo/a.txt", "cargo/a.txt", true),
            ("a.txt", "cargo/a.txt", true),
            ("# helm.txt", "helm.txt", false),
            ("  helm.txt\r", "helm.txt", true),
            ("\u{feff}helm.txt", "helm.txt", true),
            ("", "templates/.dotfile", true),
            ("", "templates/a.yaml", false),
            ("", "other/.dotfile", false),
            ("*.txt\n!a.yaml", "b.yaml", true),
        ] {
            assert_eq!(ignores(rule, path), ignored, "{rule:?} {path}");
        }
    }

    #[test]
    fn rules_that_helm_does_not_understand_are_refused() {
        let refused = |rules| Rules::parse(rules).unwrap_err();
        assert_eq!(refused("a\nfoo/**/bar").line, 2);
        assert_eq!(refused("[a").reason, "syntax error in pattern");
    }
}
