//! URLs, read strictly: what two readers might read differently is none.

/// An absolute `http` or `https` URL, split where a decision needs it split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub https: bool,
    /// In lower case, the port included.
    pub authority: String,
    /// Starts with a slash; may be empty.
    pub path: String,
    /// Path and query.
    pub target: String,
}

impl Url {
    /// Strict: what two readers might read differently is not a URL here.
    pub(crate) fn parse(text: &str) -> Result<Url, &'static str> {
        let authority =
            text.split_once("://").map(|(scheme, rest)| (scheme, rest.split(['/', '?']).next().unwrap_or_default()));
        let has_upper = |text: &str| text.bytes().any(|b| b.is_ascii_uppercase());
        if authority.is_some_and(|(scheme, host)| has_upper(scheme) || has_upper(host)) {
            return Err("a scheme or host in upper case");
        }
        let url = Url::parse_identifier(text)?;
        if has_any(&url.path, &["%2f", "%5c"]) {
            return Err("dot segments, empty segments or encoded separators in the path");
        }
        Ok(url)
    }

    /// P42: in upper case and with encoded separators in the path, too. Who compares such a path does so byte for byte.
    pub(crate) fn parse_identifier(text: &str) -> Result<Url, &'static str> {
        if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['\\', '"', '<', '>', '^', '`', '{', '|', '}'])
        {
            return Err("a character that does not belong into a URL");
        }
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err("not an http or https URL"),
        };
        if rest.contains('#') {
            return Err("a fragment");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err("user information");
        }
        if authority.is_empty() || authority.contains('%') {
            return Err("a host that is empty or encoded");
        }
        let path = target.split('?').next().unwrap_or_default();
        if path.split('/').skip(1).any(|segment| matches!(segment, "." | ".."))
            || path.contains("//")
            || has_any(path, &["%2e", "%00"])
        {
            return Err("dot segments, empty segments or encoded separators in the path");
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Url { https, authority: authority.to_ascii_lowercase(), path: path.to_owned(), target })
    }

    /// The authority without the port that the scheme implies.
    pub(crate) fn host(&self) -> &str {
        let default = if self.https { ":443" } else { ":80" };
        self.authority.strip_suffix(default).unwrap_or(&self.authority)
    }

    /// Never leaves the machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = match self.authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => self.authority.split(':').next().unwrap_or_default(),
        };
        matches!(host, "127.0.0.1" | "localhost" | "::1")
    }

    /// RFC 6454 6.2.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.host())
    }
}

fn has_any(path: &str, escapes: &[&str]) -> bool {
    path.contains('%') && escapes.iter().any(|escape| path.to_ascii_lowercase().contains(escape))
}
