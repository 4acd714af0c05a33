//! `WWW-Authenticate` of an upstream (RFC 9110 11.6.1), as far as one Bearer challenge can be read out of it.

/// What a Bearer challenge asks for (RFC 6750 3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenged {
    pub error: Option<String>,
    pub scopes: Vec<String>,
}

impl Challenged {
    /// The first Bearer challenge. What cannot be read, or says a parameter twice, says nothing.
    pub(crate) fn read(header: &str) -> Challenged {
        parameters(header).unwrap_or_default()
    }
}

fn parameters(header: &str) -> Option<Challenged> {
    let (_, mut rest) = split_scheme(header)?;
    let (mut error, mut scope) = (None, None);
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((name, tail)) = rest.split_once('=') else { break };
        let name = name.trim_end();
        // Another scheme begins.
        if name.contains([' ', '\t', ',']) {
            break;
        }
        let (value, after) = value(tail.trim_start())?;
        let place = match name.to_ascii_lowercase().as_str() {
            "error" => &mut error,
            "scope" => &mut scope,
            _ => &mut None,
        };
        if place.replace(value).is_some() {
            return None;
        }
        rest = after;
    }
    let scopes = scope.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
    Some(Challenged { error, scopes })
}

/// What stands behind `Bearer`, at the beginning or behind a comma.
fn split_scheme(header: &str) -> Option<(&str, &str)> {
    const SCHEME: &str = "bearer";
    let lower = header.to_ascii_lowercase();
    let at = lower.match_indices(SCHEME).map(|(at, _)| at).find(|at| {
        let (before, after) =
            (header.get(..*at).unwrap_or_default(), header.get(at + SCHEME.len()..).unwrap_or_default());
        let begins = before.trim_end().is_empty() || before.trim_end().ends_with(',');
        begins && (after.is_empty() || after.starts_with(' '))
    })?;
    Some((header.get(..at)?, header.get(at + SCHEME.len()..)?))
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return Some((value.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p27_one_bearer_challenge_is_read() {
        let read = |header: &str| {
            let Challenged { error, scopes } = Challenged::read(header);
            (error.unwrap_or_default(), scopes.join(" "))
        };
        let found = |error: &str, scopes: &str| (error.to_owned(), scopes.to_owned());
        for (header, expected) in [
            (r#"Bearer error="insufficient_scope", scope="a b""#, found("insufficient_scope", "a b")),
            (r#"bearer scope=a,error=invalid_token"#, found("invalid_token", "a")),
            (r#"Basic realm="Bearer x", Bearer realm="y", scope="a""#, found("", "a")),
            (r#"Bearer scope="a", DPoP scope="b""#, found("", "a")),
            (r#"Bearer scope="a", scope="b""#, found("", "")),
            (r#"Bearer scope="a"#, found("", "")),
            (r#"Bearer"#, found("", "")),
            (r#"Bearer scope="\"a\"""#, found("", "\"a\"")),
            (r#"Negotiate"#, found("", "")),
        ] {
            assert_eq!(read(header), expected, "{header}");
        }
    }
}
