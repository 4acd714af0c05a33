//! `host`: URLs at named hosts (P17). Redirects and name resolution are not seen.

use std::net::Ipv4Addr;

use crate::policy::condition::Truth;

/// What a URL's host is compared with, in lower case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Host {
    /// This one.
    Is(String),
    /// One or more labels, then this, which begins with a dot.
    Below(String),
}

impl Host {
    /// `example.com`, `*.example.com` or `192.0.2.1`. `None`: no URL could be at it.
    pub(super) fn parse(text: &str) -> Option<Host> {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            None => is_host(&text).then_some(Host::Is(text)),
            Some(rest) => {
                let name = rest.strip_prefix('.')?;
                (is_host(name) && !is_numeric(name)).then(|| Host::Below(rest.to_owned()))
            }
        }
    }

    /// Unknown of whatever is not plainly an http or https URL: two readers might see two hosts.
    pub(super) fn among(hosts: &[Host], url: &str) -> Truth {
        let Some(host) = host_of(url) else { return Truth::UNKNOWN };
        let is_there = |entry: &Host| match entry {
            Host::Is(name) => *name == host,
            Host::Below(end) => !is_numeric(&host) && host.len() > end.len() && host.ends_with(end.as_str()),
        };
        hosts.iter().any(is_there).into()
    }
}

fn host_of(url: &str) -> Option<String> {
    if !url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'%')) {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "https" => "443",
        "http" => "80",
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.split_once(':') {
        None => authority,
        Some((host, said)) if said == port => host,
        Some(_) => return None,
    };
    is_host(host).then(|| host.to_ascii_lowercase())
}

/// Labels of letters, digits, `-` and `_`; or four decimals.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.split('.').all(is_label) && (!is_numeric(text) || text.parse::<Ipv4Addr>().is_ok())
}

/// Would a browser read it as an IPv4 address, in whatever form (WHATWG URL, ends in a number)?
fn is_numeric(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p17_host_is_that_of_a_url_that_has_one_reading() {
        let hosts: Vec<Host> =
            ["example.com", "*.Apps.example.com", "192.0.2.1"].iter().filter_map(|text| Host::parse(text)).collect();
        assert_eq!(hosts.len(), 3);
        for (url, truth) in [
            ("https://example.com", Truth::TRUE),
            ("HTTP://EXAMPLE.com/a?b#c", Truth::TRUE),
            ("https://example.com:443/", Truth::TRUE),
            ("http://example.com:80?x", Truth::TRUE),
            ("https://a.apps.example.com/", Truth::TRUE),
            ("https://a.b.apps.EXAMPLE.com/", Truth::TRUE),
            ("http://192.0.2.1/x", Truth::TRUE),
            ("https://example.com/@evil.example", Truth::TRUE),
            ("https://apps.example.com/", Truth::FALSE),
            ("https://xapps.example.com/", Truth::FALSE),
            ("https://example.com.evil.example/", Truth::FALSE),
            ("https://www.example.com/", Truth::FALSE),
            ("http://192.0.2.2/", Truth::FALSE),
            ("ftp://example.com/", Truth::UNKNOWN),
            ("example.com", Truth::UNKNOWN),
            ("//example.com/", Truth::UNKNOWN),
            ("https:example.com", Truth::UNKNOWN),
            ("https:/example.com", Truth::UNKNOWN),
            ("https:///example.com", Truth::UNKNOWN),
            ("https://user@example.com/", Truth::UNKNOWN),
            ("https://example.com:8443/", Truth::UNKNOWN),
            ("https://example.com:0443/", Truth::UNKNOWN),
            ("https://example.com:80/", Truth::UNKNOWN),
            ("https://example.com:/", Truth::UNKNOWN),
            ("https://example.com./", Truth::UNKNOWN),
            ("https://example..com/", Truth::UNKNOWN),
            ("https://.example.com/", Truth::UNKNOWN),
            ("https://ex%61mple.com/", Truth::UNKNOWN),
            ("https://example.com/%2e", Truth::UNKNOWN),
            ("https://exämple.com/", Truth::UNKNOWN),
            ("https://example.com\\@evil.example/", Truth::UNKNOWN),
            (" https://example.com/", Truth::UNKNOWN),
            ("https://example.com/a b", Truth::UNKNOWN),
            ("https://example.com/\t", Truth::UNKNOWN),
            ("https://[::1]/", Truth::UNKNOWN),
            ("http://3221225985/", Truth::UNKNOWN),
            ("http://192.0.513/", Truth::UNKNOWN),
            ("http://192.0.2.01/", Truth::UNKNOWN),
            ("http://0xc0.0.2.1/", Truth::UNKNOWN),
            ("http://0xc0000201/", Truth::UNKNOWN),
            ("http://a.0x/", Truth::UNKNOWN),
            ("http://1.apps.example.com/", Truth::TRUE),
            ("https://", Truth::UNKNOWN),
            ("", Truth::UNKNOWN),
        ] {
            assert_eq!(Host::among(&hosts, url), truth, "{url}");
        }
    }

    #[test]
    fn p17_an_entry_that_no_url_could_be_at_is_none() {
        for text in
            ["", "*", "*.", "*example.com", "a.*.example.com", "example.com:443", "https://example.com", "[::1]"]
                .into_iter()
                .chain(["example.com.", "exämple.com", "0x7f.1", "127.1", "*.0.0.1", "*.*.example.com", "a/b", "a@b"])
        {
            assert_eq!(Host::parse(text), None, "{text}");
        }
    }
}
