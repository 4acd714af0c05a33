//! What `aud` of a callers' token may say (P22).

use std::borrow::Cow;

/// The values that mean one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Audiences(Vec<Audience>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Audience {
    /// As it is compared.
    key: String,
    is_url: bool,
}

/// How a token says that it is for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// By an http or https URL.
    Url,
    /// By a name. A client's id may be one, and an ID token has exactly that in `aud`.
    Name,
}

impl Audiences {
    pub(crate) fn add(&mut self, text: &str) {
        self.0.push(Audience { key: key(text).into_owned(), is_url: is_url(text) });
    }

    /// As they are compared, for load errors.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|audience| audience.key.as_str())
    }

    pub(crate) fn has_names(&self) -> bool {
        self.0.iter().any(|audience| !audience.is_url)
    }

    /// Is one of the values ours? A URL before a name.
    pub(crate) fn meet(&self, values: &[String]) -> Option<Named> {
        let mut named = None;
        for value in values {
            // Most clients write it as everybody does.
            let plain = self.0.iter().find(|own| own.key == *value);
            match plain.or_else(|| self.equivalent(value)) {
                Some(Audience { is_url: true, .. }) => return Some(Named::Url),
                Some(_) => named = Some(Named::Name),
                None => {}
            }
        }
        named
    }

    fn equivalent(&self, value: &str) -> Option<&Audience> {
        if self.0.is_empty() {
            return None;
        }
        let value = key(value);
        self.0.iter().find(|own| own.key == value)
    }
}

/// Do both mean the same?
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    key(one) == key(other)
}

/// RFC 3986 6.2, and of it exactly this: scheme and host without case, the default port, an empty path as `/`.
fn key(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = split(text) else { return Cow::Borrowed(text) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let default = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let host = authority.strip_suffix(default).unwrap_or(authority);
    let is_plain = !scheme.bytes().chain(host.bytes()).any(|byte| byte.is_ascii_uppercase());
    if is_plain && host.len() == authority.len() && path.starts_with('/') || authority.contains('@') {
        return Cow::Borrowed(text);
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Cow::Owned(format!("{}://{}{slash}{path}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase()))
}

fn split(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    (scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")).then_some((scheme, rest))
}

pub(crate) fn is_url(text: &str) -> bool {
    split(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p22_exactly_these_equivalences() {
        let same = [
            ("https://mcp.example.com", "https://mcp.example.com/"),
            ("https://mcp.example.com/mcp", "HTTPS://MCP.Example.com:443/mcp"),
            ("http://mcp.example.com:80", "http://mcp.example.com/"),
            ("https://mcp.example.com?a=1", "https://mcp.example.com/?a=1"),
        ];
        for (a, b) in same {
            assert_eq!(key(a), key(b), "{a} {b}");
        }
        let different = [
            ("https://mcp.example.com/mcp", "https://mcp.example.com/mcp/"),
            ("https://mcp.example.com/mcp", "https://mcp.example.com/MCP"),
            ("https://mcp.example.com/a", "https://mcp.example.com/%61"),
            ("https://mcp.example.com/a", "https://mcp.example.com/b/../a"),
            ("https://mcp.example.com", "http://mcp.example.com"),
            ("https://mcp.example.com", "https://mcp.example.com:80"),
            ("https://mcp.example.com", "https://mcp.example.com:"),
            ("https://mcp.example.com", "https://mcp.example.com."),
            ("https://u@mcp.example.com", "https://u@MCP.example.com"),
            ("api://Git", "api://git"),
        ];
        for (a, b) in different {
            assert_ne!(key(a), key(b), "{a} {b}");
        }
    }

    #[test]
    fn p22_a_url_goes_before_a_name() {
        let mut audiences = Audiences::default();
        ["https://mcp.example.com/mcp", "api://git"].into_iter().for_each(|text| audiences.add(text));
        let meet =
            |values: &[&str]| audiences.meet(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
        assert_eq!(meet(&["api://git", "https://MCP.example.com/mcp"]), Some(Named::Url));
        assert_eq!(meet(&["x", "api://git"]), Some(Named::Name));
        assert_eq!(meet(&["x"]), None);
    }
}
