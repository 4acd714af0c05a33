//! Small notations of texts: hexadecimal, percent encoding, cutting.

/// RFC 6749 3.3: `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`.
pub fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

/// Sorted, each once. In one place for the size of the module: each place that sorts has the whole of it.
#[inline(never)]
pub(crate) fn distinct(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// The first `most` bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8], most: usize) -> String {
    base16ct::lower::encode_string(bytes.get(..most).unwrap_or(bytes))
}

/// A field of a record: at most 256 bytes of what came from outside.
pub(crate) fn field(text: &str) -> String {
    const MOST: usize = 256;
    if text.len() <= MOST {
        return text.to_owned();
    }
    let end = (0..=MOST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", text.get(..end).unwrap_or_default())
}

/// Percent-encoded but for the unreserved characters of RFC 3986 2.3, as forms and credentials need it.
pub(crate) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex(&[byte], 1).to_ascii_uppercase());
        }
        out
    })
}

/// RFC 3986 2.1: two hexadecimal digits follow each percent sign.
pub(crate) fn is_escaped_well(text: &str) -> bool {
    let digits = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    text.split('%').skip(1).all(digits)
}

/// The bytes behind percent encoding; what is no escape stays as it is.
pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = if byte == b'%' { tail.get(..2).and_then(hex_pair) } else { None };
        decoded.push(escape.unwrap_or(byte));
        rest = if escape.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    decoded
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|text| !text.starts_with('+'))?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_fields_are_cut_between_characters() {
        let cut = field(&"é".repeat(200));
        assert!(cut.len() <= 259 && cut.ends_with("..."));
    }
}
