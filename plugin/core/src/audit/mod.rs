//! The audit record of a request: one line of JSON, bounded, visible ASCII, no token in it.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::reason::Reason;
use crate::time::Millis;

/// What is known about a request when it is decided.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// First 16 hexadecimal digits of the token's SHA-256: to join, never to identify alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elevated: Option<Elevated>,
    /// `x-request-id`, as the caller or the proxy claims it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_request_id: Option<String>,
}

/// The token obtained for one call, as the record names it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Elevated {
    pub audience: String,
    pub scopes: Vec<String>,
    /// First 16 hexadecimal digits of its SHA-256.
    pub token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// Seconds it lives.
    pub expires_in: i64,
    /// Milliseconds it took to obtain.
    pub took: u64,
}

/// The record.
#[derive(Debug, Serialize)]
pub(crate) struct Audit<'a> {
    /// Our own random id; also in the answer's `error.data`.
    pub id: &'a str,
    pub verdict: &'a str,
    pub reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub mode: &'a str,
    /// In shadow mode: what enforcement would have answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Would<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub missing: &'a [String],
    pub policy: &'a str,
    #[serde(flatten)]
    pub facts: Facts,
    /// Records left out before this one, in the same second and for the same reason.
    #[serde(skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

/// What enforcement would have answered.
#[derive(Debug, Serialize)]
pub(crate) struct Would<'a> {
    pub verdict: &'a str,
    pub reason: &'a str,
    /// Unknown where the token service would have had a say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl Audit<'_> {
    /// The JSON text, with everything outside visible ASCII escaped: a record is printed raw into access logs, where a line
    /// separator or a direction mark would let a caller forge or hide an entry.
    pub(crate) fn to_json(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        // serde_json has escaped what is below ` `.
        if json.is_ascii() && !json.contains('\u{7f}') {
            return json;
        }
        // Outside of strings, JSON has nothing else.
        let mut text = String::with_capacity(json.len() * 2);
        for c in json.chars() {
            if matches!(c, ' '..='~') {
                text.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
        text
    }
}

/// Strangers must not be able to fill the log: ten records a second for each reason before authentication.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    windows: HashMap<Reason, Window>,
}

#[derive(Debug, Default)]
struct Window {
    second: u64,
    records: u64,
    suppressed: u64,
}

impl Limiter {
    const PER_SECOND: u64 = 10;

    /// `Some` when a record may be written: with the number left out before it.
    pub(crate) fn admit(&mut self, reason: Reason, stranger: bool, now: Millis) -> Option<u64> {
        if !stranger {
            return Some(0);
        }
        let window = self.windows.entry(reason).or_default();
        if window.second != now.0 / 1000 {
            *window = Window { second: now.0 / 1000, records: 0, suppressed: window.suppressed };
        }
        if window.records >= Self::PER_SECOND {
            window.suppressed += 1;
            return None;
        }
        window.records += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

// The reference is serde's wish.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_of_visible_ascii() {
        for name in ["get_file", "x\n\u{2028}\u{202e}\"é😀", "\u{7f}", "\t\u{1b}[2J", "\\u0041"] {
            let audit = Audit {
                id: "1",
                verdict: "deny",
                reason: "denied",
                status: Some(403),
                mode: "enforce",
                would: None,
                missing: &[],
                policy: "abc",
                facts: Facts { name: Some(name.to_owned()), ..Facts::default() },
                suppressed: 0,
            };
            let json = audit.to_json();
            assert!(json.bytes().all(|b| (b' '..=b'~').contains(&b)), "{json}");
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(value["name"], name);
        }
    }

    #[test]
    fn records_of_strangers_are_limited_and_counted() {
        let mut limiter = Limiter::default();
        let admitted = (0..25).filter(|_| limiter.admit(Reason::TokenMissing, true, Millis(5_000)).is_some()).count();
        assert_eq!(admitted, 10);
        assert_eq!(limiter.admit(Reason::TokenExpired, true, Millis(5_000)), Some(0));
        assert_eq!(limiter.admit(Reason::TokenMissing, true, Millis(6_000)), Some(15));
        assert!((0..50).all(|_| limiter.admit(Reason::Denied, false, Millis(5_000)) == Some(0)));
    }
}
