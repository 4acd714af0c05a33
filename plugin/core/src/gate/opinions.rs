//! Tokens that nobody can read here: their issuer is asked (P23).

use super::Gate;
use super::calls::Purpose;
use crate::answer::Refusal;
use crate::flow::Flow;
use crate::http::{CallFault, Reply, StreamId};
use crate::jose::Compact;
use crate::obtain::{Stamp, opinion, question};
use crate::reason::Reason;
use crate::time::Millis;

impl Gate {
    /// One question for a token at a time, whoever waits for it.
    pub(super) fn ask(&mut self, stream: StreamId, mut flow: Box<Flow>, at: usize, token: Compact, now: Millis) {
        let question_of = (at, *token.digest());
        if !self.questions.is_asked(&question_of) {
            let policy = std::rc::Rc::clone(&self.policy);
            let asked = policy.issuer_at(at).and_then(|issuer| issuer.introspection.as_ref());
            let is_known = self.cache.opinions.was_active(&question_of, now);
            let places = policy.limits.introspections;
            let asked = asked.filter(|asked| self.questions.admit(question_of, is_known, asked.rate, places, now));
            let Some(asked) = asked else {
                return self.refuse(stream, &flow, &Refusal::from(Reason::IntrospectionUnavailable), now);
            };
            let unique = self.ids.decision();
            let timeout = policy.limits.keys_wait.saturating_mul(1000);
            let call = question(asked, &token, timeout, &Stamp { unique: &unique, now });
            self.call(Purpose::Introspection { issuer: at, token }, call, timeout, now);
        }
        flow.facts.introspected = true;
        self.streams.keep(stream, flow);
    }

    /// The issuer has answered, or nobody has.
    pub(super) fn asked(&mut self, at: usize, token: &Compact, reply: &Result<Reply<'_>, CallFault>, now: Millis) {
        let question_of = (at, *token.digest());
        self.questions.ended(&question_of);
        let policy = std::rc::Rc::clone(&self.policy);
        let Some(issuer) = policy.issuer_at(at) else { return };
        let opinion = opinion(at, issuer, token, reply, now);
        if let Ok(opinion) = &opinion {
            let cache = issuer.introspection.as_ref().map_or(0, |asked| asked.cache);
            self.cache.opinions.remember(question_of, opinion.clone(), cache, now);
        }
        for stream in self.streams.that_ask(at, token) {
            self.advance(stream, now, |flow, turn| flow.opinion(&opinion, turn));
        }
    }
}
