//! Which server, and where in it: the options that all clients have.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use ureq::http::uri::Authority;

use super::problem::ClientError;

/// Where a server listens unless it is told otherwise.
const PORT: u16 = 7400;

/// Which server, and where in it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = crate::help::GLOBAL)]
pub(crate) struct Target {
    /// The server: host and port, with or without http://.
    #[arg(
        long,
        global = true,
        env = "RINGWOOD_URL",
        default_value = "http://127.0.0.1:7400"
    )]
    pub(crate) url: String,

    /// The namespace.
    #[arg(
        short,
        long,
        global = true,
        env = "RINGWOOD_NAMESPACE",
        default_value = "default",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub(crate) namespace: String,
}

impl Target {
    /// The server, as `http://host:port`.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`].
    pub(super) fn base(&self) -> Result<String, ClientError> {
        base_of(&self.url).map_err(|why| ClientError::BadUrl {
            url: without_user(&self.url),
            why,
        })
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// An address as it may be shown: who stands in one may stand there with a password.
fn without_user(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    match url.rfind('@') {
        Some(at) if at >= start => format!("{}…{}", &url[..start], &url[at..]),
        _ => url.to_owned(),
    }
}

/// `http://host:port` of what people write, or what is wrong with it.
fn base_of(url: &str) -> Result<String, String> {
    let url = url.trim();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    match scheme.map(str::to_ascii_lowercase).as_deref() {
        None | Some("http") => {}
        Some("https") => {
            return Err("asks for TLS, which a server does not speak; write http://".to_owned());
        }
        Some(other) => {
            return Err(format!(
                "begins with {other:?}, and a server speaks http only"
            ));
        }
    }
    let authority = rest.trim_end_matches('/');
    if authority.is_empty() {
        return Err("names no host".to_owned());
    }
    if authority.contains(['/', '?', '#']) {
        return Err("has a path; host and port are all there is".to_owned());
    }
    if authority.contains('@') {
        return Err("has a user in it, and a server knows none".to_owned());
    }
    let parsed: Authority = authority
        .parse()
        .map_err(|error| format!("names no host ({error})"))?;
    if parsed.host().is_empty() {
        return Err("names no host".to_owned());
    }
    let given = &authority[parsed.host().len()..];
    match (given.strip_prefix(':'), parsed.port_u16()) {
        (Some(_), Some(1..)) => Ok(format!("http://{authority}")),
        (Some(port), _) => Err(format!(
            "has the port {port:?}, and ports go from 1 to 65535"
        )),
        // A browser's default port is none of ours; whoever wrote the scheme may mean it.
        (None, _) if scheme.is_some() => Ok(format!("http://{authority}")),
        (None, _) => Ok(format!("http://{authority}:{PORT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (given, base) in [
            ("http://127.0.0.1:7400", "http://127.0.0.1:7400"),
            ("http://127.0.0.1:7400/", "http://127.0.0.1:7400"),
            ("HTTP://Host:1", "http://Host:1"),
            ("localhost:7401", "http://localhost:7401"),
            ("127.0.0.1:7400", "http://127.0.0.1:7400"),
            ("[::1]:7400", "http://[::1]:7400"),
            ("localhost", "http://localhost:7400"),
            ("[::1]", "http://[::1]:7400"),
            (" db.example:80 ", "http://db.example:80"),
            ("http://proxy.example", "http://proxy.example"),
        ] {
            assert_eq!(base_of(given).as_deref(), Ok(base), "{given}");
        }
    }

    #[test]
    fn passwords_in_addresses_are_not_shown() {
        for (given, shown) in [
            ("http://me:s@cret@host:1", "http://…@host:1"),
            ("me:secret@host", "…@host"),
            ("http://host:x", "http://host:x"),
        ] {
            assert_eq!(without_user(given), shown);
        }
    }

    #[test]
    fn addresses_that_are_none_say_what_is_wrong() {
        for (given, why) in [
            ("", "no host"),
            ("http://", "no host"),
            (":7400", "no host"),
            ("https://localhost:7400", "TLS"),
            ("ftp://localhost", "ftp"),
            ("localhost:7400/kv/a", "path"),
            ("http://localhost:7400?x=1", "path"),
            ("me:secret@localhost:7400", "user"),
            ("localhost:", "port"),
            ("localhost:0", "port"),
            ("localhost:99999", "port"),
            ("localhost:http", "port"),
            ("local host:7400", "host"),
        ] {
            let refused = base_of(given).unwrap_err();
            assert!(refused.contains(why), "{given}: {refused}");
        }
    }
}
