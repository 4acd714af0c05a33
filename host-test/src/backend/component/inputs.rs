//! What happened, as the component is told it.

use step_up_core::{BodyFault, CallFault, Input, Reply, RequestHead, ResponseHead, StreamId};

use super::wit;

pub(super) fn told(input: &Input<'_>) -> wit::Input {
    match input {
        Input::Head { stream, head } => wit::Input::Head(request(*stream, head)),
        Input::BodyBegins => wit::Input::BodyBegins,
        Input::Body { stream, body } => wit::Input::Body(whole(*stream, body)),
        Input::ResponseHead { stream, head } => wit::Input::ResponseHead(response(*stream, head)),
        Input::ResponseChunk { stream, bytes, end_of_stream } => wit::Input::ResponseChunk(wit::ResponseChunk {
            stream: stream.0,
            bytes: bytes.to_vec(),
            end_of_stream: *end_of_stream,
        }),
        Input::ResponseBody { stream, body } => wit::Input::ResponseBody(whole(*stream, body)),
        Input::Gone { stream } => wit::Input::Gone(stream.0),
        Input::Reply { call, reply } => wit::Input::Reply(wit::CallEnded { call: call.0, answer: answered(reply) }),
        Input::Tick => wit::Input::Tick,
    }
}

fn request(stream: StreamId, head: &RequestHead<'_>) -> wit::RequestHead {
    let header = |(name, value): &(&[u8], &[u8])| wit::Header { name: name.to_vec(), value: value.to_vec() };
    wit::RequestHead {
        stream: stream.0,
        headers: head.headers.iter().map(header).collect(),
        server: head.server.map(str::to_owned),
        source: head.source.map(str::to_owned),
        certificate: head.peer.certificate(),
        token_removed: head.token_removed,
        end_of_stream: head.end_of_stream,
    }
}

fn response(stream: StreamId, head: &ResponseHead<'_>) -> wit::ResponseHead {
    wit::ResponseHead {
        stream: stream.0,
        status: head.status,
        content_type: head.content_type.map(str::to_owned),
        challenge: head.challenge.map(str::to_owned),
        content_encoding: head.content_encoding.map(str::to_owned),
        session: head.session.map(str::to_owned),
        end_of_stream: head.end_of_stream,
    }
}

fn whole(stream: StreamId, body: &Result<&[u8], BodyFault>) -> wit::WholeBody {
    let bytes = body.map(<[u8]>::to_vec).map_err(|fault| match fault {
        BodyFault::TooLarge => wit::BodyFault::TooLarge,
        BodyFault::Unreadable => wit::BodyFault::Unreadable,
        BodyFault::Withheld => wit::BodyFault::Withheld,
        BodyFault::Undelivered => wit::BodyFault::Undelivered,
    });
    wit::WholeBody { stream: stream.0, bytes }
}

fn answered(reply: &Result<Reply<'_>, CallFault>) -> Result<wit::Answer, wit::CallFault> {
    reply.map(|reply| wit::Answer { status: reply.status, body: reply.body.to_vec() }).map_err(|fault| match fault {
        CallFault::Refused => wit::CallFault::Refused,
        CallFault::Unanswered => wit::CallFault::Unanswered,
    })
}
