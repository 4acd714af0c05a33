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
use crate::token::{Inspected, record};

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

/// The questions under way, by digest, and how many strangers' there were in this second.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// True: of a token that was active before.
    under_way: Vec<([u8; 32], bool)>,
    second: u64,
    strange: u32,
}

impl Questions {
    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(crate) fn is_asked(&self, digest: &[u8; 32]) -> bool {
        self.under_way.iter().any(|(asked, _)| asked == digest)
    }

    /// May it be asked? Tokens that were never seen active have a rate, and half of the places.
    pub(crate) fn admit(&mut self, digest: [u8; 32], is_known: bool, rate: u32, places: usize, now: Millis) -> bool {
        if self.second != now.0 / 1000 {
            (self.second, self.strange) = (now.0 / 1000, 0);
        }
        let strange = self.under_way.iter().filter(|(_, known)| !known).count();
        let has_room = self.under_way.len() < places && (is_known || strange < places.div_ceil(2));
        if !has_room || (!is_known && self.strange >= rate) {
            return false;
        }
        self.strange += u32::from(!is_known);
        self.under_way.push((digest, is_known));
        true
    }

    pub(crate) fn ended(&mut self, digest: &[u8; 32]) {
        self.under_way.retain(|(asked, _)| asked != digest);
    }
}
