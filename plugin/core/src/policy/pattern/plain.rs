//! The texts that patterns are tried on: those that no reader takes for another one. Others are for exact rules alone.

/// P1: plain characters, and no segment that a reader of paths would drop or follow.
pub(crate) fn is_plain(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && has_plain_characters(name)
        && name.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

/// The characters of such names.
pub(crate) fn has_plain_characters(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b))
}

/// RFC 3986 2.3.
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)
}

/// P19: a URI that is spelled in the one way that all readers agree on. A query is for the pattern to judge.
pub(crate) fn is_plain_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    is_scheme(scheme) && has_plain_uri_characters(uri) && has_plain_path(scheme, rest)
}

/// RFC 3986 3.1. What has none is no URI, and each server has its own idea of what it is relative to.
fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// No control, blank or non-ASCII byte, no backslash, no fragment, and what is percent-encoded could not be written otherwise, nor
/// be a separator, a dot or a percent sign.
pub(super) fn has_plain_uri_characters(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else { return false };
                let decoded = u8::try_from(high * 16 + low).unwrap_or_default();
                if is_unreserved(decoded) || matches!(decoded, b'/' | b'\\' | 0 | b'%') {
                    return false;
                }
                at += 3;
            }
            b'\\' | b'#' => return false,
            byte if !byte.is_ascii_graphic() => return false,
            _ => at += 1,
        }
    }
    true
}

fn has_plain_path(scheme: &str, rest: &str) -> bool {
    let rest = rest.split('?').next().unwrap_or_default();
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or((Some(rest), ""), |at| {
            let (authority, path) = rest.split_at(at);
            (Some(authority), path)
        }),
        None => (None, rest),
    };
    if authority.is_some_and(|authority| authority.contains('@') || matches!(authority, "." | "..")) {
        return false;
    }
    // RFC 8089 2 and B: `file:/x` and `file://host/x` are other spellings of what `file:///x` is to most.
    if scheme.eq_ignore_ascii_case("file") && authority != Some("") {
        return false;
    }
    let path = path.strip_prefix('/').unwrap_or(path);
    // One final slash is no empty segment.
    let path = if path == "/" { path } else { path.strip_suffix('/').unwrap_or(path) };
    path.is_empty() || path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}
