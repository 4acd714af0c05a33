//! Responses that the gate holds or changes.

use anyhow::Result;
use step_up_core::{BodyFault, Input, ResponseAct};

use super::{Vm, id};

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
        stream.held = match act {
            ResponseAct::Hold { most } => Some(most),
            ResponseAct::Challenge(challenge) => {
                if let Some(response) = &mut stream.transcript.response {
                    response.headers.remove(b"www-authenticate");
                    response.headers.add(b"www-authenticate", challenge.as_bytes());
                }
                None
            }
            ResponseAct::Pass => None,
            ResponseAct::Rewrite(body) => {
                if let Some(response) = &mut stream.transcript.response {
                    response.headers.replace(b"content-length", body.len().to_string().as_bytes());
                    response.body = body;
                }
                None
            }
        };
    }
}
