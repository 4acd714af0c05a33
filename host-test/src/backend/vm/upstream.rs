//! What was released reaches the upstream when it is complete, and the answer takes its time.

use simulated_proxy::UpstreamPlan;

use super::Vm;
use super::events::{Event, Happening};

impl Vm {
    pub(super) fn go_upstream(&mut self, at: usize) {
        let Some(stream) = self.streams.get_mut(at) else { return };
        let Some(upstream) = &mut stream.transcript.upstream else { return };
        upstream.body.clone_from(&stream.body);
        if !stream.arrived || std::mem::replace(&mut upstream.is_complete, true) {
            return;
        }
        upstream.trailers.clone_from(&stream.client.trailers);
        let plan = self.network.borrow_mut().upstream(upstream);
        self.respond(at, plan);
    }

    fn respond(&mut self, at: usize, plan: UpstreamPlan) {
        let has_end = plan.trailers.is_none() && !plan.breaks;
        let last = plan.body.len();
        let mut when = plan.after;
        self.later(when, Event::On(at, Happening::Response(plan.headers, last == 0 && has_end)));
        for (index, chunk) in plan.body.into_iter().enumerate() {
            when += chunk.after;
            self.later(when, Event::On(at, Happening::ResponseData(chunk.bytes, index + 1 == last && has_end)));
        }
        if plan.breaks {
            self.later(when, Event::On(at, Happening::Breaks));
        } else if let Some(trailers) = plan.trailers {
            self.later(when, Event::On(at, Happening::ResponseTrailers(trailers)));
        }
    }
}
