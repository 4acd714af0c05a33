//! Responses that are looked at and changed on their way: lists, challenges, session ids.

use std::rc::Rc;

use super::{Gate, Settled};
use crate::answer::{self, Refusal};
use crate::audit::Facts;
use crate::effect::{BodyFault, Effect, ResponseAct};
use crate::ends::Ending;
use crate::flow::Flow;
use crate::http::{ResponseHead, StreamId};
use crate::metrics::Metric;
use crate::policy::{Owner, Policy, Spot};
use crate::reason::Reason;
use crate::time::Millis;
use crate::watch::{AtHead, Listing, Own, Piece, SessionOwner, Shown, changed, instead, note_changed};

/// A list on its way to a caller.
pub(super) struct OnItsWay {
    listing: Listing,
    spot: Spot,
    /// The record that its request has, in case there is more to say.
    id: String,
    facts: Facts,
}

impl Gate {
    /// Is the response of this request looked at, beside what an elevation needs?
    pub(super) fn looks_at_response(&mut self, stream: StreamId, flow: &Flow) -> bool {
        let Some((spot, server)) = flow.spot.and_then(|spot| Some((spot, self.policy.server_at(spot.server)?))) else {
            return false;
        };
        let session = self.seals_session(flow);
        let (challenges, issuer) = (server.challenges_itself, flow.issuer);
        let is_own = challenges || session.is_some();
        if is_own {
            self.own.insert(stream, Box::new(Own { spot, issuer, challenges, session }));
        }
        is_own || flow.listing.is_some()
    }

    /// P16: its response may bring a list. `decision` is the id of its record.
    pub(super) fn expect_list(&mut self, stream: StreamId, flow: Flow, decision: String) {
        if let (Some(listing), Some(spot)) = (flow.listing, flow.spot) {
            let on_its_way = OnItsWay { listing: *listing, spot, id: decision, facts: flow.facts };
            self.lists.insert(stream, Box::new(on_its_way));
        }
    }

    /// P35: in revisions with sessions.
    fn seals_session(&self, flow: &Flow) -> Option<SessionOwner> {
        self.policy.sessions.as_ref().filter(|_| flow.has_sessions).map(|_| flow.owner.clone())
    }

    /// The same of an elevated call, where only its session is sealed.
    pub(super) fn looks_at_session(&mut self, stream: StreamId, flow: &Flow) {
        let session = self.seals_session(flow);
        if let (Some(spot), Some(_)) = (flow.spot, &session) {
            let own = Own { spot, issuer: flow.issuer, challenges: false, session };
            self.own.insert(stream, Box::new(own));
        }
    }

    /// The head of such a response.
    pub(super) fn own_head(&mut self, stream: StreamId, head: &ResponseHead<'_>, now: Millis) {
        let policy = Rc::clone(&self.policy);
        let own = self.own.remove(&stream);
        if let Some(own) = &own
            && let Some(at) = policy.at(own.spot)
        {
            self.own_challenge(stream, own, at, head);
            self.own_session(stream, own, &policy, head);
        }
        let Some(list) = self.lists.get_mut(&stream) else {
            if own.is_some() && !self.tails.contains_key(&stream) {
                self.out.put(Effect::Response { stream, act: ResponseAct::Leave });
            }
            return;
        };
        let act = match list.listing.head(head) {
            AtHead::Pass => {
                self.lists.remove(&stream);
                ResponseAct::Leave
            }
            AtHead::Hold => ResponseAct::Hold { most: policy.limits.list },
            AtHead::Take(hold) => ResponseAct::Take { hold },
            AtHead::Refuse => return self.refuse_list(stream, now),
        };
        self.out.put(Effect::Response { stream, act });
    }

    /// P27: of a call with the caller's own token.
    fn own_challenge(
        &mut self,
        stream: StreamId,
        own: &Own,
        at: (&crate::policy::Server, &crate::policy::Place),
        head: &ResponseHead<'_>,
    ) {
        let issuer = own.issuer.and_then(|at| self.policy.issuer_at(at));
        let Some((challenge, dropped)) = instead(head, at, issuer).filter(|_| own.challenges) else { return };
        if dropped > 0 {
            self.out.count(Metric::Fault { kind: "upstream_scope_dropped", count: dropped });
        }
        self.out.put(Effect::Response { stream, act: ResponseAct::Challenge(challenge) });
    }

    /// P35.
    fn own_session(&mut self, stream: StreamId, own: &Own, policy: &Policy, head: &ResponseHead<'_>) {
        let (Some(owner), Some(id), Some(keys)) = (&own.session, head.session, &policy.sessions) else { return };
        let Some(server) = policy.server_at(own.spot.server) else { return };
        let caller = owner.as_ref().map(|(issuer, subject)| (issuer.as_str(), subject.as_deref()));
        let sealed = keys.seal(id, Owner { server: &server.name, caller });
        // Without a key there is no session that could be continued.
        self.out.put(Effect::Response { stream, act: ResponseAct::Session(sealed.unwrap_or_default()) });
    }

    /// The whole body of a list that was held. False: it is none.
    pub(super) fn list_body(&mut self, stream: StreamId, body: Result<&[u8], BodyFault>, now: Millis) -> bool {
        if !self.lists.contains_key(&stream) {
            return false;
        }
        let rewritten = body.ok().and_then(|body| self.show(stream, now, |listing, shown| listing.body(body, shown)));
        match rewritten.flatten() {
            Some(body) => {
                self.lists.remove(&stream);
                self.out.put(Effect::Response { stream, act: ResponseAct::Rewrite(body) });
            }
            None => self.refuse_list(stream, now),
        }
        true
    }

    /// A piece of a stream that may have lists in it.
    pub(super) fn list_piece(&mut self, stream: StreamId, bytes: &[u8], end_of_stream: bool, now: Millis) {
        let piece = self.show(stream, now, |listing, shown| listing.piece(bytes, end_of_stream, shown));
        match piece {
            None => {}
            Some(Piece::Refuse) => self.refuse_list(stream, now),
            Some(Piece::Give(bytes, release)) => {
                if end_of_stream {
                    self.lists.remove(&stream);
                }
                self.out.put(Effect::Response { stream, act: ResponseAct::Give { bytes, release } });
            }
        }
    }

    /// What is done with a list, and what is noted of it.
    fn show<T>(
        &mut self,
        stream: StreamId,
        now: Millis,
        act: impl FnOnce(&mut Listing, &mut Shown<'_>) -> T,
    ) -> Option<T> {
        let policy = Rc::clone(&self.policy);
        let list = self.lists.get_mut(&stream)?;
        let server = policy.server_at(list.spot.server)?;
        let shared = self.shared.as_ref();
        let is_changed = |tool: &str| changed(shared, &policy, server, tool, now);
        let mut shown = Shown::new(&policy, server, &is_changed, now);
        let done = act(&mut list.listing, &mut shown);
        let Shown { changed: found, unreadable, .. } = shown;
        if unreadable > 0 {
            self.out.count(Metric::Fault { kind: Reason::ListUnreadable.name(), count: unreadable });
        }
        if !found.is_empty() {
            note_changed(shared, &policy, server, &found, now);
            let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
            self.out.count(Metric::Fault { kind: Reason::ToolChanged.name(), count });
            self.out.warn(format!("{}: not what they were when they were pinned: {}", list.id, found.join(", ")));
            list.facts.changed.extend(found);
            let settled = Settled::new(&list.id, Ending::Permit, Reason::Permitted);
            self.out.say_again(stream, &list.facts, &settled, now);
        }
        Some(done)
    }

    /// P16: what cannot be read does not pass.
    fn refuse_list(&mut self, stream: StreamId, now: Millis) {
        let Some(list) = self.lists.remove(&stream) else { return };
        let request = list.listing.request.as_ref();
        let refusal = request
            .map_or_else(|| Reason::ListUnreadable.into(), |request| Refusal::of(Reason::ListUnreadable, request));
        let response = answer::refusal(&refusal, None, false, None, &list.id);
        let settled = Settled { status: Some(response.status), ..Settled::new(&list.id, Ending::Deny, refusal.reason) };
        self.out.count(Metric::Fault { kind: Reason::ListUnreadable.name(), count: 1 });
        self.out.warn(format!("{}: the list cannot be read, or is longer than `limits.list`", list.id));
        self.out.say_again(stream, &list.facts, &settled, now);
        self.out.put(Effect::Reply { stream, response });
    }
}
