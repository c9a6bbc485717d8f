//! Where a request may go, and what may go with it.
//!
//! A credential belongs to one origin (scheme, host, port). Whatever a server names as the next
//! address, by redirect, token realm or upload location, is judged here before it is asked.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;
use url::Host;

/// Why an address is refused: what was protected would not be.
pub(crate) const DOWNGRADE: &str = "it leads from https to http";
/// Why an address is refused: nobody said that plain HTTP is meant.
pub(crate) const CLEAR_CREDENTIALS: &str = "credentials would go there unencrypted";

/// Why a server names another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `Location` of a redirect.
    Redirect,
    /// `realm` of a Bearer challenge: credentials are meant to go there.
    Realm,
    /// `Location` of an upload session.
    Upload,
}

/// Whether two URLs have the same scheme, host and (effective) port.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

/// Scheme, host and port of a URL, for messages: never a path, a query or a user.
pub(crate) fn show(url: &Url) -> String {
    match url.origin() {
        url::Origin::Opaque(_) => format!("{}: URL", url.scheme()),
        origin => origin.ascii_serialization(),
    }
}

/// Whether this machine itself is meant.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

/// `HOST[:PORT]` of a URL as users write it.
pub(crate) fn host_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The address that a server means which was asked with `https` and names itself with `http`: a
/// proxy in front of it ends TLS and does not tell it so. Scheme and port are those of `asked`, for
/// its own may be missing or be those inside. `None` for every other address.
pub(crate) fn behind_tls_proxy(asked: &Url, named: &Url) -> Option<Url> {
    let itself = asked.scheme() == "https" && named.scheme() == "http";
    if !itself || asked.host() != named.host() {
        return None;
    }
    let mut outer = named.clone();
    outer.set_scheme(asked.scheme()).ok()?;
    outer.set_port(asked.port()).ok()?;
    Some(outer)
}

/// Whether a URL is at `HOST[:PORT]`; a port that the scheme implies may be written out.
pub(crate) fn is_at(url: &Url, host: &str) -> bool {
    let bare = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default();
    host == host_port(url) || port.is_some_and(|port| host == format!("{bare}:{port}"))
}

/// Judges an address that the server at `from` names; the error says why it is refused.
pub(crate) fn check_target(
    from: &Url,
    target: &Url,
    purpose: Purpose,
    plain_http: &[String],
) -> Result<(), &'static str> {
    if !matches!(target.scheme(), "https" | "http") || target.host().is_none() {
        return Err("only http and https addresses are followed");
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err("the address carries a user name");
    }
    if target.host() != from.host() {
        if is_never_a_server(target) {
            return Err("it is a link-local or unroutable address");
        }
        if is_loopback(target) && !is_loopback(from) {
            return Err("it is an address of this machine itself");
        }
    }
    if target.scheme() == "http" {
        if from.scheme() == "https" {
            return Err(DOWNGRADE);
        }
        // Credentials in clear text go only where somebody said that they may.
        let permitted = target.host() == from.host()
            || is_loopback(target)
            || plain_http.contains(&host_port(target));
        if purpose == Purpose::Realm && !permitted {
            return Err(CLEAR_CREDENTIALS);
        }
    }
    Ok(())
}

/// Addresses that no registry has, but that a machine in a cloud answers on (169.254.169.254).
fn is_never_a_server(url: &Url) -> bool {
    let v4 = |address: Ipv4Addr| {
        address.is_link_local()
            || address.is_unspecified()
            || address.is_multicast()
            || address.is_broadcast()
    };
    match url.host() {
        Some(Host::Ipv4(address)) => v4(address),
        Some(Host::Ipv6(address)) => match address.to_canonical() {
            IpAddr::V4(address) => v4(address),
            IpAddr::V6(address) => {
                address.is_unicast_link_local()
                    || address.is_unspecified()
                    || address.is_multicast()
            }
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, target: &str, purpose: Purpose) -> bool {
        let from = Url::parse(from).unwrap();
        let target = from.join(target).unwrap();
        check_target(&from, &target, purpose, &["auth.lab:5001".to_owned()]).is_ok()
    }

    #[test]
    fn q20_redirects_may_leave_the_host_but_not_https() {
        for target in [
            "https://cdn.example/x?sig=1",
            "/y",
            "https://10.0.0.1/x",
            "https://quay.io:444/",
        ] {
            assert!(
                check("https://quay.io/v2/", target, Purpose::Redirect),
                "{target}"
            );
        }
        for target in [
            "http://quay.io/v2/",
            "http://cdn.example/x",
            "https://u:p@cdn.example/x",
            "https://u@quay.io/x",
            "file:///etc/passwd",
            "ftp://x/",
            "https://169.254.169.254/latest",
            "https://2852039166/latest",
            "https://[fe80::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://0.0.0.0/",
            "https://localhost/",
            "https://127.0.0.1:5000/",
            "https://[::1]/",
        ] {
            assert!(
                !check("https://quay.io/v2/", target, Purpose::Redirect),
                "{target}"
            );
        }
        assert!(check(
            "http://minio-proxy:5000/",
            "http://minio:9000/x",
            Purpose::Redirect
        ));
    }

    #[test]
    fn q15_a_realm_is_never_less_protected_than_its_registry() {
        assert!(check(
            "https://quay.io/",
            "https://auth.quay.io/token",
            Purpose::Realm
        ));
        assert!(check("https://quay.io/", "/service/token", Purpose::Realm));
        assert!(!check(
            "https://quay.io/",
            "http://quay.io/token",
            Purpose::Realm
        ));
        assert!(!check(
            "https://quay.io/",
            "https://169.254.169.254/token",
            Purpose::Realm
        ));
        assert!(check(
            "http://10.0.0.5:5000/",
            "http://10.0.0.5:5001/token",
            Purpose::Realm
        ));
        assert!(check(
            "http://10.0.0.5:5000/",
            "http://auth.lab:5001/token",
            Purpose::Realm
        ));
        assert!(check(
            "http://10.0.0.5:5000/",
            "https://auth.example/token",
            Purpose::Realm
        ));
        assert!(!check(
            "http://10.0.0.5:5000/",
            "http://auth.example/token",
            Purpose::Realm
        ));
    }

    #[test]
    fn q25_a_registry_that_does_not_know_of_its_tls_is_asked_where_it_was() {
        let url = |text| Url::parse(text).unwrap();
        for (asked, named, meant) in [
            (
                "https://a.io/v2/",
                "http://a.io/u?_s=a%2Bb",
                "https://a.io/u?_s=a%2Bb",
            ),
            ("https://a.io/v2/", "http://a.io:5000/u", "https://a.io/u"),
            ("https://a.io/v2/", "http://A.io:443/u", "https://a.io/u"),
            ("https://a.io:8443/", "http://a.io/u", "https://a.io:8443/u"),
            (
                "https://a.io:8443/",
                "http://a.io:8443/u",
                "https://a.io:8443/u",
            ),
            (
                "https://[::1]:8443/",
                "http://[::1]/u",
                "https://[::1]:8443/u",
            ),
        ] {
            let (asked, named) = (url(asked), url(named));
            let outer = behind_tls_proxy(&asked, &named).unwrap();
            assert_eq!(outer.as_str(), meant);
            assert!(same_origin(&outer, &asked));
        }
        for (asked, named) in [
            ("https://a.io/", "http://b.io/u"),
            ("https://a.io/", "http://a.io.b.io/u"),
            ("https://a.io/", "https://a.io:444/u"),
            ("http://a.io/", "http://a.io:5000/u"),
            ("http://a.io/", "https://a.io/u"),
        ] {
            assert_eq!(behind_tls_proxy(&url(asked), &url(named)), None, "{named}");
        }
        // A user name in the address is still there to be refused.
        let from = url("https://a.io/");
        let outer = behind_tls_proxy(&from, &url("http://u:p@a.io/u")).unwrap();
        assert!(check_target(&from, &outer, Purpose::Upload, &[]).is_err());
    }

    #[test]
    fn loopback_is_recognised_however_it_is_written() {
        for host in [
            "localhost",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "2130706433",
        ] {
            assert!(
                is_loopback(&Url::parse(&format!("http://{host}/")).unwrap()),
                "{host}"
            );
        }
        for host in ["localhost.example", "128.0.0.1", "[::2]"] {
            assert!(
                !is_loopback(&Url::parse(&format!("http://{host}/")).unwrap()),
                "{host}"
            );
        }
    }

    #[test]
    fn q23_an_origin_has_an_effective_port() {
        let url = |text| Url::parse(text).unwrap();
        assert!(same_origin(
            &url("https://a.io/x"),
            &url("https://a.io:443/y")
        ));
        assert!(!same_origin(
            &url("https://a.io/"),
            &url("https://a.io:444/")
        ));
        assert!(!same_origin(&url("https://a.io/"), &url("http://a.io/")));
        assert_eq!(show(&url("https://u:p@a.io/x?token=1")), "https://a.io");
    }
}
