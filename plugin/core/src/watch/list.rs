//! Lists that pass through (P16, P31): each shows its caller what it can reach, and of pinned tools those that are what they were.

mod pinned;
mod rewrite;

use crate::answer::ReplyTo;
use crate::http::{Blocks, ResponseHead, without_mark};

pub use pinned::pin;
pub(crate) use pinned::{changed, note_changed};
pub(crate) use rewrite::{Lister, Shown};

/// The response to a request that may bring a list.
#[derive(Debug)]
pub(crate) struct Listing {
    pub lister: Lister,
    /// What is awaited. `None`: a stream of the server's own, on which any list may come (a GET).
    pub request: Option<ReplyTo>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    /// One JSON text, which is held until it is complete.
    Body,
    /// Events. The head is held until the first of them is complete, unless it is nobody's answer.
    Events { blocks: Blocks, is_held: bool },
    /// The answer has been given; what the server sends after it is nobody's.
    Over,
}

/// What becomes of a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtHead {
    /// It has no list in it.
    Pass,
    /// The body is wanted in one piece.
    Hold,
    /// It is wanted piece by piece. `true`: the head has to wait.
    Take(bool),
    Refuse,
}

/// What becomes of a piece of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// These bytes go in its place. `true`: the head may go, too.
    Give(Vec<u8>, bool),
    /// The head is still here: an error goes in place of everything.
    Refuse,
}

impl Listing {
    pub(crate) fn new(lister: Lister, request: Option<ReplyTo>) -> Listing {
        Listing { lister, request, state: State::Head }
    }

    pub(crate) fn head(&mut self, head: &ResponseHead<'_>) -> AtHead {
        // HTTP errors pass, and what has no body.
        if !(200..300).contains(&head.status) || head.end_of_stream {
            return AtHead::Pass;
        }
        let is_compressed = head.content_encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"));
        if head.has_events() {
            let is_held = self.request.is_some();
            self.state = State::Events { blocks: Blocks::new(self.lister.most), is_held };
            return if is_compressed { AtHead::Refuse } else { AtHead::Take(is_held) };
        }
        // *Accepted*: the answer comes over another stream. And only a request is answered with a list.
        if self.request.is_none() || (head.status == 202 && !head.is_json()) {
            return AtHead::Pass;
        }
        self.state = State::Body;
        if is_compressed { AtHead::Refuse } else { AtHead::Hold }
    }

    /// The whole body of a response that was held. `None`: it cannot be read.
    pub(crate) fn body(&mut self, body: &[u8], shown: &mut Shown<'_>) -> Option<Vec<u8>> {
        if body.is_empty() {
            return Some(Vec::new());
        }
        let text = std::str::from_utf8(without_mark(body)).ok()?;
        let rewritten = self.lister.message(text, shown).ok()?;
        Some(rewritten.map_or_else(|| body.to_vec(), String::into_bytes))
    }

    /// A piece of a stream.
    pub(crate) fn piece(&mut self, bytes: &[u8], end_of_stream: bool, shown: &mut Shown<'_>) -> Piece {
        let State::Events { blocks, is_held } = &mut self.state else { return Piece::Give(Vec::new(), true) };
        let mut given = Vec::new();
        let mut is_over = false;
        blocks.feed(bytes, end_of_stream);
        while let Some(block) = blocks.next() {
            if is_over {
                continue;
            }
            let message = block.message();
            let judged = match message.as_ref().map(|text| std::str::from_utf8(text)) {
                // Comments, and events that are no messages.
                None if !block.is_too_long() => Ok(None),
                Some(Ok(text)) => self.lister.message(text, shown),
                None | Some(Err(_)) => Err(rewrite::Unreadable),
            };
            let is_answer =
                |text: &[u8]| self.request.as_ref().is_some_and(|request| super::end::answers(text, request));
            match (judged, &self.request) {
                (Ok(rewritten), _) => {
                    is_over = message.as_deref().is_some_and(is_answer);
                    match rewritten {
                        None => given.extend_from_slice(block.bytes()),
                        Some(text) => given.extend(block.with(&text)),
                    }
                }
                (Err(_), Some(_)) if *is_held && given.is_empty() => return Piece::Refuse,
                // The head has gone.
                (Err(_), Some(request)) => {
                    given.extend(block.with(&rewrite::error(request)));
                    is_over = true;
                }
                // Nobody can tell whose it would have been.
                (Err(_), None) => shown.unreadable += 1,
            }
        }
        let goes = !given.is_empty() || end_of_stream || !*is_held;
        *is_held &= !goes;
        if is_over {
            // Nothing follows, not even the second half of its end.
            if given.ends_with(b"\r") {
                given.push(b'\n');
            }
            self.state = State::Over;
        }
        Piece::Give(given, goes)
    }
}
