//! What the name of a field says about its value.

/// What the name promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A password: whatever is there is one.
    Password,
    /// A token or a set of credentials.
    Token,
    /// A secret key, of an API or of cryptography.
    Key,
    /// A secret, or the name of one: only what looks random is one.
    Secret,
}

impl Kind {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Password => "called a password",
            Self::Token => "called a token",
            Self::Key => "called a secret key",
            Self::Secret => "called a secret, and random",
        }
    }

    pub(super) fn why_inside(self) -> &'static str {
        match self {
            Self::Password => "has a setting that is called a password",
            Self::Token => "has a setting that is called a token",
            Self::Key => "has a setting that is called a secret key",
            Self::Secret => "has a setting that is called a secret, and random",
        }
    }
}

const PASSWORDS: [&str; 10] = [
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "passcode",
    "htpasswd",
    "pw",
    "rootpw",
];
const TOKENS: [&str; 5] = ["token", "tokens", "apitoken", "authtoken", "pat"];
const SECRETS: [&str; 7] = [
    "secret",
    "secrets",
    "credential",
    "credentials",
    "creds",
    "dockerconfigjson",
    "kubeconfig",
];
const KEYS: [&str; 8] = [
    "apikey",
    "apikeys",
    "privatekey",
    "secretkey",
    "accesskey",
    "signingkey",
    "encryptionkey",
    "masterkey",
];
/// What makes a `key` a secret one.
const OF_KEYS: [&str; 18] = [
    "api",
    "apis",
    "private",
    "secret",
    "access",
    "encryption",
    "encrypt",
    "signing",
    "master",
    "account",
    "shared",
    "session",
    "license",
    "auth",
    "cookie",
    "hmac",
    "jwt",
    "storage",
];
/// What makes a `secret` one that has a value, where the name of an object is not usual.
const OF_SECRETS: [&str; 12] = [
    "client", "jwt", "app", "shared", "cookie", "session", "hmac", "consumer", "oauth", "oidc",
    "webhook", "token",
];
/// First words after which the value is a name or a switch.
const NO_VALUE_AFTER: [&str; 18] = [
    "existing",
    "use",
    "using",
    "enable",
    "enabled",
    "disable",
    "create",
    "generate",
    "generated",
    "has",
    "is",
    "require",
    "required",
    "auto",
    "automount",
    "mount",
    "no",
    "allow",
];

/// What the last words of a name say: `adminPassword`, `API_KEY`, `client-secret`.
pub(super) fn kind_of(key: &str) -> Option<Kind> {
    let words = words(key);
    let (last, before) = words.split_last()?;
    if before
        .first()
        .is_some_and(|word| NO_VALUE_AFTER.contains(&word.as_str()))
        || before.iter().any(|word| word == "existing")
    {
        return None;
    }
    let last = last.as_str();
    let of = before.last().map_or("", String::as_str);
    if PASSWORDS.contains(&last) {
        Some(Kind::Password)
    } else if TOKENS.contains(&last) {
        Some(Kind::Token)
    } else if KEYS.contains(&last) || (matches!(last, "key" | "keys") && OF_KEYS.contains(&of)) {
        Some(Kind::Key)
    } else if matches!(last, "secret" | "secrets") && OF_SECRETS.contains(&of) {
        Some(Kind::Token)
    } else if SECRETS.contains(&last) {
        Some(Kind::Secret)
    } else {
        None
    }
}

/// Whether what is below this key names secrets, or entries of them: `secretKeyRef`,
/// `secretKeys`, `imagePullSecrets`, `existingSecretKeyMapping`.
pub(super) fn holds_names(key: &str) -> bool {
    let words = words(key);
    let has = |word: &str| words.iter().any(|have| have == word);
    let last = words.last().map_or("", String::as_str);
    matches!(
        last,
        "ref" | "refs" | "mapping" | "selector" | "annotations" | "labels"
    ) || (has("secret") && matches!(last, "keys" | "name" | "names"))
        || has("existing")
        || (has("pull") && last == "secrets")
}

/// Whether a login in Docker's form is expected here.
pub(super) fn is_login(key: &str) -> bool {
    let words = words(key);
    matches!(
        words.last().map(String::as_str),
        Some("auth" | "basic" | "authorization")
    )
}

/// Whether the value repeats the key, as names of entries do: `apiKey: api-key`, `authKey: auth`,
/// `keyPasswordSecretKey: key-password`.
pub(super) fn is_same_name(key: &str, value: &str) -> bool {
    let (key, value) = (words(key).concat(), words(value).concat());
    !value.is_empty() && (key.starts_with(&value) || key.ends_with(&value))
}

/// Whether a key names the entry of a Secret, where the Secret is named beside it.
pub(super) fn is_entry_beside(key: &str, beside: &str) -> bool {
    words(key) == ["secret", "key"] && words(beside) == ["secret", "name"]
}

/// Whether a value is named after a password: `authKey: sentinel-password` names an entry.
pub(super) fn is_named_after_password(value: &str) -> bool {
    words(value).len() > 1 && kind_of(value) == Some(Kind::Password)
}

/// `aws_secretAccessKey` and `AWS-SECRET-ACCESS-KEY` are aws, secret, access, key.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let characters: Vec<char> = name.chars().collect();
    for (at, &c) in characters.iter().enumerate() {
        if !c.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).map(|before| characters[before]);
        let after = characters.get(at + 1);
        let starts = c.is_uppercase()
            && (before.is_some_and(|b| b.is_lowercase() || b.is_numeric())
                || (before.is_some_and(char::is_uppercase)
                    && after.is_some_and(|a| a.is_lowercase())));
        if starts {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_however_they_are_written() {
        for name in [
            "awsSecretAccessKey",
            "AWS_SECRET_ACCESS_KEY",
            "aws-secret.accessKey",
            "AWSSecretAccessKey",
        ] {
            assert_eq!(words(name), ["aws", "secret", "access", "key"], "{name}");
        }
        assert_eq!(words("APIKey"), ["api", "key"]);
        assert_eq!(words("oauth2Token"), ["oauth2", "token"]);
        assert!(words("--").is_empty());
    }

    #[test]
    fn the_last_word_decides() {
        for (name, kind) in [
            ("password", Some(Kind::Password)),
            ("DB_PASSWD", Some(Kind::Password)),
            ("rootPassword", Some(Kind::Password)),
            ("bot.token", Some(Kind::Token)),
            ("clientSecret", Some(Kind::Token)),
            ("apiKey", Some(Kind::Key)),
            ("apikey", Some(Kind::Key)),
            ("tlsPrivateKey", Some(Kind::Key)),
            ("tlsSecret", Some(Kind::Secret)),
            ("credentials", Some(Kind::Secret)),
            (".dockerconfigjson", Some(Kind::Secret)),
            ("passwordLength", None),
            ("passwordFile", None),
            ("tokenExpiry", None),
            ("secretName", None),
            ("existingSecret", None),
            ("redisExistingPassword", None),
            ("usePassword", None),
            ("automountServiceAccountToken", None),
            ("bypass", None),
            ("compass", None),
            ("publicKey", None),
            ("topologyKey", None),
            ("existingSecretPasswordKey", None),
            ("", None),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }

    #[test]
    fn a_value_that_repeats_its_key_names_an_entry() {
        assert!(is_same_name("apiKey", "api-key"));
        assert!(is_same_name("datadogApiKey", "api-key"));
        assert!(is_same_name("authKey", "auth"));
        assert!(is_same_name(
            "keystorePasswordSecretKey",
            "keystore-password"
        ));
        assert!(!is_same_name("apiKey", ""));
        assert!(!is_same_name("apiKey", "8f2b0c"));
    }
}
