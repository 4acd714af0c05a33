//! Server-sent events, read from chunks that end anywhere.

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
