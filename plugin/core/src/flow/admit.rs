//! What the head alone can settle.

use std::rc::Rc;

use super::{Claimed, Flow, Leg, Next, State, Turn};
use crate::answer;
use crate::audit::Caller;
use crate::http::{Head, Method, RequestHead};
use crate::jose::Compact;
use crate::mcp::{MODERN, Mirror};
use crate::policy::Address;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::text::field;

impl Flow {
    pub(super) fn admit(
        &mut self,
        head: &Head<'_>,
        host: &RequestHead<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Next, Reason> {
        self.facts.claimed_request_id = head.request_id.map(field);
        let policy = turn.policy;
        let address = Address { authority: head.authority, path: head.path, query: head.query };
        if matches!(head.method, Method::Get | Method::Head)
            && let Some((server, place)) = policy.select_metadata(host.server, address)
        {
            self.facts.server = Some(Rc::clone(&server.name));
            return Ok(Next::Answer(answer::metadata(place, head.method == Method::Head), Reason::Metadata, None));
        }
        let spot = policy.select_server(host.server, address);
        let at = spot.as_ref().ok().and_then(|spot| policy.at(*spot));
        self.facts.server = at.map(|(server, _)| Rc::clone(&server.name));
        if head.upgrade {
            return Err(Reason::UpgradeNotAllowed);
        }
        // It has no path that could belong to a server (RFC 9110 9.3.6).
        if head.method == Method::Connect {
            return Err(Reason::MethodNotAllowed);
        }
        self.spot = Some(spot?);
        let (server, _) = at.ok_or(Reason::Internal)?;
        self.facts.protocol = head.protocol_version.map(field);
        if head.method_override {
            return Err(Reason::MethodOverride);
        }
        if head.path_override {
            return Err(Reason::PathOverride);
        }
        let mirror = Mirror {
            version: head.protocol_version.map(str::to_owned),
            method: head.mcp_method.map(str::to_owned),
            name: head.mcp_name.map(str::to_owned),
        };
        let leg = match head.method {
            Method::Post => Leg::Message(match message_fault(head, turn.policy.limits.request_body) {
                Some(reason) => Err(reason),
                None if host.end_of_stream => Err(Reason::JsonSyntax),
                None => Ok(mirror),
            }),
            // MCP 2026-07-28 has neither.
            Method::Get | Method::Delete if mirror.is_modern() => return Err(Reason::MethodNotAllowed),
            Method::Get | Method::Delete if head.announces_body() => return Err(Reason::BodyNotAllowed),
            // They name an operation, and there is no body it could agree with.
            Method::Get | Method::Delete if mirror.method.is_some() || mirror.name.is_some() => {
                return Err(Reason::HeaderMismatch);
            }
            Method::Get | Method::Delete if !mirror.has_known_version() => return Err(Reason::ProtocolVersion),
            // RFC 9113 8.1: an end that comes late is no body.
            Method::Get | Method::Delete => Leg::Stream { has_ended: host.end_of_stream },
            // Clients look for the challenge so (RFC 9110 9.3.2: as to a GET).
            Method::Head if head.presented().is_err() => Leg::Message(Err(Reason::MethodNotAllowed)),
            Method::Head | Method::Connect | Method::Other => return Err(Reason::MethodNotAllowed),
        };
        if head.has_token_in_query() {
            return Err(Reason::TokenInQuery);
        }
        // MCP, transports: a foreign Origin is refused on every connection.
        if head.origin.is_some_and(|origin| !server.origins.iter().any(|allowed| allowed == origin)) {
            return Err(Reason::OriginNotAllowed);
        }
        self.is_get = head.method == Method::Get;
        self.has_sessions = head.protocol_version != Some(MODERN);
        self.session = head.session_id.map(str::to_owned);
        self.last_event_id = head.last_event_id.filter(|_| head.method == Method::Get).map(str::to_owned);
        self.source = server.source(host.source, head.forwarded_cert);
        let trace = [("traceparent", head.traceparent()), ("x-request-id", head.request_id())];
        self.trace = trace.into_iter().filter_map(|(name, value)| Some((name, Secret::new(value?)))).collect();
        self.unwanted = head.unwanted.clone();
        for name in &server.remove_headers {
            if host.headers.iter().any(|(other, _)| *other == name.as_bytes()) {
                self.unwanted.take_out(name);
            }
        }
        // A login would bring a token that is taken out again.
        if head.authorization.is_none() && host.token_removed {
            return Err(Reason::TokenRemoved);
        }
        if head.authorization.is_none() && server.has_anonymous {
            return self.await_stranger(head, leg, turn);
        }
        // One that was verified before has the form of a token, and its length.
        let token = match turn.cache.known(of_length(head.presented()?, policy.limits.token)?) {
            Some(token) => token,
            None => Compact::new(head.bearer()?),
        };
        self.facts.caller = Caller::Stranger(token.clone());
        let deadline = turn.now.plus_seconds(turn.policy.limits.keys_wait);
        Ok(self.authenticate(Claimed { token, leg, body_arrived: false, deadline }, turn))
    }
}

fn of_length(token: &str, most: usize) -> Result<&str, Reason> {
    if token.len() > most { Err(Reason::TokenTooLarge) } else { Ok(token) }
}

impl Flow {
    /// P26: what is asked may be allowed without a token. Within bounds; beyond them it is the same 401 as ever.
    fn await_stranger(&mut self, head: &Head<'_>, leg: Leg, turn: &Turn<'_>) -> Result<Next, Reason> {
        /// Seconds.
        const PATIENCE: u64 = 2;
        let limits = &turn.policy.limits;
        let Leg::Message(Ok(mirror)) = leg else { return Err(Reason::TokenMissing) };
        let fits = |length: Result<u64, Reason>| length.is_ok_and(|length| length <= limits.anonymous_body as u64);
        if turn.strangers >= limits.anonymous_waiting || !head.content_length().is_none_or(fits) {
            return Err(Reason::TokenMissing);
        }
        self.state = State::AwaitStranger { mirror, deadline: turn.now.plus_seconds(PATIENCE) };
        Ok(Next::Wait)
    }
}

/// What the head says about a body that will not be accepted.
fn message_fault(head: &Head<'_>, limit: usize) -> Option<Reason> {
    if !head.is_json() {
        return Some(Reason::ContentType);
    }
    if head.content_encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Some(Reason::ContentEncoding);
    }
    match head.content_length() {
        Some(Err(reason)) => Some(reason),
        Some(Ok(length)) if length > limit as u64 => Some(Reason::BodyTooLarge),
        _ => None,
    }
}
