//! Token scopes: `repository:NAME:ACTION[,ACTION]` (Docker "Token Scope Documentation").

use std::{collections::BTreeSet, fmt};

/// A list of scopes. The order is kept, for some token services honour only the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(Vec<Scope>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    /// Type and name, for example `repository:library/alpine`.
    resource: String,
    actions: BTreeSet<String>,
}

impl Scopes {
    /// Reading a repository.
    pub(crate) fn pull(path: &str) -> Self {
        Self::default().and(&format!("repository:{path}:pull"))
    }

    /// Reading and writing a repository.
    pub(crate) fn push(path: &str) -> Self {
        Self::default().and(&format!("repository:{path}:pull,push"))
    }

    /// With one more scope at the end.
    pub(crate) fn and(mut self, scope: &str) -> Self {
        self.0.extend(Scope::parse(scope));
        self
    }

    /// With the scopes that a challenge asks for, the missing ones first. `None` when there is
    /// nothing new in them.
    pub(crate) fn merged(&self, wanted: &str) -> Option<Self> {
        let mut merged = self.0.clone();
        let mut news = false;
        for scope in wanted
            .split_ascii_whitespace()
            .filter_map(Scope::parse)
            .take(16)
        {
            match merged.iter().position(|s| s.resource == scope.resource) {
                Some(at) if scope.actions.is_subset(&merged[at].actions) => {}
                Some(at) => {
                    let mut old = merged.remove(at);
                    old.actions.extend(scope.actions);
                    merged.insert(0, old);
                    news = true;
                }
                None => {
                    merged.insert(0, scope);
                    news = true;
                }
            }
        }
        news.then_some(Self(merged))
    }

    /// A text that is the same for all orders of the same scopes.
    pub(crate) fn key(&self) -> String {
        let mut all: Vec<String> = self.iter().collect();
        all.sort_unstable();
        all.join(" ")
    }

    /// The scopes as they stand in a request.
    pub(crate) fn iter(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(Scope::to_string)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no scope");
        }
        f.write_str(&self.iter().collect::<Vec<_>>().join(" "))
    }
}

impl Scope {
    /// The name may hold colons (a host with its port), so the last one ends it.
    fn parse(text: &str) -> Option<Self> {
        let (resource, actions) = text.rsplit_once(':')?;
        resource.contains(':').then(|| Self {
            resource: resource.to_owned(),
            actions: actions.split(',').map(str::to_owned).collect(),
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.resource)?;
        for (at, action) in self.actions.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{action}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_scope_comes_first_and_nothing_is_lost() {
        let scopes = Scopes::pull("a/b");
        assert_eq!(scopes.merged("repository:a/b:pull"), None);
        assert_eq!(scopes.merged("nonsense"), None);
        assert_eq!(
            scopes
                .merged("repository:a/b:push,pull")
                .unwrap()
                .to_string(),
            "repository:a/b:pull,push"
        );
        let both = Scopes::push("a/b").and("repository:c:pull");
        assert_eq!(
            both.merged("repository:h:5000/d:pull repository:c:pull")
                .unwrap()
                .to_string(),
            "repository:h:5000/d:pull repository:a/b:pull,push repository:c:pull"
        );
    }

    #[test]
    fn the_key_does_not_depend_on_order() {
        let one = Scopes::pull("a").and("repository:b:pull");
        let other = Scopes::pull("b").and("repository:a:pull");
        assert_eq!(one.key(), other.key());
        assert_ne!(one.key(), Scopes::pull("a").key());
    }
}
