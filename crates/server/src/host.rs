//! Which hosts a server answers for.
//!
//! The owner of any web page can have its own name resolved to this machine (DNS rebinding): to the
//! browser the server is then of the page's own origin, and nothing but the host that a request names
//! tells. So a request that does not name one of ours is not looked at any further.
//!
//! # Invariants
//! - `host-1`: no handler sees a request unless it names one host, and one that is ours: a loopback
//!   address, `localhost`, the address that is listened on, or a name that was configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::header::HeaderValue;
use hyper::{Uri, Version};

use crate::error::{Code, Problem, Result};
use crate::head::Head;

/// What of a foreign host is shown, in characters.
const SHOWN_LEN: usize = 64;
const LOCALHOST: &[u8] = b"localhost";

/// The hosts that a server answers for, whatever the port.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    addresses: Vec<IpAddr>,
    names: Vec<String>,
}

impl Hosts {
    /// Loopback, the address listened on, and these names and addresses.
    ///
    /// # Errors
    /// The one that is neither a name nor an address (`host:port`, say, or a URL).
    pub(crate) fn new(listen: IpAddr, allowed: &[String]) -> std::result::Result<Self, String> {
        let mut hosts = Self {
            addresses: vec![listen],
            names: Vec::new(),
        };
        for host in allowed {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            match address(host.as_bytes()).or_else(|| host.parse().ok()) {
                Some(address) => hosts.addresses.push(address),
                None if !host.is_empty() && host.bytes().all(plain) => {
                    hosts.names.push(host.clone());
                }
                None => return Err(host.clone()),
            }
        }
        Ok(hosts)
    }

    /// The host (and port) that a request names, if it is one of ours.
    ///
    /// # Errors
    /// [`Code::HostInvalid`], [`Code::HostForbidden`].
    pub(crate) fn check<'a>(
        &self,
        version: Version,
        uri: &'a Uri,
        head: &Head<'a>,
    ) -> Result<&'a [u8]> {
        // INVARIANT host-1
        let named =
            named(version, uri, head).map_err(|why| Problem::new(Code::HostInvalid, why))?;
        match self.is_ours(named) {
            true => Ok(named),
            false => Err(forbidden(named)),
        }
    }

    fn is_ours(&self, authority: &[u8]) -> bool {
        let Some(host) = without_port(authority) else {
            return false;
        };
        host.eq_ignore_ascii_case(LOCALHOST)
            || address(host).is_some_and(|ip| ip.is_loopback() || self.addresses.contains(&ip))
            || self
                .names
                .iter()
                .any(|name| name.as_bytes().eq_ignore_ascii_case(host))
    }
}

fn forbidden(named: &[u8]) -> Box<Problem> {
    let shown: String = String::from_utf8_lossy(named)
        .chars()
        .take(SHOWN_LEN)
        .collect();
    Problem::new(
        Code::HostForbidden,
        format!(
            "the request was sent to {shown:?}, which this server does not answer for: under a name \
             of its own, any web page could reach it. Ask localhost or 127.0.0.1, or have the name \
             listed in http.allowed_hosts (load balancers that check health by name need that too)"
        ),
    )
}

/// The one host that a request names: in `Host`, in its target, or the same in both.
fn named<'a>(
    version: Version,
    uri: &'a Uri,
    head: &Head<'a>,
) -> std::result::Result<&'a [u8], &'static str> {
    if head.host_repeated {
        return Err("the request has more than one Host");
    }
    let host = head.host.map(HeaderValue::as_bytes);
    let target = uri.authority().map(|target| target.as_str().as_bytes());
    match (host, target) {
        (Some(host), None) => Ok(host),
        (Some(host), Some(target)) if host.eq_ignore_ascii_case(target) => Ok(host),
        (Some(_), Some(_)) => Err("Host and the request's target name different hosts"),
        // HTTP/2 has `:authority` in its place.
        (None, Some(target)) if version >= Version::HTTP_2 => Ok(target),
        (None, _) => Err("the request names no Host"),
    }
}

/// `None` where what follows the host is no port.
fn without_port(authority: &[u8]) -> Option<&[u8]> {
    let end = match authority.first()? {
        b'[' => authority.iter().position(|&byte| byte == b']')? + 1,
        _ => {
            let colon = authority.iter().position(|&byte| byte == b':');
            colon.unwrap_or(authority.len())
        }
    };
    match authority.split_at(end) {
        (host, []) => Some(host),
        (host, [b':', port @ ..]) => {
            let is_port = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
            is_port.then_some(host)
        }
        _ => None,
    }
}

/// An address as it stands in a URL: IPv6 in brackets.
fn address(host: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(host).ok()?;
    match text.strip_prefix('[') {
        Some(rest) => {
            let ip: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            Some(ip.to_canonical())
        }
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{self, HeaderMap};

    fn hosts() -> Hosts {
        let allowed = ["ring.example", "192.0.2.7", "[2001:db8::7]", "2001:db8::8"];
        let listen = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        Hosts::new(listen, &allowed.map(str::to_owned)).unwrap()
    }

    #[test]
    fn host_1_only_ours_are_ours() {
        let hosts = hosts();
        for ours in [
            "localhost",
            "LOCALHOST:7400",
            "127.0.0.1",
            "127.8.9.10:1",
            "[::1]:7400",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "ring.example:65535",
            "Ring.Example",
            "192.0.2.1:7400",
            "192.0.2.7",
            "[2001:db8::7]",
            "[2001:db8:0::8]:80",
        ] {
            assert!(hosts.is_ours(ours.as_bytes()), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "evil.example:7400",
            "localhost.",
            "localhost.evil.example",
            "localhost:7400.evil.example",
            "localhost:",
            "localhost:123456",
            "evil@localhost",
            "localhost@evil.example",
            "127.0.0.1.evil.example",
            "0127.0.0.1",
            "0.0.0.0:7400",
            "2130706433",
            "127.1",
            "192.0.2.8",
            "::1",
            "[::1",
            "[::1]evil",
            "[fe80::1]",
            "ring.example.evil.example",
            "localhost evil",
            "\u{7f}",
        ] {
            assert!(!hosts.is_ours(foreign.as_bytes()), "{foreign}");
        }
    }

    #[test]
    fn what_is_configured_is_a_name_or_an_address() {
        for bad in ["", "a:80", "http://a", "a/b", "*", "a b", "[::1]:80", "ä"] {
            let given = [bad.to_owned()];
            let refused = Hosts::new(IpAddr::V4(Ipv4Addr::LOCALHOST), &given);
            assert_eq!(refused.unwrap_err(), bad);
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let check = |version, target: &str, given: &[&'static str]| {
            let host = |value: &&'static str| (header::HOST, HeaderValue::from_static(value));
            let mut headers = HeaderMap::new();
            for (name, value) in given.iter().map(host) {
                headers.append(name, value);
            }
            let uri: Uri = target.parse().unwrap();
            let hosts = hosts();
            let checked = hosts.check(version, &uri, &Head::of(&headers));
            checked.map(<[u8]>::to_vec).map_err(|problem| problem.code)
        };
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let ours = Ok(b"localhost".to_vec());
        assert_eq!(check(one, "/", &["localhost"]), ours);
        assert!(check(one, "http://localhost/", &["LOCALHOST"]).is_ok());
        assert_eq!(check(two, "http://localhost/", &[]), ours);
        assert_eq!(check(two, "http://localhost/", &["localhost"]), ours);
        assert_eq!(check(two, "/", &["localhost"]), ours);
        for (version, target, given) in [
            (one, "/", &[][..]),
            (Version::HTTP_10, "/", &[]),
            (one, "http://localhost/", &[]),
            (one, "/", &["localhost", "localhost"]),
            (one, "/", &["localhost", "evil.example"]),
            (one, "http://evil.example/", &["localhost"]),
            (one, "http://localhost/", &["evil.example"]),
            (two, "/", &[]),
            (two, "http://localhost/", &["evil.example"]),
        ] {
            let refused = check(version, target, given);
            assert_eq!(refused, Err(Code::HostInvalid), "{target} {given:?}");
        }
        for (version, target, given) in [
            (one, "/", &["evil.example"][..]),
            (one, "http://evil.example/", &["evil.example"]),
            (two, "http://evil.example:7400/", &[]),
        ] {
            let refused = check(version, target, given);
            assert_eq!(refused, Err(Code::HostForbidden), "{target} {given:?}");
        }
    }
}
