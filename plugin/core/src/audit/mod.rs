//! The audit record of a request: one line of JSON, bounded, visible ASCII, no token in it.

use std::rc::Rc;

use crate::decide::Would;
use crate::ends::Ending;
use crate::jose::Compact;
use crate::line::Line;
use crate::reason::Reason;
use crate::text::{field, hex};
use crate::time::Millis;

/// What is known about a request when it is decided. Texts from outside are cut already.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub server: Option<Rc<str>>,
    pub protocol: Option<String>,
    pub method: Option<String>,
    /// Of what the frame asks for: a tool, a prompt, a resource, or a method as such.
    pub kind: Option<&'static str>,
    pub name: Option<String>,
    pub rule: Option<String>,
    pub caller: Caller,
    /// P23: an issuer was asked about the token.
    pub introspected: bool,
    pub elevated: Option<Elevated>,
    /// P26: it was called without a token.
    pub anonymous: bool,
    /// P24: which way `auto` took.
    pub step_up: Option<&'static str>,
    /// P15: of the rule, where there was one.
    pub is_shadow: Option<bool>,
    /// P7: the raises that applied, by position.
    pub raised: Vec<usize>,
    /// P36. Most policies have none.
    pub labels: Option<Box<Labels>>,
    /// P31: tools of a list that are not what they were when they were pinned.
    pub changed: Vec<String>,
    /// What the token service said when it gave no token.
    pub service_error: Option<String>,
    /// `x-request-id`, as the caller or the proxy claims it.
    pub claimed_request_id: Option<String>,
}

/// What is said of it beside the decision (P36).
#[derive(Debug, Default)]
pub(crate) struct Labels {
    pub environment: Option<String>,
    pub data_class: Option<String>,
    pub purpose: Option<String>,
    /// What the caller says that it is about.
    pub declared_task: Option<String>,
}

/// Who asks.
#[derive(Debug, Default)]
pub(crate) enum Caller {
    #[default]
    Unknown,
    /// Somebody with this token, which nobody has vouched for.
    Stranger(Compact),
    /// The members of the record that name it: the same for every call with one token.
    Verified(Rc<str>),
}

impl Caller {
    /// Anybody can cause what happens before authentication.
    pub(crate) fn is_stranger(&self) -> bool {
        !matches!(self, Caller::Verified(_))
    }
}

/// The token obtained for one call, as the record names it.
#[derive(Debug)]
pub(crate) struct Elevated {
    pub audience: String,
    pub scopes: Vec<Rc<str>>,
    /// First 16 hexadecimal digits of its SHA-256.
    pub token: String,
    pub token_id: Option<String>,
    /// Seconds it lives.
    pub expires_in: i64,
    /// Milliseconds it took to obtain.
    pub took: u64,
}

/// The record.
#[derive(Debug)]
pub(crate) struct Audit<'a> {
    /// Our own random id; also in the answer's `error.data`.
    pub id: &'a str,
    pub ending: Ending,
    pub reason: Reason,
    pub status: Option<u16>,
    pub mode: &'a str,
    /// In shadow mode: what enforcement would have answered.
    pub would: Option<&'a Would>,
    pub missing: &'a [String],
    pub policy: &'a str,
    pub facts: &'a Facts,
    /// Records left out before this one, in the same second and for the same reason.
    pub suppressed: u64,
}

impl Audit<'_> {
    /// One line. What is not known, or does not apply, is left out.
    pub(crate) fn to_json(&self) -> String {
        let mut line = Line::new();
        line.plain("id", self.id);
        line.plain("verdict", self.ending.name());
        line.plain("reason", self.reason.name());
        status(&mut line, self.status);
        line.plain("mode", self.mode);
        if let Some(would) = self.would {
            line.object("would", |line| {
                line.text("verdict", would.ending.name());
                line.text("reason", would.reason.name());
                status(line, would.status);
            });
        }
        if !self.missing.is_empty() {
            line.texts("missing", self.missing.iter().map(String::as_str));
        }
        line.plain("policy", self.policy);
        self.facts.write(&mut line);
        if self.suppressed > 0 {
            line.number("suppressed", self.suppressed);
        }
        line.finish()
    }
}

/// More of them are not recorded.
const MOST_RAISED: usize = 32;
/// The same.
const MOST_CHANGED: usize = 32;

impl Facts {
    fn write(&self, line: &mut Line) {
        line.text_if("server", self.server.as_deref());
        line.text_if("protocol", self.protocol.as_deref());
        line.text_if("method", self.method.as_deref());
        if let Some(kind) = self.kind {
            line.plain("kind", kind);
        }
        line.text_if("name", self.name.as_deref());
        line.text_if("rule", self.rule.as_deref());
        match &self.caller {
            Caller::Unknown => {}
            Caller::Stranger(token) => {
                line.text("token", &hex(token.digest(), 8));
                if self.introspected {
                    line.put(r#""introspected":true"#);
                }
            }
            Caller::Verified(members) => line.put(members),
        }
        if let Some(elevated) = &self.elevated {
            line.object("elevated", |line| elevated.write(line));
        }
        if self.anonymous {
            line.put(r#""anonymous":true"#);
        }
        line.text_if("step_up", self.step_up);
        if !self.raised.is_empty() {
            let list = self.raised.iter().take(MOST_RAISED).map(ToString::to_string).collect::<Vec<_>>().join(",");
            line.put(&format!(r#""raised":[{list}]"#));
        }
        if !self.changed.is_empty() {
            let changed: Vec<String> = self.changed.iter().take(MOST_CHANGED).map(|name| field(name)).collect();
            line.texts("tool_changed", changed.iter().map(String::as_str));
        }
        if let Some(labels) = &self.labels {
            line.text_if("environment", labels.environment.as_deref());
            line.text_if("data_class", labels.data_class.as_deref());
            line.text_if("purpose", labels.purpose.as_deref());
            line.text_if("declared_task", labels.declared_task.as_deref());
        }
        line.text_if("service_error", self.service_error.as_deref());
        line.text_if("claimed_request_id", self.claimed_request_id.as_deref());
    }
}

impl Elevated {
    fn write(&self, line: &mut Line) {
        line.text("audience", &self.audience);
        line.texts("scopes", self.scopes.iter().map(|scope| &**scope));
        line.text("token", &self.token);
        line.text_if("token_id", self.token_id.as_deref());
        line.number("expires_in", self.expires_in);
        line.number("took", self.took);
    }
}

fn status(line: &mut Line, status: Option<u16>) {
    if let Some(status) = status {
        line.number("status", status);
    }
}

/// Strangers must not be able to fill the log: ten records a second for each reason before authentication.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    windows: Vec<(Reason, Window)>,
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
        let place = self.windows.iter().position(|(known, _)| *known == reason).unwrap_or(self.windows.len());
        if place == self.windows.len() {
            self.windows.push((reason, Window::default()));
        }
        let (_, window) = self.windows.get_mut(place)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
