//! Token scopes: `repository:NAME:ACTION[,ACTION]` (Docker "Token Scope Documentation").

use std::{collections::BTreeSet, fmt};

/// Most scopes of a challenge that are looked at.
const MAX_WANTED: usize = 16;

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

    /// With the scopes that a challenge asks for in front, in its order, and what was there before
    /// behind them. `None` when that changes nothing.
    pub(crate) fn merged(&self, wanted: &str) -> Option<Self> {
        let mut merged: Vec<Scope> = Vec::new();
        let wanted = wanted.split_ascii_whitespace().filter_map(Scope::parse);
        for scope in wanted.take(MAX_WANTED).chain(self.0.iter().cloned()) {
            match merged.iter_mut().find(|s| s.resource == scope.resource) {
                Some(same) => same.actions.extend(scope.actions),
                None => merged.push(scope),
            }
        }
        (merged != self.0).then_some(Self(merged))
    }

    /// The path of the repository that is to be written, if one is.
    pub(crate) fn push_target(&self) -> Option<&str> {
        let writes = |scope: &&Scope| scope.actions.contains("push");
        let scope = self.0.iter().find(writes)?;
        scope.resource.strip_prefix("repository:")
    }

    /// A text that is the same for the same scopes in the same order. Where a service looks only at
    /// the first, another order is another token.
    pub(crate) fn key(&self) -> String {
        self.iter().collect::<Vec<_>>().join(" ")
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
    fn q08_what_is_wanted_comes_first_and_nothing_is_lost() {
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
        for (wanted, merged) in [
            (
                "repository:h:5000/d:pull repository:c:pull",
                "repository:h:5000/d:pull repository:c:pull repository:a/b:pull,push",
            ),
            // It is asked for already, but behind another one.
            (
                "repository:c:pull",
                "repository:c:pull repository:a/b:pull,push",
            ),
        ] {
            assert_eq!(both.merged(wanted).unwrap().to_string(), merged);
        }
        assert_eq!(both.merged("repository:a/b:push repository:c:pull"), None);
    }

    #[test]
    fn the_key_tells_orders_and_actions_apart() {
        let one = Scopes::pull("a").and("repository:b:pull");
        let other = Scopes::pull("b").and("repository:a:pull");
        assert_ne!(one.key(), other.key());
        assert_ne!(one.key(), Scopes::pull("a").key());
        assert_ne!(Scopes::push("a").key(), Scopes::pull("a").key());
        assert_eq!(one.key(), one.clone().key());
    }

    #[test]
    fn the_repository_that_is_written_is_known() {
        let mount = Scopes::push("a/b").and("repository:c:pull");
        assert_eq!(mount.push_target(), Some("a/b"));
        assert_eq!(Scopes::pull("a/b").push_target(), None);
    }
}
