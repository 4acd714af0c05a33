//! Asking an issuer about a token (RFC 7662), and how many such questions there may be (P23).

use std::rc::Rc;

use super::exchange::post;
use crate::http::{Call, CallFault, Reply};
use crate::jose::{Claims, Compact};
use crate::json::{self, Value};
use crate::obtain::Stamp;
use crate::policy::{Introspection, Issuer};
use crate::reason::Reason;
use crate::time::Millis;
use crate::token::{Asked, Inspected, record};

/// Longer answers are none.
const MAX_ANSWER: usize = 64 * 1024;

/// RFC 7662 2.1. `timeout`: milliseconds.
pub(crate) fn question(asked: &Introspection, token: &Compact, timeout: u64, stamp: &Stamp<'_>) -> Call {
    let form = vec![("token", token.text()), ("token_type_hint", "access_token")];
    post(asked.client.as_ref(), &asked.endpoint, form, &[], timeout, stamp)
}

/// RFC 7662 2.2: what it says of the token; `None` that it is not active. An answer that is none sends nobody to log in.
pub(crate) fn opinion(
    at: usize,
    issuer: &Issuer,
    token: &Compact,
    reply: &Result<Reply<'_>, CallFault>,
    now: Millis,
) -> Result<Option<Inspected>, Reason> {
    let unavailable = Reason::IntrospectionUnavailable;
    let body = match reply {
        Ok(Reply { status: 200, body }) if body.len() <= MAX_ANSWER => *body,
        _ => return Err(unavailable),
    };
    let answer = json::read(body).map_err(|_| unavailable)?;
    match answer.get("active") {
        Some(Value::Bool(false)) => return Ok(None),
        Some(Value::Bool(true)) => {}
        _ => return Err(unavailable),
    }
    let cache = issuer.introspection.as_ref().map_or(0, |asked| asked.cache);
    let until = now.plus_seconds(cache.max(1)).seconds();
    let claims = Claims::introspected(&answer, body, &issuer.dialect, &issuer.name, until)?;
    let record = record(token, &claims, true);
    Ok(Some(Inspected { issuer: at, claims: Rc::new(claims), record }))
}

/// The questions under way, and how many strangers' there were in this second.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// True: of a token that was active before.
    under_way: Vec<(Asked, bool)>,
    second: u64,
    /// By issuer.
    strange: Vec<(usize, u32)>,
}

impl Questions {
    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(crate) fn is_asked(&self, asked: &Asked) -> bool {
        self.under_way.iter().any(|(other, _)| other == asked)
    }

    /// May it be asked? Tokens that were never seen active have a rate, and half of the places.
    pub(crate) fn admit(&mut self, asked: Asked, is_known: bool, rate: u32, places: usize, now: Millis) -> bool {
        if self.second != now.0 / 1000 {
            self.second = now.0 / 1000;
            self.strange.clear();
        }
        let strange = self.under_way.iter().filter(|(_, known)| !known).count();
        let has_room = self.under_way.len() < places && (is_known || strange < (places / 2).max(1));
        if !has_room || (!is_known && !self.is_within(asked.0, rate)) {
            return false;
        }
        self.under_way.push((asked, is_known));
        true
    }

    /// One more of a stranger, in this second, of this issuer.
    fn is_within(&mut self, issuer: usize, rate: u32) -> bool {
        let at = self.strange.iter().position(|(other, _)| *other == issuer).unwrap_or_else(|| {
            self.strange.push((issuer, 0));
            self.strange.len() - 1
        });
        let Some((_, count)) = self.strange.get_mut(at).filter(|(_, count)| *count < rate) else { return false };
        *count += 1;
        true
    }

    pub(crate) fn ended(&mut self, asked: &Asked) {
        self.under_way.retain(|(other, _)| other != asked);
    }
}
