//! Clients by their ids, and by the origins of those that are URLs (P14): what a client's metadata URL says of who it is.

use crate::policy::document::{Entry, Report};

/// Equal, or https URLs that differ only in the case of the host. Never a prefix.
pub(crate) fn is_same(entry: &str, client: &str) -> bool {
    let split = |text: &str| {
        let rest = text.strip_prefix("https://")?;
        let (host, path) = rest.split_once('/')?;
        (!host.contains('@')).then(|| (host.to_ascii_lowercase(), path.to_owned()))
    };
    entry == client || split(entry).is_some_and(|wanted| split(client) == Some(wanted))
}

/// Scheme, host and port of a client's metadata URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// Of a client id; `None` where it is no such URL: https, with a path, without user information, fragment and dot segments.
    pub(crate) fn of(client: &str) -> Option<Origin> {
        let rest = client.strip_prefix("https://")?;
        let (authority, path) = rest.split_once('/')?;
        let is_visible = client.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let is_plain = is_visible && !path.contains('#') && !path.split('/').any(|part| matches!(part, "." | ".."));
        if is_plain { Origin::parse(authority) } else { None }
    }

    fn parse(authority: &str) -> Option<Origin> {
        let (host, port) = match authority.split_once(':') {
            None => (authority, 443),
            Some((host, port)) => {
                let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                (host, is_number.then(|| port.parse().ok())??)
            }
        };
        let is_host = !host.is_empty()
            && !host.ends_with('.')
            && !host.contains("..")
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        is_host.then(|| Origin { host: host.to_ascii_lowercase(), port })
    }

    /// As a policy has it, without a path.
    pub(crate) fn read(entry: &Entry<'_>, report: &mut Report) -> Option<Origin> {
        let text = entry.text(report)?;
        let origin = text.strip_prefix("https://").and_then(Origin::parse);
        if origin.is_none() {
            let help = "write scheme and host, and the port if it is another: https://agents.example.com";
            entry.fault(report, "not the origin of a client", help);
        }
        origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_the_origin_of_a_metadata_url() {
        let origin = Origin::parse("agents.example.com");
        for id in ["https://agents.example.com/", "https://AGENTS.example.com:443/ci.json?x=1"] {
            assert_eq!(Origin::of(id), origin, "{id}");
        }
        for id in ["https://agents.example.com:8443/a", "https://agents.example.com.evil.example/a"] {
            assert!(Origin::of(id).is_some_and(|other| Some(other) != origin), "{id}");
        }
        for id in [
            "ci",
            "http://agents.example.com/a",
            "https://agents.example.com",
            "https://x@agents.example.com/a",
            "https://agents.example.com:/a",
            "https://agents.example.com:99999/a",
            "https://agents.example.com./a",
            "https://agents.example.com/../a",
            "https://agents.example.com/a#b",
            "https://agents.example.com\\@evil.example/a",
            "https://[::1]/a",
            "https:///a",
        ] {
            assert_eq!(Origin::of(id), None, "{id}");
        }
    }
}
