use super::*;

fn paths(values: &str) -> Vec<String> {
    let found = scan(values).unwrap();
    found.into_iter().map(|found| found.path).collect()
}

/// What is found in `key: value`, with the value as a YAML string.
fn why_of(key: &str, value: &str) -> Option<&'static str> {
    let text = format!("{key:?}: {}\n", serde_json::to_string(value).unwrap());
    let found = scan(&text).unwrap();
    assert!(found.len() <= 1, "{text}: {found:?}");
    found.first().map(|found| found.why)
}

// Made for these tests, and taken apart so that no other scanner takes them for real ones.
fn token(start: &str, length: usize) -> String {
    let random = "k3Jq9ZtW7xB1mYv5Rn8Lc2Hd6Gf4Ps0Ta".repeat(3);
    format!("{start}{}", &random[..length])
}

fn private_key() -> String {
    let body = "MHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY";
    format!(
        "-----BEGIN EC {0} KEY-----\n{body}\n-----END EC {0} KEY-----\n",
        "PRIVATE"
    )
}

#[test]
fn names_of_fields_give_secrets_away() {
    for (key, value) in [
        ("password", "hunter2"),
        ("password", "changeme"),
        ("adminPassword", "prom-operator"),
        ("ADMIN_PASSWORD", "x"),
        ("redis-passwd", "letmein"),
        ("passphrase", "correct horse battery staple"),
        ("token", "abcdef"),
        ("bot_token", "12:ab"),
        ("apiKey", "8f2b0c"),
        ("apikey", "8f2b0c"),
        ("clientSecret", "not-so-random"),
        ("secretAccessKey", "wJalrXUtnFEMI"),
        ("encryptionKey", "0123456789abcdef"),
        ("privateKey", "something"),
        ("secretKey", "not-a-secure-key"),
        ("secret", "3f9aB77c0de51X2Zq"),
        ("secret", "S3cret!pw"),
        ("credentials", "Zm9vYmFyMTIzNDU2Nzg5MGFiY2Q3"),
    ] {
        assert!(why_of(key, value).is_some(), "{key}: {value}");
    }
}

#[test]
fn references_placeholders_and_switches_are_no_secrets() {
    for (key, value) in [
        ("password", ""),
        ("password", "<your-password>"),
        ("password", "${DB_PASSWORD}"),
        ("password", "$(DB_PASSWORD)"),
        ("password", "$DB_PASSWORD"),
        ("password", "{{ .Values.global.password }}"),
        ("password", "xxxxxxxx"),
        ("password", "********"),
        ("password", "/etc/secrets/password"),
        ("password", "ref+vault://secret/db#password"),
        ("password", "ENC[AES256_GCM,data:8f2b0c]"),
        (
            "token",
            "/var/run/secrets/kubernetes.io/serviceaccount/token",
        ),
        ("passwordLength", "10"),
        ("passwordFile", "secret.txt"),
        ("existingSecret", "k3Jq9ZtW7xB1mYv5Rn8L"),
        ("existingSecretPasswordKey", "postgres-password"),
        ("secretName", "shop-tls"),
        ("tlsSecret", "shop-tls-secret-2"),
        ("secret", "my-oauth2-proxy-v3"),
        ("apiKey", "api-key"),
        ("datadogApiKey", "api-key"),
        ("authKey", "sentinel-password"),
        ("imagePullSecrets", "registry"),
        ("topologyKey", "kubernetes.io/hostname"),
        ("usePassword", "true"),
        ("url", "https://example.com/a:b@c"),
        ("url", "https://user@example.com"),
        ("url", "https://user:<password>@example.com"),
        ("url", "postgres://shop:$(PASSWORD)@db/shop"),
        ("image", "quay.io/calico/node@sha256:4f0d3a2b1c"),
        (
            "digest",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ),
        (
            "key",
            "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
        ),
        (
            "crt",
            "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUJ\n-----END CERTIFICATE-----",
        ),
        (
            "slack",
            "https://hooks.slack.com/services/TXXXXXXXX/BXXXXXXXX/XXXXXXXXXXXXXXXX",
        ),
    ] {
        assert_eq!(why_of(key, value), None, "{key}: {value}");
    }
    let entry = "license: {secretName: lic, secretKey: license.txt}\n";
    assert_eq!(paths(entry), [""; 0]);
    let others =
        "password: ~\ntoken: true\nsecret: {}\napiKey: []\nsecrets:\n  - name: a\nttl: 5\n";
    assert_eq!(paths(others), [""; 0]);
}

#[test]
fn shapes_give_secrets_away_whatever_they_are_called() {
    let encode = |text: &str| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(text)
    };
    let auth = format!("\"{}\"", encode("robot:k3Jq9ZtW7x"));
    let logins = format!("{{\"auths\": {{\"quay.io\": {{\"auth\": {auth}}}}}}}");
    let jwt = format!(
        "{}.{}.{}",
        token("eyJ", 20),
        token("eyJ", 40),
        token("", 30)
    );
    for (value, what) in [
        (private_key(), "a private key"),
        (encode(&private_key()), "a private key"),
        (private_key().replace('\n', "\\n"), "a private key"),
        (token("AKIA", 16).to_uppercase(), "an access key id of AWS"),
        (token("ghp_", 36), "a token of GitHub"),
        (
            format!("see {} here", token("glpat-", 20)),
            "a token of GitLab",
        ),
        (token("xoxb-", 40), "a token of Slack"),
        (jwt.clone(), "a JSON Web Token"),
        (format!("Bearer {jwt}"), "a JSON Web Token"),
        (
            "postgres://shop:hunter2@db:5432/shop".to_owned(),
            "a URL with a password",
        ),
        (logins.clone(), "logins for registries"),
        (encode(&logins), "logins for registries"),
    ] {
        assert_eq!(why_of("anything", &value), Some(what), "{value}");
    }
    assert!(why_of("auth", &encode("robot:hunter2")).is_some());
    assert_eq!(why_of("auth", "enabled"), None);
}

#[test]
fn the_place_is_named_and_the_value_is_not() {
    let values = "
a:
  b:
    - c: {password: hunter2-first}
    - c: {}
  'tls.key': |
    @KEY@
env:
  - name: DB_PASSWORD
    value: hunter2-second
  - name: DB_HOST
    value: db
  - name: OTHER
    valueFrom: {secretKeyRef: {name: k3Jq9ZtW7xB1mYv5, key: password}}
args: ['--user=me', '--admin-password=hunter2-third']
config: |
  user = me
  db_password = hunter2-fourth
7: {token: hunter2-fifth}
"
    .replace(
        "@KEY@",
        private_key().trim_end().replace('\n', "\n    ").as_str(),
    );
    let found = scan(&values).unwrap();
    let paths: Vec<_> = found.iter().map(|found| found.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "a.b[0].c.password",
            "a.\"tls.key\"",
            "env[0].value",
            "args[1]",
            "config",
            "7.token"
        ]
    );
    assert!(!format!("{found:?}").contains("hunter2"));
}

#[test]
fn objects_of_kind_secret_are_found_as_values_and_as_text() {
    let object = "kind: Secret\nmetadata: {name: a}\ndata: {x: YWJj}\nstringData: {y: '{{ .Values.y }}', z: plain}\n";
    assert_eq!(paths(object), ["data.x", "stringData.z"]);
    let text = |value: &str| {
        format!(
            "extra:\n  - |\n    kind: Secret\n    metadata:\n      name: a\n    stringData:\n      x: {value}\n"
        )
    };
    assert_eq!(paths(&text("plain")), ["extra[0]"]);
    assert_eq!(paths(&text("{{ .Values.x }}")), [""; 0]);
    assert_eq!(
        paths(&text("plain").replace("Secret", "ConfigMap")),
        [""; 0]
    );
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let key = STANDARD.encode(private_key());
    let config = format!("kubeconfig: |\n  users:\n  - user:\n      client-key-data: {key}\n");
    assert_eq!(paths(&config), ["kubeconfig"]);
}

#[test]
fn a_key_that_is_a_token_is_reported_and_not_shown() {
    let secret = token("ghp_", 36);
    let found = scan(&format!("users: {{{secret}: alice}}\n")).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "users.\"…\"");
}

#[test]
fn comments_are_searched_for_what_is_unmistakable() {
    let commented = private_key().trim_end().replace('\n', "\n  # ");
    let values = format!(
        "a: 1\n# password: redis://user:example@host\nb:\n  # {commented}\n# {}",
        token("glpat-", 20)
    );
    assert_eq!(paths(&values), ["line 4", "line 7"]);
    let secret = token("glpat-", 20);
    let behind = format!("a: b # {secret}\nc: 'd#e' # no\n");
    assert_eq!(paths(&behind), ["line 1"]);
}

#[test]
fn what_looks_like_a_comment_inside_a_text_is_reported_once() {
    let key = private_key().trim_end().replace('\n', "\n  # ");
    let values = format!(
        "script: |\n  # {}\nkeys: |\n  # {key}\n",
        token("glpat-", 20)
    );
    assert_eq!(paths(&values), ["script", "keys"]);
}

#[test]
fn many_comments_are_no_problem() {
    let values = format!(
        "{}password: x\n",
        "# more\n\n    ## and more\n".repeat(5000)
    );
    assert_eq!(paths(&values), ["password"]);
}

#[test]
fn numbers_under_the_name_of_a_password_are_passwords() {
    assert_eq!(
        paths("password: 123456\npasswordLength: 10\ntoken: 5\n"),
        ["password"]
    );
}

#[test]
fn nothing_hides_behind_aliases_merges_or_a_second_key() {
    let values = "a: &a {password: hunter2}\nb: {<<: *a}\nc: *a\nd: 1\nd: {password: x}\n";
    assert_eq!(
        paths(values),
        ["a.password", "b.password", "c.password", "d.password"]
    );
    assert_eq!(paths("password: hunter2\npassword: ''\n"), ["password"]);
}

#[test]
fn empty_files_hold_nothing() {
    for empty in ["", "\n", "# nothing\n", "---\n", "{}", "~"] {
        assert_eq!(scan(empty), Ok(Vec::new()), "{empty:?}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_that_keeps_the_text_to_itself() {
    for broken in [
        "password: [hunter2\n",
        "password: hunter2\n---\npassword: hunter2\n",
        "password: *hunter2\n",
        "a: 1\n\tpassword: hunter2\n",
        "password: \"hunter2\n",
    ] {
        let error = scan(broken).unwrap_err();
        assert!(matches!(error, ValuesError::NotYaml { .. }), "{broken:?}");
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
    let bomb = format!(
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n{}",
        (b'b'..=b'm').fold(String::new(), |text, c| {
            let (c, before) = (char::from(c), char::from(c - 1));
            format!(
                "{text}{c}: &{c} [{}]\n",
                vec![format!("*{before}"); 10].join(", ")
            )
        })
    );
    assert!(scan(&bomb).is_err());
    assert!(scan(&"[".repeat(100_000)).is_err());
    assert_eq!(
        scan(&" ".repeat((16 << 20) + 1)),
        Err(ValuesError::TooLarge)
    );
}

#[test]
fn what_is_allowed_is_allowed_by_its_path() {
    let allowed = [
        "a.b".to_owned(),
        "auth.*".to_owned(),
        "env[0].value".to_owned(),
    ];
    for path in [
        "a.b",
        "auth.password",
        "auth.x[1].y",
        "auth[0]",
        "env[0].value",
    ] {
        assert!(is_allowed(path, &allowed), "{path}");
    }
    for path in [
        "a",
        "a.b.c",
        "a.bc",
        "auth",
        "authority.x",
        "env[1].value",
        "b.auth.x",
    ] {
        assert!(!is_allowed(path, &allowed), "{path}");
    }
    assert!(!is_allowed("a", &[]));
}

#[test]
fn long_numbers_and_values_below_a_name_count() {
    assert_eq!(
        paths("apiKey: 123456789012\ntoken: 987654321\ntokenTtl: 3600\nkeySize: 2048\n"),
        ["apiKey", "token"]
    );
    assert_eq!(
        paths("apiKey: {value: s3cr3t}\nimage: {value: nginx}\n"),
        ["apiKey.value"]
    );
}
