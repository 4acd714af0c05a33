//! Responses that the gate holds or changes.

use anyhow::Result;
use step_up_core::{BodyFault, Input, ResponseAct};

use super::{Settled, Vm, id};

impl Vm {
    /// A part of a response that is held. What the client sees of it is what the transcript has in the end.
    pub(super) fn held(&mut self, at: usize, end: bool) -> Result<()> {
        let held = self.streams.get(at).and_then(|stream| Some((stream.held?, stream.transcript.response.as_ref()?)));
        let Some((most, response)) = held else { return Ok(()) };
        let body = response.body.clone();
        if body.len() > most {
            return self.handle(Input::ResponseBody { stream: id(at), body: Err(BodyFault::TooLarge) });
        }
        if end { self.handle(Input::ResponseBody { stream: id(at), body: Ok(&body) }) } else { Ok(()) }
    }

    pub(super) fn respond_with(&mut self, at: usize, act: ResponseAct) {
        let Some(stream) = self.streams.get_mut(at) else { return };
        let Some(response) = &mut stream.transcript.response else { return };
        let mut replace = |name: &[u8], value: &str| {
            response.headers.remove(name);
            if !value.is_empty() {
                response.headers.add(name, value.as_bytes());
            }
        };
        match act {
            ResponseAct::Hold { most } => stream.held = Some(most),
            ResponseAct::Challenge(challenge) => replace(b"www-authenticate", &challenge),
            ResponseAct::Session(id) => replace(b"mcp-session-id", &id),
            ResponseAct::Take { .. } => {
                replace(b"content-length", "");
                stream.is_taken = true;
            }
            ResponseAct::Give { bytes, .. } => response.body.extend(bytes),
            ResponseAct::Leave => stream.decision = Some(Settled::Forwarded),
            ResponseAct::Pass => stream.held = None,
            ResponseAct::Rewrite(body) => {
                response.headers.replace(b"content-length", body.len().to_string().as_bytes());
                response.body = body;
                stream.held = None;
            }
        }
    }
}
