//! Server-sent events, read from chunks that end anywhere.

use std::collections::VecDeque;

/// The `data` of server-sent events, put together from chunks that end anywhere.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    /// A line has ended.
    has_begun: bool,
    /// The last byte was a carriage return.
    after_return: bool,
    /// The event is larger than is looked at.
    overflown: bool,
    /// The event that is being read has a field that matters.
    has_field: bool,
    /// The `id` of the event that is being read.
    id: Option<String>,
    /// That of the last event, where it had one.
    last_id: Option<String>,
}

/// Larger events are not looked at: they end with their stream, or their token with its `exp`.
const MAX_EVENT: usize = 256 * 1024;
/// Longer ids are none: nobody resumes by them.
const MAX_ID: usize = 1024;

impl Events {
    /// The `id` of the last event that ended, if it had one.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// True when one of the events is the one that is looked for.
    pub(crate) fn feed(&mut self, bytes: &[u8], is_it: impl Fn(&[u8]) -> bool) -> bool {
        let mut found = false;
        for byte in bytes {
            match byte {
                // CR LF is one end of line, and so is either alone.
                b'\n' if self.after_return => {}
                b'\n' | b'\r' => found |= self.end_of_line(&is_it),
                other if self.line.len() + self.data.len() < MAX_EVENT => self.line.push(*other),
                _ => self.overflown = true,
            }
            self.after_return = *byte == b'\r';
        }
        found
    }

    fn end_of_line(&mut self, is_it: &impl Fn(&[u8]) -> bool) -> bool {
        let line = std::mem::take(&mut self.line);
        let line = if std::mem::replace(&mut self.has_begun, true) { &*line } else { without_mark(&line) };
        if line.is_empty() {
            let (data, id) = (std::mem::take(&mut self.data), self.id.take());
            if self.has_field {
                // What it said is not known, so nobody can tell that more is to come.
                self.last_id = id.filter(|_| !self.overflown);
            }
            self.has_field = false;
            return !std::mem::take(&mut self.overflown) && !data.is_empty() && is_it(&data);
        }
        // A name alone is a field without a value.
        let line: &[u8] = match line {
            b"data" => b"data:",
            b"id" => b"id:",
            line => line,
        };
        if let Some(id) = line.strip_prefix(b"id:") {
            let id = id.strip_prefix(b" ").unwrap_or(id);
            self.has_field = true;
            let is_id = |id: &&str| (1..=MAX_ID).contains(&id.len()) && !id.contains('\0');
            self.id = std::str::from_utf8(id).ok().filter(is_id).map(str::to_owned);
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            self.has_field = true;
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
        false
    }
}

/// Without a byte order mark, which a stream may begin with.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

/// An event stream, cut behind each event, so that one of them can be replaced.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Longer events are not kept.
    most: usize,
    current: Block,
    /// Bytes of the line that is being read.
    line: usize,
    after_return: bool,
    done: VecDeque<Block>,
}

/// An event, or what stands where one could.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl Blocks {
    pub(crate) fn new(most: usize) -> Blocks {
        Blocks { most, current: Block::default(), line: 0, after_return: false, done: VecDeque::new() }
    }

    /// An event without its empty line is none to a client that follows the standard, and is one to others.
    pub(crate) fn feed(&mut self, bytes: &[u8], end_of_stream: bool) {
        for byte in bytes {
            if *byte == b'\n' && self.after_return && self.current.is_nothing() {
                self.complete();
                self.after_return = false;
                continue;
            }
            self.keep(*byte);
            match byte {
                // CR LF is one end of line, and so is either alone.
                b'\n' if self.after_return => {}
                b'\n' | b'\r' => {
                    if std::mem::take(&mut self.line) == 0 {
                        self.done.push_back(std::mem::take(&mut self.current));
                    }
                }
                _ => self.line += 1,
            }
            self.after_return = *byte == b'\r';
        }
        if end_of_stream && !self.current.is_nothing() {
            self.done.push_back(std::mem::take(&mut self.current));
        }
    }

    /// The second half of the end of an event goes with it, or right behind it: there are clients that wait for it before they
    /// believe that the event has ended.
    fn complete(&mut self) {
        match self.done.back_mut() {
            Some(block) => block.bytes.push(b'\n'),
            None => self.done.push_back(Block { bytes: b"\n".to_vec(), is_too_long: false }),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.current.bytes.len() < self.most {
            self.current.bytes.push(byte);
        } else {
            self.current.is_too_long = true;
        }
    }

    pub(crate) fn next(&mut self) -> Option<Block> {
        self.done.pop_front()
    }
}

impl Block {
    fn is_nothing(&self) -> bool {
        self.bytes.is_empty() && !self.is_too_long
    }

    pub(crate) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// As it came.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The `data` of a message. `None`: it is a comment, or an event of another type, which clients do not read as one.
    pub(crate) fn message(&self) -> Option<Vec<u8>> {
        let mut data: Option<Vec<u8>> = None;
        let mut is_message = true;
        for line in self.lines() {
            match field(line) {
                (b"data", value) => match &mut data {
                    None => data = Some(value.to_vec()),
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                },
                // The last one counts.
                (b"event", value) => is_message = matches!(value, b"" | b"message"),
                _ => {}
            }
        }
        data.filter(|data| is_message && !self.is_too_long && !data.is_empty())
    }

    /// With these data in place of its own.
    pub(crate) fn with(&self, data: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let others = self.lines().filter(|line| !line.is_empty() && field(line).0 != b"data");
        for line in others.filter(|_| !self.is_too_long) {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        for line in data.split(['\n', '\r']) {
            bytes.extend_from_slice(b"data: ");
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        bytes.push(b'\n');
        bytes
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        without_mark(&self.bytes).split(|byte| matches!(byte, b'\n' | b'\r'))
    }
}

/// A line's field and its value. A name alone has an empty one.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let value = line.get(at + 1..).unwrap_or_default();
    (line.get(..at).unwrap_or_default(), value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str, piece: usize) -> Vec<(String, Option<String>)> {
        let mut blocks = Blocks::new(1024);
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
        for (at, bytes) in pieces.iter().enumerate() {
            blocks.feed(bytes, at + 1 == pieces.len());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        std::iter::from_fn(|| blocks.next())
            .map(|block| (text(block.bytes()), block.message().map(|data| text(&data))))
            .collect()
    }

    #[test]
    fn a_stream_is_cut_behind_each_event_wherever_its_pieces_end() {
        for text in [
            "data: a\n\n: c\n\nevent: x\ndata: b\n\nid: 1\ndata: c\ndata:d\n\ndata: last",
            "data: a\r\n\r\n: c\r\n\r\nevent: x\r\ndata: b\r\n\r\nid: 1\r\ndata: c\r\ndata:d\r\n\r\ndata: last",
            "\u{feff}data: a\r\r: c\r\revent: x\rdata: b\r\rid: 1\rdata: c\rdata:d\r\rdata: last",
        ] {
            for piece in [1, 2, 3, 7, 1000] {
                let blocks = blocks(text, piece);
                assert_eq!(blocks.iter().map(|(bytes, _)| bytes.as_str()).collect::<String>(), text, "as it came");
                let messages: Vec<&str> = blocks.iter().filter_map(|(_, message)| message.as_deref()).collect();
                assert_eq!(messages, ["a", "c\nd", "last"], "{piece}");
            }
        }
    }

    #[test]
    fn an_event_has_the_whole_of_its_end() {
        let mut given = Blocks::new(1024);
        for (piece, expected) in [
            ("data: a\r\n\r\ndata: b\r\n\r\n", vec!["data: a\r\n\r\n", "data: b\r\n\r\n"]),
            ("data: c\r\n\r", vec!["data: c\r\n\r"]),
            ("\n", vec!["\n"]),
            ("data: d\r\r", vec!["data: d\r\r"]),
            ("data: e\n\n", vec!["data: e\n\n"]),
        ] {
            given.feed(piece.as_bytes(), false);
            let blocks: Vec<Vec<u8>> = std::iter::from_fn(|| given.next()).map(|block| block.bytes).collect();
            assert_eq!(blocks, expected.iter().map(|block| block.as_bytes().to_vec()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_event_is_replaced_with_all_but_its_data() {
        let mut blocks = Blocks::new(64);
        blocks.feed(b"id: 1\r\nevent: message\r\ndata: {\r\ndata: }\r\n\r\n", false);
        let block = blocks.next().unwrap();
        assert_eq!(String::from_utf8(block.with("{\n}")).unwrap(), "id: 1\nevent: message\ndata: {\ndata: }\n\n");
        blocks.feed(format!("data: {}\n\ndata: x\n\n", "y".repeat(100)).as_bytes(), false);
        let long = blocks.next().unwrap();
        assert!(long.is_too_long() && long.message().is_none());
        assert_eq!(blocks.next().unwrap().message().as_deref(), Some(&b"x"[..]));
    }
}
