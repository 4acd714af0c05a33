//! Clients by their ids, and by the origins of those that are URLs (P14): what a client's metadata URL says of who it is.

use std::net::Ipv6Addr;

use crate::policy::condition::Truth;
use crate::policy::document::{Entry, Report, no_pattern};

/// Equal, or https URLs that differ only in the case of the host. Never a prefix.
pub(crate) fn is_same(entry: &str, client: &str) -> bool {
    entry == client || split(entry).is_some_and(|(host, rest)| split(client) == Some((host, rest)))
}

/// Is the client one of these? Unknown of a URL that could be one of theirs in another spelling.
pub(crate) fn among(list: &[String], client: &str) -> Truth {
    if list.iter().any(|entry| is_same(entry, client)) {
        return Truth::TRUE;
    }
    let is_doubtful = is_url(client) && !has_one_reading(client) && list.iter().any(|entry| is_url(entry));
    if is_doubtful { Truth::UNKNOWN } else { Truth::FALSE }
}

fn is_url(text: &str) -> bool {
    let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
    begins("https:") || begins("http:")
}

/// The host in lower case, and what follows.
fn split(text: &str) -> Option<(String, &str)> {
    let rest = text.strip_prefix("https://")?;
    let (host, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    (!host.contains('@')).then(|| (host.to_ascii_lowercase(), rest))
}

fn is_plain(path: &str) -> bool {
    let is_visible = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    is_visible && !path.contains('#') && !path.split('/').any(|part| matches!(part, "." | ".."))
}

/// Is it an https URL that nobody could write in another way, but for the case of its host?
fn has_one_reading(text: &str) -> bool {
    split(text).is_some_and(|(host, rest)| {
        let is_name = |name: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            !name.is_empty() && !name.ends_with('.') && !name.contains("..") && name.bytes().all(is_plain)
        };
        // An address as it is written by default (RFC 5952).
        let is_address = |name: &str| {
            let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            inner.is_some_and(|inner| inner.parse().is_ok_and(|address: Ipv6Addr| address.to_string() == inner))
        };
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (&*host, None),
        };
        let is_port = |port: &str| {
            let is_digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
            is_digits && port != "443" && port.parse::<u16>().is_ok()
        };
        (is_name(name) || is_address(name)) && port.is_none_or(is_port) && is_plain(rest)
    })
}

/// P14: an https URL must have one reading, and no id is a pattern (P38).
pub(crate) fn check(text: &str, entry: &Entry<'_>, report: &mut Report) {
    no_pattern(text, entry, report);
    if is_url(text) && !has_one_reading(text) {
        let help = "write it plainly, without user information, default port, fragment and dot segments";
        entry.fault(report, "a URL that can be read in two ways", help);
    }
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
        if is_plain(path) { Origin::parse(authority) } else { None }
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

    /// As a policy writes it.
    pub(crate) fn text(&self) -> String {
        let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
        format!("https://{}{port}", self.host)
    }

    /// As a policy has it, without a path.
    pub(crate) fn read(entry: &Entry<'_>, report: &mut Report) -> Option<Origin> {
        let text = entry.text(report)?;
        if no_pattern(text, entry, report) {
            return None;
        }
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
    fn p14_ids_that_are_urls_are_parsed() {
        let list =
            ["https://agents.example.com/ci.json".to_owned(), "https://bare.example.com".to_owned(), "ci".to_owned()];
        for (client, truth) in [
            ("https://AGENTS.example.com/ci.json", Truth::TRUE),
            ("https://BARE.example.com", Truth::TRUE),
            ("ci", Truth::TRUE),
            ("CI", Truth::FALSE),
            ("https://agents.example.com/CI.json", Truth::FALSE),
            ("https://agents.example.com/ci.json?x", Truth::FALSE),
            ("https://agents.example.com:8443/ci.json", Truth::FALSE),
            ("urn:agent:ci", Truth::FALSE),
            ("spiffe://td/ns/ci", Truth::FALSE),
            ("https://agents.example.com:/ci.json", Truth::UNKNOWN),
            ("https://agents.example.com:0443/ci.json", Truth::UNKNOWN),
            ("https://agents.example.com./ci.json", Truth::UNKNOWN),
            ("https://x@agents.example.com/ci.json", Truth::UNKNOWN),
            ("https://agents.example.com:443/ci.json", Truth::UNKNOWN),
            ("HTTPS://agents.example.com/ci.json", Truth::UNKNOWN),
            ("http://agents.example.com/ci.json", Truth::UNKNOWN),
            ("https://agents.example.com/x/../ci.json", Truth::UNKNOWN),
            ("https://[2001:db8::1]:8443/ci.json", Truth::FALSE),
            ("https://my_agent.example.com/ci.json", Truth::FALSE),
            ("https://[2001:DB8:0::1]/ci.json", Truth::UNKNOWN),
            ("https://agents..example.com/ci.json", Truth::UNKNOWN),
            ("https://agents.example.com:99999/ci.json", Truth::UNKNOWN),
            ("https://agents.example.com/ci.json#x", Truth::UNKNOWN),
        ] {
            assert_eq!(among(&list, client), truth, "{client}");
        }
        assert_eq!(among(&["ci".to_owned()], "HTTPS://x@y/z"), Truth::FALSE, "no URL is asked for");
    }

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
