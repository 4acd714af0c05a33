//! Dates of tokens, which may have a fraction (RFC 7519 2).

use crate::decimal::after_string;

/// The seconds of a date with a fraction (RFC 7519 2) that stands at the top of these bytes, which were read before: without the
/// fraction, and never as a double. `None`: it has an exponent, is below zero, or its name is written with escapes.
pub(crate) fn whole(bytes: &[u8], name: &str) -> Option<i64> {
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let mut rest = std::str::from_utf8(bytes).ok()?;
    let mut depth = 0;
    while let Some(at) = rest.find(['"', '{', '[', '}', ']']) {
        let (_, tail) = rest.split_at(at);
        let inside = tail.get(1..)?;
        match tail.as_bytes().first()? {
            b'"' => {
                rest = after_string(inside);
                let key = inside.strip_suffix(rest)?.strip_suffix('"')?;
                let value = rest.trim_start().strip_prefix(':').map(str::trim_start);
                if let Some(value) = value.filter(|_| depth == 1 && key == name) {
                    let (number, _) = value.split_at(value.find(|c| !is_number(c))?);
                    let (whole, fraction) = number.split_once('.')?;
                    let is_plain = [whole, fraction].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
                    return if is_plain { whole.parse().ok() } else { None };
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            _ => depth -= 1,
        }
        rest = inside;
    }
    None
}
