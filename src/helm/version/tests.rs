//! The rules as Masterminds semver 3.4 has them, checked against its own test tables.

use proptest::prelude::*;

use super::*;

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn constraint(text: &str) -> Constraint {
    text.parse().unwrap()
}

#[test]
fn loose_versions_are_read_and_kept_as_they_are() {
    for text in [
        "1.2.3",
        "v1.2.3",
        "1",
        "v1",
        "1.0",
        "v1.2-5",
        "1.2-beta.5",
        "1.2.3+test.01",
        "1.2.3-alpha.-1",
        "1.2.0-x.Y.0+metadata-width-hypen",
        "1.2.3-rc1-with-hypen",
        "1.2.3-0abc123",
        "1.2.2147483648",
        "20221209-update-renovatejson-v4",
        "01.1.1",
        "0.1.000",
        "1.0.0+001",
        "v3.32.0+build.7",
    ] {
        assert_eq!(version(text).as_str(), text);
        assert_eq!(version(text).to_string(), text);
    }
}

#[test]
fn what_is_no_version_is_refused() {
    for text in [
        "",
        "foo",
        "1.2.beta",
        "v1.2.beta",
        "\n1.2",
        "1.2\n",
        " 1.2",
        "1.2.3.4",
        "12.3.4.1234",
        "1.2.3-alpha.01",
        "1.2.3-beta.01",
        "1.2.3-0123",
        "1.2.31----RC-SNAPSHOT.12.09.1--.12+788",
        "1.1.2+.123",
        "1.0.0-alpha_beta",
        "1.0.0-alpha..",
        "1.0.0-alpha..1",
        "9.8.7+meta+meta",
        "+invalid",
        "-invalid",
        "alpha+beta",
        "V1.2.3",
        "vv1",
        "1.x",
        "1.2.",
        "1.2.3-",
        "1.2.3+",
        "99999999999999999999.0.0",
        "1.2.3-ä",
        "١.2.3",
    ] {
        assert_eq!(
            text.parse::<Version>(),
            Err(VersionError::Version(clip(text))),
            "{text:?}"
        );
    }
    assert!("1".repeat(MAX_TEXT + 1).parse::<Version>().is_err());
}

#[test]
fn strict_versions_have_three_clean_numbers() {
    for text in ["1.2.3", "0.0.0", "1.2.3-rc.1+b"] {
        assert!(version(text).is_strict(), "{text}");
    }
    for text in ["v1.2.3", "1.2", "1", "01.2.3", "0.1.000", "5-rc"] {
        assert!(!version(text).is_strict(), "{text}");
    }
}

#[test]
fn order_is_by_precedence() {
    let rising = [
        "0.0.0-alpha",
        "0",
        "1.0.0-0",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-beta.99999999999999999999",
        "1.0.0-rc.1",
        "v1",
        "1.0.1",
        "1.2",
        "1.10.0",
        "2.0.0-1",
        "2.0.0--1",
        "2.0.0",
    ];
    for (at, low) in rising.iter().enumerate() {
        for high in &rising[at + 1..] {
            assert!(version(low) < version(high), "{low} < {high}");
            assert!(version(high) > version(low), "{high} > {low}");
        }
    }
    for (a, b) in [
        ("1.2.3+a", "1.2.3+b"),
        ("v1", "1.0.0"),
        ("0.1.000", "0.1"),
        ("1.2.3-rc+a", "v1.2.3-rc"),
    ] {
        assert_eq!(version(a), version(b));
    }
}

/// Each line: a constraint, versions that it accepts, versions that it does not.
const TABLE: &[(&str, &str, &str)] = &[
    ("*", "1 1.2.3 4.5.6 0.0.0", "1.2.3-alpha.1 0.0.0-0"),
    ("*-0", "1.2.3-alpha.1 1.0.0", ""),
    ("=2.0.0", "2.0.0 v2.0.0 2 2.0.0+b", "1.2.3 2.0.1 2.0.0-rc1"),
    ("=2.0", "2.0.0 2.0.1", "1.2.3 2.1.0"),
    ("1.2.3", "1.2.3 v1.2.3+x", "1.2.4 1.9.0"),
    ("1.2", "1.2.0 1.2.9", "1.3.0 1.1.9 1.2.1-rc.1"),
    ("v1.2", "1.2.9", "1.3.0"),
    ("1", "1.9.0", "2.0.0 0.9.0"),
    ("4.1.x", "4.1.3", "4.2.0"),
    ("2.*", "2.1.1", "1 3.4.5"),
    ("0.x.x", "0.5.0", "1.2.3"),
    ("0.0.x", "0.0.7", "1.2.3 0.1.0"),
    ("!=4.1.0", "4.1.1", "4.1.0 5.1.0-alpha.1"),
    ("!=4.1", "5.1.0 4.2.0", "4.1.0 4.1.1 5.1.0-alpha.1"),
    ("!=4.x", "5.1.0", "4.1.0"),
    ("!=4.2.x", "4.1.0", "4.2.3"),
    ("!=4.1-alpha", "4.1.0", "4.1.0-alpha 4.1.1-alpha"),
    ("<11", "0.1.0 10.9.9", "11.1.0 11.0.0"),
    ("<1.1", "0.1.0", "1.1.0 1.1.1 1.0.0-rc"),
    ("<1.x", "0.1.1", "1.1.1 2.0.0"),
    ("<1.1.x", "1.0.500", "1.2.1 1.1.500"),
    ("<0-z", "0.0.0-alpha", "0.0.0"),
    ("<=11", "1.2.3 11.2.3", "12.2.3"),
    ("<=1.1", "0.1.0 1.1.0 1.1.1", "1.2.3 0.1.0-alpha"),
    ("<=1.1-a", "0.1.0-alpha", "1.2.0"),
    ("<=2.x", "2.9.9", "3.0.0"),
    ("=<1.2", "1.2.0", "1.3.0"),
    (">1.1", "4.1.0 1.2.0", "1.1.0 1.1.5"),
    (">0", "1", "0 0.0.1-alpha 0.0.0-alpha"),
    (">0-0", "1.0.0", "0.0.1-alpha 0.0.0-alpha"),
    (">0.0.0-0", "0.0.0-alpha", "0.0.0-0"),
    (
        ">1.2.3-alpha.1",
        "1.2.3-alpha.2 1.3.3-alpha.2 1.2.3",
        "1.2.3-alpha.1",
    ),
    (">11", "12.0.0", "11.1.0"),
    (">11.1", "11.2.1", "11.1.0 11.1.1"),
    (">=11", "11.1.2", "10.9.0"),
    (">=11.1", "11.1.2", "11.0.2"),
    ("=>1.1", "4.1.0 1.1.0", "0.0.9"),
    (">=0", "0 1.0.0", "0.0.1-alpha 0.0.0-alpha"),
    (">=0-0", "0.0.1-alpha 0.0.0-alpha 1.2.3 3.4.5-beta.1", ""),
    (">=1.0.0-0", "2.0.0-rc1 1.0.0-0 1.33.0-gke.100", "0.9.0"),
    ("~*", "2.1.1", "2.1.1-rc"),
    ("~0.0.0", "1.2.3", "1.2.3-rc"),
    ("~1.2.3", "1.2.4 1.2.5 1.2.3", "1.3.4 1.2.2"),
    ("~1.2", "1.2.4", "1.3.4 1.1.9"),
    ("~1.2.x", "1.2.4", "1.3.4"),
    ("~>1", "1.2.4 1.3.5 1.4", "2.3.4 1.3.5-beta"),
    ("~0.2.3", "0.2.5", "0.3.5"),
    (
        "~1.2.3-beta.2",
        "1.2.3-beta.4 1.2.4-beta.2 1.2.3",
        "1.3.4-beta.2 1.2.3-beta.1",
    ),
    ("~1.1-alpha", "1.1.1-beta", "1.2.0"),
    ("^1.2.3", "1.8.9", "2.8.9 1.2.1 1.2.4-alpha.1"),
    ("^1.2", "1.8.9", "2.8.9 1.1.0"),
    ("^1", "1.8.9", "2.8.9"),
    ("^1.x", "1.1.1", "2.1.1 1.1.1-beta1"),
    (
        "^1.2.0-alpha.2",
        "1.2.1-alpha.1 1.2.0",
        "1.2.0-alpha.1 2.0.0-rc",
    ),
    ("^0.2.3", "0.2.5", "0.5.6 0.2.2 1.0.0"),
    ("^0.2", "0.2.5", "0.5.6"),
    ("^0.0.3", "0.0.3", "0.0.4 0.1.3 1.0.3"),
    ("^0.0", "0.0.3", "0.1.4 1.0.4"),
    ("^0", "0.2.3", "1.1.4"),
    ("^0.0.0", "0.0.0", "1.2.3 0.0.1"),
    (
        "^0.2.3-beta.2",
        "0.2.3-beta.4 0.2.4-beta.2 0.2.3-beta.2",
        "0.3.4-beta.2",
    ),
    (">1.1, <2", "1.2.1", "1.1.1 2.0.0"),
    (">1.1    <3", "2.9.0", "4.3.2"),
    ("> 1.1 ,<\t3", "2.9.0", "4.3.2"),
    (">=1.1, <2, !=1.2.3", "1.2.4", "1.2.3"),
    (
        ">=1.1 <2 !=1.2.3 || > 3",
        "4.1.2 1.5.0",
        "3.1.2 3.0.0 1.2.3",
    ),
    (">= 1.1, <2, !=1.2.3 || >= 3", "3.0.0", "2.0.0"),
    (
        ">= 1.0.0  <= 2.0.0-beta || > 3",
        "1.0.1-beta 1.0.1 4.0.0",
        "3.0.1-beta 3.0.0 2.0.0",
    ),
    (
        ">= 1.0.0  <= 2.0.0-beta != 1.0.1-beta || > 3",
        "1.0.2-beta",
        "1.0.1-beta",
    ),
    ("1.1 - 2", "1.1.1 2.5.0", "3.0.0 1.0.0"),
    ("1.5.0 - 4.5", "3.7.0", "4.6.0"),
    ("1.1-3", "1.1.1 1.1.0-4", "4.3.2 1.2.0"),
    ("1.0.0 - 2.0.0 <=1.8.0", "1.5.0", "1.9.0"),
    ("1.0.0 - 2.0.0, <=2.0.0", "1.5.0", "2.0.1"),
    ("2 - 3 || 5 - 6", "2.5.0 6.1.0", "4.0.0 7.0.0"),
];

#[test]
fn constraints_accept_what_helm_accepts() {
    for (text, accepted, refused) in TABLE {
        let wanted = constraint(text);
        assert_eq!(wanted.as_str(), *text);
        for accepted in accepted.split_whitespace() {
            assert!(wanted.matches(&version(accepted)), "{text} {accepted}");
        }
        for refused in refused.split_whitespace() {
            assert!(!wanted.matches(&version(refused)), "{text} {refused}");
        }
    }
}

#[test]
fn what_is_no_constraint_is_refused() {
    for text in [
        "",
        " ",
        "foo",
        ">= bar",
        "BAR >= 1.2.3",
        "12.3.4.1234",
        "12.3.34~ 1.2.3",
        "v1.2.3-beta.01",
        "1.2 ||",
        "|| 1.2",
        "1.2,,1.3",
        ", 1.2",
        "1.2,",
        "1|2",
        "x1",
        "== 1",
        "> >1",
        ">=1 - 2",
        "V1",
        "1.2;1.3",
        "1.2\u{a0}1.3",
    ] {
        assert_eq!(
            text.parse::<Constraint>().err(),
            Some(VersionError::Constraint(clip(text))),
            "{text:?}"
        );
    }
    for text in [
        "v2.3.5-20161202202307-sha.e8fc5e5",
        "12.3.34 ~1.2.3",
        " 1.2 ",
        ">= 1.2.3, < 2.0 || => 3.0, < 4",
        "3 - 4 || => 3.0, < 4",
    ] {
        assert!(text.parse::<Constraint>().is_ok(), "{text:?}");
    }
}

#[test]
fn the_newest_is_the_highest_stable_unless_a_constraint_says_otherwise() {
    let all: Vec<_> = [
        "1.0.0",
        "v1.2.0+a",
        "1.2.0+b",
        "2.0.0-rc.1",
        "1.1.9",
        "0.1.000",
    ]
    .map(version)
    .into();
    let chosen = |text: Option<&str>| {
        let wanted = text.map(constraint);
        newest(all.iter(), wanted.as_ref()).map(Version::as_str)
    };
    assert_eq!(chosen(None), Some("v1.2.0+a"));
    assert_eq!(chosen(Some("~1.1")), Some("1.1.9"));
    assert_eq!(chosen(Some(">=1-0")), Some("2.0.0-rc.1"));
    assert_eq!(chosen(Some("0.1")), Some("0.1.000"));
    assert_eq!(chosen(Some(">3")), None);
    assert!(newest([version("1.0.0-rc")].iter(), None).is_none());
}

#[test]
fn a_vendors_suffix_does_not_make_a_cluster_a_prerelease() {
    for (wanted, kube, accepted) in [
        (">=1.16.0", "v1.33.2-gke.1", true),
        (">=1.21.0-0", "v1.33.2-gke.100", true),
        (">= 1.34.0-0", "v1.33.2-gke.100", false),
        ("<1.33.2", "v1.33.2-eks-1", false),
        ("1.33.x", "1.33", true),
    ] {
        let accepts = accepts_kube(&constraint(wanted), &version(kube));
        assert_eq!(accepts, accepted, "{wanted} {kube}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_the_parsers_panic(
        a in "[vxX*|0-9.+~<>=!^, \t-]{0,24}",
        b in ".{0,24}",
        c in "v?[0-9]{1,2}(\\.[0-9]{1,2}){0,2}(-[a-z0-9.-]{1,6})?",
    ) {
        let known = version("1.2.3");
        for text in [&a, &b, &c] {
            let parsed = text.parse::<Version>().ok();
            if let Ok(constraint) = text.parse::<Constraint>() {
                constraint.matches(parsed.as_ref().unwrap_or(&known));
            }
        }
    }

    #[test]
    fn a_version_satisfies_itself_and_the_order_is_one(
        a in "v?[0-9]\\.[0-9]\\.[0-9](-[a-z][a-z0-9]{0,2}(\\.[1-9][0-9]?)?)?",
        b in "v?[0-9]\\.[0-9]\\.[0-9](-[a-z][a-z0-9]{0,2}(\\.[1-9][0-9]?)?)?",
    ) {
        let (first, second) = (version(&a), version(&b));
        prop_assert!(constraint(&a).matches(&first));
        prop_assert_eq!(constraint(&a).matches(&second), first == second);
        prop_assert_eq!(first.cmp(&second), second.cmp(&first).reverse());
    }
}
