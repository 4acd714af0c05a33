//! Server-sent events, read from chunks that end anywhere.

/// The `data` of server-sent events, put together from chunks that end anywhere.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
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
        if line.is_empty() {
            let (data, id) = (std::mem::take(&mut self.data), self.id.take());
            if self.has_field {
                self.last_id = id;
            }
            self.has_field = false;
            return !std::mem::take(&mut self.overflown) && !data.is_empty() && is_it(&data);
        }
        if let Some(id) = line.strip_prefix(b"id:") {
            let id = id.strip_prefix(b" ").unwrap_or(id);
            self.has_field = true;
            self.id = std::str::from_utf8(id).ok().filter(|id| (1..=MAX_ID).contains(&id.len())).map(str::to_owned);
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
