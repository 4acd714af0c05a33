//! Whose request it is: now, when the keys are there, or never.

use super::{Claimed, Flow, Following, Follows, Leg, Next, State, Turn};
use crate::audit::Caller;
use crate::jose::Compact;
use crate::keys::Fresh;
use crate::mcp::Mirror;
use crate::policy::{Place, Server};
use crate::reason::Reason;
use crate::token::{CallerToken, Inspected, Rejection, Verifier};

/// More requests do not wait for keys at the same time; they are refused at once.
const MAX_WAITING: usize = 256;
/// The same, while there are keys and only the one a token names is missing.
const MAX_WAITING_FOR_NEW_KEYS: usize = 32;

impl Flow {
    pub(super) fn authenticate(&mut self, claimed: Claimed, turn: &mut Turn<'_>) -> Next {
        let Some(at) = self.spot.and_then(|spot| turn.policy.at(spot)) else {
            return Reason::Internal.into();
        };
        let mut verified = turn.verify(&claimed.token, at);
        if matches!(verified, Err(Rejection::Keys { .. })) {
            let before = turn.keys.changes();
            turn.keys.look(turn.shared, turn.now);
            if turn.keys.changes() != before {
                verified = turn.verify(&claimed.token, at);
            }
        }
        match verified {
            Ok(caller) => self.authenticated(caller, claimed, turn),
            Err(Rejection::Final(reason)) => {
                self.facts.introspected = reason == Reason::TokenInactive;
                reason.into()
            }
            Err(Rejection::Ask { .. }) if claimed.is_too_large() => Reason::BodyTooLarge.into(),
            Err(Rejection::Ask { issuer }) => {
                let token = claimed.token.clone();
                self.see_certificate(turn);
                self.state = State::AwaitOpinion(claimed, issuer);
                Next::Ask(issuer, token)
            }
            Err(Rejection::Keys { issuer, reason }) => {
                let unknown = match reason {
                    Reason::KeyUnknown => {
                        claimed.token.read().ok().map(|token| token.key_id().unwrap_or_default().to_owned())
                    }
                    _ => None,
                };
                let fresh = turn.keys.want(issuer, unknown.as_deref(), turn.shared, turn.now);
                // At the start everybody waits. Later it is strangers who name unknown keys, as a rule: a few may wait.
                let (coming, most) = match reason {
                    Reason::KeysUnavailable => (true, MAX_WAITING),
                    _ => (fresh == Fresh::Coming, MAX_WAITING_FOR_NEW_KEYS),
                };
                // The issuer may have the key by now, and nobody has asked it: not a reason to log in again.
                if fresh == Fresh::NotYet {
                    return Reason::KeysUnavailable.into();
                }
                if !coming {
                    return reason.into();
                }
                if turn.now >= claimed.deadline {
                    return in_time(reason).into();
                }
                if claimed.is_too_large() {
                    return Reason::BodyTooLarge.into();
                }
                if turn.waiting >= most {
                    // Fresh keys may be on their way, and would accept it: not a reason to log in again.
                    return Reason::KeysUnavailable.into();
                }
                self.see_certificate(turn);
                self.state = State::AwaitKeys { claimed, reason };
                Next::Wait
            }
        }
    }

    /// Its issuer has answered, or will not.
    pub(crate) fn opinion(&mut self, opinion: &Result<Option<Inspected>, Reason>, turn: &mut Turn<'_>) -> Next {
        let State::AwaitOpinion(claimed, _) = std::mem::replace(&mut self.state, State::Faulted) else {
            return Reason::Internal.into();
        };
        let Some(at) = self.spot.and_then(|spot| turn.policy.at(spot)) else {
            return Reason::Internal.into();
        };
        let inspected = match opinion {
            Ok(Some(inspected)) => inspected,
            Ok(None) => return Reason::TokenInactive.into(),
            Err(reason) => return (*reason).into(),
        };
        let verifier = Verifier { policy: turn.policy, keys: turn.keys, signatures: turn.signatures, now: turn.now };
        match verifier.vouched(&claimed.token, at, inspected) {
            Ok(caller) => self.authenticated(caller, claimed, turn),
            Err(reason) => reason.into(),
        }
    }

    fn authenticated(&mut self, caller: CallerToken, claimed: Claimed, turn: &Turn<'_>) -> Next {
        let claims = caller.claims();
        // P33: bound to this certificate, or to none.
        if claims.is_bound() {
            self.see_certificate(turn);
            if !claims.binding.is_of(self.certificate.as_deref()) {
                return Reason::BindingMismatch.into();
            }
        }
        self.facts.caller = Caller::Verified(caller.record());
        let issuer = turn.policy.issuer(&claims.issuer);
        self.issuer = issuer.map(|(at, _)| at);
        let most = issuer.and_then(|(_, issuer)| issuer.max_lifetime);
        if most.is_some_and(|most| claims.lifetime() > most) {
            return Reason::TokenTooLongLived.into();
        }
        // One of our own, come back through the front door: from a server, its logs, or a tool that echoes.
        if turn.policy.services.iter().any(|service| claims.names_client(&service.client.id)) {
            return Reason::OwnTokenPresented.into();
        }
        match claimed.leg {
            Leg::Stream { has_ended: true } => self.stream(&caller, turn),
            Leg::Stream { has_ended: false } => self.await_body(caller, None, turn),
            Leg::Message(Err(reason)) => reason.into(),
            Leg::Message(Ok(mirror)) => {
                let next = self.await_body(caller, Some(mirror), turn);
                if claimed.body_arrived { Next::ReadBody } else { next }
            }
        }
    }

    /// What it is can only be asked while the head is handled.
    fn see_certificate(&mut self, turn: &Turn<'_>) {
        if let Some(peer) = turn.peer {
            self.certificate = peer.certificate();
        }
    }

    fn await_body(&mut self, caller: CallerToken, mirror: Option<Mirror>, turn: &Turn<'_>) -> Next {
        let deadline = turn.now.plus_seconds(turn.policy.limits.body_wait);
        self.state = State::AwaitBody { caller, mirror, deadline, asked_why: false };
        Next::Wait
    }
}

/// Of the same caller.
pub(super) fn follows(caller: &CallerToken, what: Following) -> Follows {
    let claims = caller.claims();
    let (issuer, subject, client) = (claims.issuer.clone(), claims.subject.clone(), claims.client_id.clone());
    Follows { issuer, subject, client, what }
}

impl Turn<'_> {
    fn verify(&mut self, token: &Compact, at: (&Server, &Place)) -> Result<CallerToken, Rejection> {
        let verifier = Verifier { policy: self.policy, keys: self.keys, signatures: self.signatures, now: self.now };
        verifier.verify(token, at, self.cache)
    }
}

/// The reason when fresh keys did not come in time: whoever has a key that nobody could fetch has a good token, perhaps.
pub(super) fn in_time(missing: Reason) -> Reason {
    if missing == Reason::KeyUnknown { Reason::KeysUnavailable } else { missing }
}
