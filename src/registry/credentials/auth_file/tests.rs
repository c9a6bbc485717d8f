//! What files of all forms and ages say.

use proptest::prelude::*;

use super::*;

fn find(text: &str, host: &str, path: &str) -> Found {
    let file = AuthFile::parse(Path::new("f"), text.as_bytes()).unwrap();
    file.find(host, path)
}

fn basic(username: &str, password: &str) -> Found {
    Found::Credential(Credential::Basic {
        username: username.to_owned(),
        password: Secret::new(password),
    })
}

#[test]
fn q12_the_longest_path_prefix_wins() {
    let text = r#"{"auths":{
        "quay.io":{"username":"host","password":"1"},
        "quay.io/org":{"username":"org","password":"2"},
        "quay.io/org/app":{"username":"app","password":"3"}}}"#;
    assert_eq!(find(text, "quay.io", "other/x"), basic("host", "1"));
    assert_eq!(find(text, "quay.io", "org/x"), basic("org", "2"));
    assert_eq!(find(text, "quay.io", "org/app/x"), basic("app", "3"));
    assert_eq!(find(text, "quay.io", "organism/x"), basic("host", "1"));
    assert_eq!(find(text, "quay.io", ""), basic("host", "1"));
}

#[test]
fn q12_docker_hub_has_many_names() {
    for key in [
        "https://index.docker.io/v1/",
        "docker.io",
        "index.docker.io",
        "registry-1.docker.io",
        "https://registry-1.docker.io/v2/",
    ] {
        let text = format!(r#"{{"auths":{{"{key}":{{"auth":"dTpwOnc="}}}}}}"#);
        assert_eq!(
            find(&text, "docker.io", "library/alpine"),
            basic("u", "p:w"),
            "{key}"
        );
    }
}

#[test]
fn q13_passwords_survive_whatever_is_in_them() {
    use base64::prelude::*;
    for password in ["a:b", "$x+y", "ä€", "", "robot$p+q:%40"] {
        let auth = BASE64_STANDARD.encode(format!("robot$proj+x:{password}"));
        for auth in [auth.clone(), auth.trim_end_matches('=').to_owned()] {
            let text = format!(r#"{{"auths":{{"h.io":{{"auth":"{auth}"}}}}}}"#);
            assert_eq!(find(&text, "h.io", "a"), basic("robot$proj+x", password));
        }
    }
}

#[test]
fn q09_tokens_are_told_from_passwords() {
    let token = Secret::new("t");
    for (entry, expected) in [
        (
            r#"{"identitytoken":"t","auth":"eDp5"}"#,
            Credential::IdentityToken(token.clone()),
        ),
        (
            r#"{"username":"<token>","password":"t"}"#,
            Credential::IdentityToken(token.clone()),
        ),
        (r#"{"registrytoken":"t"}"#, Credential::RegistryToken(token)),
    ] {
        let text = format!(r#"{{"auths":{{"h.io":{entry}}}}}"#);
        assert_eq!(find(&text, "h.io", "a"), Found::Credential(expected));
    }
}

#[test]
fn q12_the_most_exact_key_wins() {
    let text = r#"{"auths":{
        "*.example.com":{"username":"any","password":"1"},
        "https://*.example.com/v1/":{"username":"any","password":"1"},
        "*.example.com/org":{"username":"org","password":"2"},
        "*.Example.com/org/app":{"username":"app","password":"3"},
        "reg*.example.com":{"username":"reg","password":"4"},
        "r.example.com":{"username":"exact","password":"5"},
        "*.example.com:5000":{"username":"port","password":"6"}},
        "credsStore":"s"}"#;
    assert_eq!(find(text, "a.example.com", "x/y"), basic("any", "1"));
    assert_eq!(find(text, "a.example.com", ""), basic("any", "1"));
    assert_eq!(find(text, "a.example.com", "org/x"), basic("org", "2"));
    assert_eq!(find(text, "a.example.com", "organism"), basic("any", "1"));
    assert_eq!(find(text, "a.example.com", "org/app"), basic("app", "3"));
    assert_eq!(find(text, "reg1.example.com", "x"), basic("reg", "4"));
    assert_eq!(find(text, "r.example.com", "org/app"), basic("exact", "5"));
    assert_eq!(find(text, "a.example.com:5000", "x"), basic("port", "6"));
    for other in ["example.com", "a.b.example.com", "a.example.com:5001"] {
        let found = find(text, other, "x");
        assert!(matches!(found, Found::Helper { .. }), "{other}: {found:?}");
    }
}

#[test]
fn q12_secrets_of_kubernetes_and_old_files_are_read() {
    let old = r#"{"https://h.io/v1/":{"auth":"dTpwOnc=","email":"a@b.c"}}"#;
    let new = format!(r#"{{"auths":{old}}}"#);
    for text in [
        old.to_owned(),
        format!("kind: Secret\nstringData: {{.dockercfg: '{old}'}}\n"),
        format!("kind: Secret\nstringData: {{.dockerconfigjson: '{new}'}}\n"),
    ] {
        assert_eq!(find(&text, "h.io", "a/b"), basic("u", "p:w"), "{text}");
        assert_eq!(find(&text, "i.io", "a/b"), Found::Nothing, "{text}");
    }
    // As `kubectl create secret docker-registry … --dry-run=client -o yaml` prints it.
    let printed = "apiVersion: v1
data:
  .dockerconfigjson: eyJhdXRocyI6eyIqLmV4YW1wbGUuY29tOjUwMDAiOnsidXNlcm5hbWUiOiJyb2JvdCR4IiwicGFzc3dvcmQiOiJwOncrIiwiYXV0aCI6ImNtOWliM1FrZURwd09uY3IifX19
kind: Secret
metadata:
  creationTimestamp: null
  name: pull
type: kubernetes.io/dockerconfigjson
";
    assert_eq!(
        find(printed, "r.example.com:5000", "a"),
        basic("robot$x", "p:w+")
    );
    let settings = r#"{"HttpHeaders":{"auth":7},"proxies":{"default":{}},"detachKeys":"x"}"#;
    assert_eq!(find(settings, "h.io", "a"), Found::Nothing);
}

#[test]
fn empty_entries_and_files_hold_nothing() {
    for text in [
        "",
        "\n",
        "{}",
        r#"{"auths":null}"#,
        r#"{"auths":{"h.io":{}}}"#,
    ] {
        assert_eq!(find(text, "h.io", "a"), Found::Nothing, "{text}");
    }
    let text = r#"{"auths":{"h.io":{}},"credsStore":"s"}"#;
    let expected = Found::Helper {
        name: "s".to_owned(),
        server: "h.io".to_owned(),
    };
    assert_eq!(find(text, "h.io", "a"), expected);
}

#[test]
fn what_is_wrong_is_said_without_saying_the_secret() {
    for text in [
        r#"{"auths":{"h.io":{"auth":"hunter2!"}}}"#,
        r#"{"auths":{"h.io":{"auth":"aHVudGVyMg=="}}}"#,
        r#"{"auths":{"h.io":{"password":["hunter2"]}}}"#,
        r#"{"h.io":{"auth":"hunter2!"}}"#,
        r#"{"kind":"Secret","stringData":{".dockerconfigjson":"hunter2"}}"#,
        "hunter2",
    ] {
        let error = AuthFile::parse(Path::new("f"), text.as_bytes())
            .err()
            .unwrap();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = AuthFile::parse(Path::new("f"), &bytes);
    }

    #[test]
    fn an_entry_is_found_under_its_own_key(
        host in "[a-z]{1,5}(\\.[a-z*?]{1,5}){0,3}(:[0-9]{1,5})?", path in "(/[a-z]{1,3}){0,3}",
        entry in "[ -~]{0,20}",
    ) {
        let auth = base64::prelude::BASE64_STANDARD.encode(format!("u:{entry}"));
        let document = serde_json::json!({"auths": {format!("{host}{path}"): {"auth": auth}}});
        let text = document.to_string();
        let path = path.trim_start_matches('/');
        // The host stands for itself, also where it is a pattern.
        prop_assert_eq!(find(&text, &normal_key(&host), path), basic("u", &entry));
    }
}
