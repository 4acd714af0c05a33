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
}

/// Larger events are not looked at: they end with their stream, or their token with its `exp`.
const MAX_EVENT: usize = 256 * 1024;

impl Events {
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
            let data = std::mem::take(&mut self.data);
            return !std::mem::take(&mut self.overflown) && !data.is_empty() && is_it(&data);
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
        false
    }
}
