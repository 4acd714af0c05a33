//! `x-forwarded-client-cert`, as Envoy writes it: what a peer says of its own client (P40).

/// The one `URI` of the last element. `None`: there is none, there are two, or it cannot be read.
pub(crate) fn last_uri(header: &str) -> Option<String> {
    let mut uri = None;
    let mut rest = header;
    loop {
        let (key, value, after) = pair(rest)?;
        if key.eq_ignore_ascii_case("uri") && uri.replace(value).is_some() {
            return None;
        }
        let mut tail = after.chars();
        match tail.next() {
            None => return uri.filter(|uri| !uri.is_empty()),
            Some(';') => {}
            // Another element: what this one said is about somebody further away.
            Some(',') => uri = None,
            Some(_) => return None,
        }
        rest = tail.as_str();
    }
}

/// `key=value`, of which the value may stand in quotes, and what follows.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = text.split_once('=')?;
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, after) = rest.split_at(rest.find([';', ',']).unwrap_or(rest.len()));
        return (!value.contains('"')).then(|| (key, value.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((key, value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p40_the_last_element_counts() {
        let sa = Some("spiffe://a/sa".to_owned());
        for (header, expected) in [
            ("By=spiffe://a/gw;Hash=abc;URI=spiffe://a/sa", sa.clone()),
            ("URI=spiffe://evil/x,By=spiffe://a/gw;Subject=\"CN=a,OU=\\\"b\\\";c\";URI=spiffe://a/sa", sa.clone()),
            ("URI=spiffe://a/sa,Hash=abc", None),
            ("URI=spiffe://a/sa;URI=spiffe://a/sb", None),
            ("Subject=\";URI=spiffe://a/sa", None),
            ("Hash=a\";URI=spiffe://a/sa\"", None),
            ("URI=", None),
            ("URI=;URI=spiffe://a/sa", None),
            ("URI=spiffe://a/sa;URI=", None),
            ("", None),
            (",", None),
            ("URI=spiffe://a/sa,", None),
            ("URI=\"spiffe://a/sa\"x", None),
            (" URI=spiffe://a/sa", None),
        ] {
            assert_eq!(last_uri(header), expected, "{header}");
        }
    }
}
