//! What happened, as the core is told it.

use step_up_core::{BodyFault, CallFault, CallId, Input, Reply, RequestHead, ResponseHead, StreamId};

use crate::bindings::exports::step_up::decision::gates as wit;

/// Hands an input over: the core's borrows from the one that came in.
pub fn hand_over(input: &wit::Input, handle: impl FnOnce(Input<'_>)) {
    match input {
        wit::Input::Head(head) => {
            let headers: Vec<(&[u8], &[u8])> =
                head.headers.iter().map(|header| (header.name.as_slice(), header.value.as_slice())).collect();
            let told = RequestHead {
                headers: &headers,
                server: head.server.as_deref(),
                source: head.source.as_deref(),
                peer: &head.certificate,
                token_removed: head.token_removed,
                end_of_stream: head.end_of_stream,
            };
            handle(Input::Head { stream: StreamId(head.stream), head: told });
        }
        wit::Input::BodyBegins => handle(Input::BodyBegins),
        wit::Input::Body(whole) => handle(Input::Body { stream: StreamId(whole.stream), body: body(whole) }),
        wit::Input::ResponseHead(head) => {
            let told = ResponseHead {
                status: head.status,
                content_type: head.content_type.as_deref(),
                challenge: head.challenge.as_deref(),
                content_encoding: head.content_encoding.as_deref(),
                session: head.session.as_deref(),
                end_of_stream: head.end_of_stream,
            };
            handle(Input::ResponseHead { stream: StreamId(head.stream), head: told });
        }
        wit::Input::ResponseChunk(chunk) => handle(Input::ResponseChunk {
            stream: StreamId(chunk.stream),
            bytes: &chunk.bytes,
            end_of_stream: chunk.end_of_stream,
        }),
        wit::Input::ResponseBody(whole) => {
            handle(Input::ResponseBody { stream: StreamId(whole.stream), body: body(whole) });
        }
        wit::Input::Gone(stream) => handle(Input::Gone { stream: StreamId(*stream) }),
        wit::Input::Reply(ended) => {
            let reply = ended.answer.as_ref().map(|answer| Reply { status: answer.status, body: &answer.body });
            let reply = reply.map_err(|fault| match fault {
                wit::CallFault::Refused => CallFault::Refused,
                wit::CallFault::Unanswered => CallFault::Unanswered,
            });
            handle(Input::Reply { call: CallId(ended.call), reply });
        }
        wit::Input::Tick => handle(Input::Tick),
    }
}

fn body(whole: &wit::WholeBody) -> Result<&[u8], BodyFault> {
    whole.bytes.as_deref().map_err(|fault| match fault {
        wit::BodyFault::TooLarge => BodyFault::TooLarge,
        wit::BodyFault::Unreadable => BodyFault::Unreadable,
        wit::BodyFault::Withheld => BodyFault::Withheld,
        wit::BodyFault::Undelivered => BodyFault::Undelivered,
    })
}
