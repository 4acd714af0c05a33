//! Where a server answers, and to whom: `resource`, `paths`, `origins`, and the headers that it must not see.

use crate::http::target_has_token;
use crate::policy::audience::Audiences;
use crate::policy::document::{self, Entry, Report, Url};
use crate::policy::place::{Metadata, Place, WELL_KNOWN, without_slash};
use crate::text::is_escaped_well;

/// What the metadata documents of all places of a server have in common (RFC 9728 2).
pub(super) struct Described<'d> {
    pub authorization_servers: Vec<&'d str>,
    pub scopes: &'d [String],
}

/// The identifier of the server, as written and as it is understood.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub text: String,
    pub url: Url,
}

impl Resource {
    /// P42: any absolute http or https URI without a fragment, as far as a proxy delivers it.
    pub(super) fn read(entry: &Entry<'_>, report: &mut Report) -> Option<Resource> {
        let text = entry.text(report)?;
        if document::no_pattern(text, entry, report) {
            return None;
        }
        match Url::parse_identifier(text) {
            Ok(_) if !is_escaped_well(text) => {
                entry.fault(
                    report,
                    "not a resource identifier: a `%` that encodes nothing",
                    "RFC 3986 2.1: write `%25`",
                );
                None
            }
            Ok(url) if target_has_token(&url.target) => {
                entry.fault(
                    report,
                    "a token in the query",
                    "requests with one are refused (RFC 6750 2.3): take it out",
                );
                None
            }
            Ok(url) => {
                if !url.https && !url.is_loopback() {
                    report.warn(&entry.path, "a resource without TLS", "clients send their tokens in the clear");
                }
                Some(Resource { text: text.to_owned(), url })
            }
            Err(problem) => {
                entry.fault(
                    report,
                    format!("not a resource identifier: {problem}"),
                    "write the URL that clients use, e.g. https://mcp.example.com/mcp (RFC 8707 2)",
                );
                None
            }
        }
    }

    /// The places: that of the resource first, then its aliases (P29).
    pub(super) fn places(&self, aliases: Vec<String>, described: &Described<'_>) -> Vec<Place> {
        let (path, query) = self.url.target.split_once('?').map_or((&*self.url.target, None), |(p, q)| (p, Some(q)));
        let all: Vec<String> = std::iter::once(path.to_owned()).chain(aliases).collect();
        let place = |at: usize, path: &String| {
            let query = query.filter(|_| at == 0).map(str::to_owned);
            let has_twin = all.iter().any(|other| other != path && without_slash(other) == without_slash(path));
            // P42: what is encoded, or has a query, is nobody's to normalize.
            let is_exact = has_twin || query.is_some() || path.contains('%');
            let resource = if at == 0 { self.text.clone() } else { format!("{}{path}", self.origin()) };
            let mut audiences = Audiences::default();
            if at > 0 {
                audiences.add(&resource);
            }
            let metadata = self.metadata(&resource, path, query.as_deref(), is_exact, described);
            Place { path: path.clone(), query, is_exact, audiences, metadata }
        };
        all.iter().enumerate().map(|(at, path)| place(at, path)).collect()
    }

    /// Scheme, host and port, as written.
    fn origin(&self) -> String {
        format!("{}://{}", if self.url.https { "https" } else { "http" }, self.url.authority)
    }

    /// RFC 9728 3.1: the well-known part goes between host and path, without the path's final slash, unless that makes the
    /// difference.
    fn metadata(
        &self,
        resource: &str,
        path: &str,
        query: Option<&str>,
        is_exact: bool,
        described: &Described<'_>,
    ) -> Metadata {
        let path = match path {
            "/" => "",
            path if is_exact => path,
            path => without_slash(path),
        };
        let path = format!("{WELL_KNOWN}{path}");
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("{}{path}{query}", self.origin());
        let mut document = serde_json::json!({ "resource": resource, "bearer_methods_supported": ["header"] });
        let Described { authorization_servers, scopes } = described;
        // RFC 9728 3.2: members without values are left out.
        for (name, values) in [
            ("authorization_servers", serde_json::json!(authorization_servers)),
            ("scopes_supported", (*scopes).into()),
        ] {
            if let (true, Some(members)) =
                (values.as_array().is_some_and(|values| !values.is_empty()), document.as_object_mut())
            {
                members.insert(name.to_owned(), values);
            }
        }
        Metadata { url, path, document: document.to_string().into_bytes().into() }
    }
}

pub(super) fn paths(entry: &Entry<'_>, report: &mut Report) -> Option<Vec<String>> {
    let mut paths = Vec::new();
    for item in entry.some_list(report)? {
        let Some(text) = item.text(report) else { continue };
        if document::no_pattern(text, &item, report) {
            continue;
        }
        match Url::parse(&format!("https://host{text}")) {
            Ok(url) if text.starts_with('/') && url.path == text => paths.push(url.path),
            _ => {
                item.fault(report, "not a plain path", "write it as it arrives, beginning with a slash, without query")
            }
        }
    }
    Some(paths)
}

pub(super) fn origins(entry: &Entry<'_>, report: &mut Report) -> Option<Vec<String>> {
    let mut origins = Vec::new();
    for item in entry.some_list(report)? {
        let Some(text) = item.text(report) else { continue };
        if document::no_pattern(text, &item, report) {
            // Said.
        } else if is_origin(text) {
            origins.push(text.to_owned());
        } else {
            item.fault(report, "not an origin", "write scheme and host only, e.g. https://app.example.com");
        }
    }
    Some(origins)
}

/// RFC 6454 6.2, as browsers write it. `null` names no scheme: every sandboxed frame of every page is that.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    if matches!(scheme, "http" | "https") {
        return Url::parse(text).is_ok_and(|url| url.path.is_empty() && url.origin() == text);
    }
    // RFC 3986 3.1; what stands behind it is opaque to everybody but that browser (WHATWG URL), and compared byte for byte.
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._~:[]".contains(&b);
    is_scheme && !host.is_empty() && host.bytes().all(is_host)
}

/// P41: request headers that never reach the server, in lower case.
pub(super) fn headers(entry: &Entry<'_>, report: &mut Report) -> Option<Vec<String>> {
    let mut headers = Vec::new();
    for item in entry.some_list(report)? {
        let Some(text) = item.text(report) else { continue };
        let name = text.to_ascii_lowercase();
        // RFC 9110 5.6.2.
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&b);
        if text.contains('*') {
            document::no_pattern(text, &item, report);
        } else if name.starts_with(':') {
            item.fault(report, "a pseudo header", "they are the request line: name headers only");
        } else if name.is_empty() || !name.bytes().all(is_token) {
            item.fault(report, "not the name of a header", "write its name only, e.g. x-api-key");
        } else if matches!(name.as_str(), "authorization" | "host")
            || name.starts_with("content-")
            || name.starts_with("mcp-")
        {
            let help = "the filter, the body or the protocol needs it; name other credentials, e.g. x-api-key";
            item.fault(report, "a header that the server must see as it was judged", help);
        } else if headers.contains(&name) {
            item.fault(report, "named twice", "keep one of them");
        } else {
            headers.push(name);
        }
    }
    Some(headers)
}
