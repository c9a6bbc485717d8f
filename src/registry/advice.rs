//! What to do about a registry that will not have something, by what it is.

/// For a push that was refused or went to a name that the registry does not know: most say one for
/// the other. `registry` as `bundle login` takes it, `path` of the repository.
pub(super) fn push_refused(registry: &str, path: &str) -> String {
    if is_ecr(registry) {
        return format!(
            "the repository `{path}` does not exist or you may not push to it: create it with \
             `aws ecr create-repository --repository-name {path}`, or log in with \
             `aws ecr get-login-password | bundle login {registry} --username AWS --password-stdin`"
        );
    }
    let missing = match path.split_once('/') {
        Some((project, _)) => format!("project `{project}`"),
        None => format!("repository `{path}`"),
    };
    format!(
        "the {missing} does not exist or you may not push to it: create it (Harbor, Quay, Artifactory), \
         or log in as a user who may push with `bundle login {registry}`"
    )
}

/// For a read that was refused or asked for a name that the registry does not know.
pub(super) fn pull_refused(registry: &str) -> String {
    format!(
        "not found or not permitted: check the name, and log in (`bundle login {registry}`) if it is not public"
    )
}

/// Amazon's registry: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, which makes no repository by itself.
fn is_ecr(host: &str) -> bool {
    let amazon = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"));
    amazon.is_some_and(|rest| rest.contains(".dkr.ecr.") || rest.contains(".dkr.ecr-fips."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q17_advice_names_what_is_missing() {
        let text = push_refused("harbor.lab:8443", "tigera/cni");
        assert!(text.contains("project `tigera` does not exist or you may not push"));
        assert!(text.contains("`bundle login harbor.lab:8443`"), "{text}");
        assert!(push_refused("r.lab", "alpine").contains("repository `alpine`"));
        for host in [
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
            "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        ] {
            let text = push_refused(host, "tigera/cni");
            let command = "`aws ecr create-repository --repository-name tigera/cni`";
            assert!(text.contains(command) && text.contains(host), "{text}");
        }
        for host in [
            "s3.eu-central-1.amazonaws.com",
            "a.dkr.ecr.b.amazonaws.com.evil.example",
        ] {
            assert!(!push_refused(host, "a/b").contains("aws ecr"), "{host}");
        }
    }
}
