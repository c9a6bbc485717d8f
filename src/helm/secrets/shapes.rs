//! What a value looks like, whatever it is called.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};

/// Longest text that is decoded to look inside, in bytes.
const MAX_ENCODED: usize = 1 << 20;

/// A token: what it starts with, how many characters follow at least, and what it is.
const TOKENS: [(&str, usize, &str); 30] = [
    ("AKIA", 16, "an access key id of AWS"),
    ("ASIA", 16, "an access key id of AWS"),
    ("ghp_", 30, "a token of GitHub"),
    ("gho_", 30, "a token of GitHub"),
    ("ghu_", 30, "a token of GitHub"),
    ("ghs_", 30, "a token of GitHub"),
    ("ghr_", 30, "a token of GitHub"),
    ("github_pat_", 22, "a token of GitHub"),
    ("glpat-", 20, "a token of GitLab"),
    ("gldt-", 20, "a token of GitLab"),
    ("glrt-", 20, "a token of GitLab"),
    ("glcbt-", 20, "a token of GitLab"),
    ("glptt-", 20, "a token of GitLab"),
    ("xoxb-", 20, "a token of Slack"),
    ("xoxp-", 20, "a token of Slack"),
    ("xoxa-", 20, "a token of Slack"),
    ("xoxr-", 20, "a token of Slack"),
    ("xoxs-", 20, "a token of Slack"),
    ("xapp-", 20, "a token of Slack"),
    ("hooks.slack.com/services/T", 20, "a webhook of Slack"),
    ("AIza", 35, "an API key of Google"),
    ("sk_live_", 20, "a key of Stripe"),
    ("rk_live_", 20, "a key of Stripe"),
    ("npm_", 36, "a token of npm"),
    ("pypi-AgEIcHlwaS5vcmc", 20, "a token of PyPI"),
    ("hvs.", 24, "a token of Vault"),
    ("dckr_pat_", 20, "a token of Docker Hub"),
    ("dop_v1_", 40, "a token of DigitalOcean"),
    ("AGE-SECRET-KEY-1", 50, "a private key of age"),
    ("SG.", 60, "a key of SendGrid"),
];

/// What a text is, or has in it, in clear or in Base64.
pub(super) fn shape_of(text: &str) -> Option<&'static str> {
    in_clear(text).or_else(|| decoded(text).and_then(|inside| in_clear(&inside)))
}

fn in_clear(text: &str) -> Option<&'static str> {
    if let Some(what) = unmistakable(text) {
        Some(what)
    } else if has_login_in_url(text) {
        Some("a URL with a password")
    } else if text.contains("\"auths\"") && text.contains("\"auth\"") {
        Some("logins for registries")
    } else {
        None
    }
}

/// What can hardly be an example: charts have URLs like `redis://user:password@host` in their
/// comments.
pub(super) fn unmistakable(text: &str) -> Option<&'static str> {
    if has_private_key(text) {
        Some("a private key")
    } else if let Some(what) = token(text) {
        Some(what)
    } else if has_jwt(text) {
        Some("a JSON Web Token")
    } else {
        None
    }
}

/// PEM with something in it: charts show the frame alone as an example.
fn has_private_key(text: &str) -> bool {
    const MAX_KEY: usize = 4096;
    const END: &str = "PRIVATE KEY-----";
    const END_OF_PGP: &str = "PRIVATE KEY BLOCK-----";
    text.split("-----BEGIN ").skip(1).any(|after| {
        let after: String = after.chars().take(MAX_KEY).collect();
        let Some((label, body)) = after
            .split_once(END)
            .or_else(|| after.split_once(END_OF_PGP))
        else {
            return false;
        };
        // Inside JSON and quoted YAML the lines end in `\n`.
        let body = body.replace("\\n", "\n");
        label.len() < 32
            && body
                .split_whitespace()
                .take_while(|line| !line.starts_with("-----"))
                .any(|line| line.len() >= 16 && line.chars().all(is_base64))
    })
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')
}

fn is_token_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')
}

/// The characters of this kind that a text starts with, at most so many.
fn run(text: &str, most: usize, of_kind: impl Fn(char) -> bool) -> &str {
    let end = text.char_indices().take(most).find(|(_, c)| !of_kind(*c));
    let end = end.map(|(at, _)| at);
    let most = || text.char_indices().nth(most).map(|(at, _)| at);
    &text[..end.or_else(most).unwrap_or(text.len())]
}

fn token(text: &str) -> Option<&'static str> {
    TOKENS.iter().find_map(|(start, most_least, what)| {
        let found = text.match_indices(start).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let starts = !before.is_some_and(|c| c.is_ascii_alphanumeric());
            let rest = run(&text[at + start.len()..], 256, is_token_character);
            starts && rest.len() >= *most_least && !is_filler(rest)
        });
        found.then_some(*what)
    })
}

/// `xxxxxxxx`, `........`, `XXXXX/XXXX`: what examples have in the place of a token.
fn is_filler(text: &str) -> bool {
    let mut kinds: Vec<char> = text.to_ascii_lowercase().chars().collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.len() <= 4
}

/// Three parts in Base64, the first of which is a JSON object.
fn has_jwt(text: &str) -> bool {
    text.match_indices("eyJ").any(|(at, _)| {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let whole = run(&text[at..], 16 << 10, inside);
        let parts: Vec<&str> = whole.split('.').collect();
        parts.len() == 3 && parts[1].starts_with("eyJ") && parts.iter().all(|part| part.len() >= 10)
    })
}

fn has_login_in_url(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let end = |c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?' | '#' | '<');
        let authority = &rest[..rest.find(end).unwrap_or(rest.len())];
        let Some((login, host)) = authority.rsplit_once('@') else {
            return false;
        };
        login
            .split_once(':')
            .is_some_and(|(_, password)| !host.is_empty() && !is_placeholder(password))
    })
}

/// What a text in Base64 says, if it is text.
fn decoded(text: &str) -> Option<String> {
    const SHORTEST: usize = 32;
    let text = text.trim();
    if !(SHORTEST..=MAX_ENCODED).contains(&text.len()) {
        return None;
    }
    let text: String = text.split_whitespace().collect();
    decode(&text)
}

fn decode(text: &str) -> Option<String> {
    let engine = if text.ends_with('=') {
        &STANDARD
    } else {
        &STANDARD_NO_PAD
    };
    let bytes = engine.decode(text).ok()?;
    String::from_utf8(bytes).ok()
}

/// `user:password` in Base64, as Docker writes it.
pub(super) fn encoded_login(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_prefix("Basic ").unwrap_or(text);
    text.len() <= MAX_ENCODED
        && decode(text).is_some_and(|login| {
            let login = login.trim_end();
            let printable = !login.chars().any(char::is_control);
            printable
                && login
                    .split_once(':')
                    .is_some_and(|(user, password)| !user.is_empty() && !password.is_empty())
        })
}

/// Whether a value stands for one that is filled in elsewhere: nothing, `<password>`, `${X}`,
/// `$(X)`, `{{ x }}`, `xxxx`, a path of a file, a reference to a store of secrets. `changeme` is a
/// password that somebody will have forgotten to change.
pub(super) fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    let has_between = |start: &str, end: &str| {
        text.find(start)
            .is_some_and(|at| text[at + start.len()..].contains(end))
    };
    text.is_empty()
        || matches!(
            text,
            "true" | "false" | "null" | "nil" | "none" | "None" | "REDACTED" | "~"
        )
        || (text.starts_with('<') && text.ends_with('>'))
        || has_between("${", "}")
        || has_between("$(", ")")
        || has_between("{{", "}}")
        || text.strip_prefix('$').is_some_and(is_variable)
        || (text.starts_with('%') && text.ends_with('%') && text.len() > 2)
        || (text.len() >= 3
            && text
                .chars()
                .all(|c| matches!(c, 'x' | 'X' | '*' | '.' | '-' | '_')))
        || is_file(text)
        || STORES.iter().any(|start| text.starts_with(start))
}

/// References of sops, vals, bank-vaults, 1Password, Argo CD and the like, which hold no secret.
const STORES: [&str; 8] = [
    "ENC[",
    "ref+",
    "vault:",
    "op://",
    "env:",
    "file:",
    "secretref+",
    "arn:aws:",
];

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

fn is_file(text: &str) -> bool {
    let path = ["/", "./", "../", "~/"]
        .iter()
        .any(|start| text.starts_with(start));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '~');
    path && text.chars().all(plain) && !text.split('/').any(is_random)
}

/// Whether a text is more likely to be random than a name: long, one word, letters and digits
/// mixed, and not words with numbers behind them.
pub(super) fn is_random(text: &str) -> bool {
    const SHORTEST: usize = 16;
    const LEAST_BITS: f64 = 3.3;
    let one_word =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-' | '.');
    if text.len() < SHORTEST || !text.chars().all(one_word) || is_filler(text) {
        return false;
    }
    let digits = text.contains(|c: char| c.is_ascii_digit());
    let letters = text.contains(|c: char| c.is_ascii_alphabetic());
    let of_words = text.split(['-', '_', '.', '/']).all(is_word);
    digits && letters && !of_words && bits_per_character(text) >= LEAST_BITS
}

/// Whether a word has characters that no name of an object or file has, as good passwords do.
pub(super) fn is_no_name(text: &str) -> bool {
    const SHORTEST: usize = 6;
    let symbol = |c: char| "!@#$%^&*+=?;|\\".contains(c);
    text.len() >= SHORTEST && text.contains(symbol) && !text.contains(char::is_whitespace)
}

/// `redis`, `oauth2`, `v3`, `2024`, but not `a8f0c2`.
fn is_word(part: &str) -> bool {
    let name = part.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = part.len() - name.len();
    let letters = name.chars().all(|c| c.is_ascii_lowercase())
        || name.chars().all(|c| c.is_ascii_uppercase());
    let k8s = matches!(part, "k8s" | "s3cmd" | "i18n");
    k8s || (letters && number <= 4 && name.len() <= 20)
}

/// Shannon's entropy.
fn bits_per_character(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = text.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / length;
            -share * share.log2()
        })
        .sum()
}
