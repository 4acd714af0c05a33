//! Header maps and their serialization.

/// Names (lower case, pseudo headers included) and values, in order. A name may be there several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(Vec<u8>, Vec<u8>)>);

impl Headers {
    /// A map of texts.
    pub fn of<'t>(pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> Headers {
        Headers(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// All values of a name, joined by commas, as Envoy gives them to a filter.
    pub fn get(&self, name: &[u8]) -> Option<Vec<u8>> {
        let values: Vec<&[u8]> = self.values(name).collect();
        (!values.is_empty()).then(|| values.join(&b","[..]))
    }

    /// The same as a text.
    pub fn text(&self, name: &str) -> Option<String> {
        Some(String::from_utf8_lossy(&self.get(name.as_bytes())?).into_owned())
    }

    /// Each value of a name.
    pub fn values<'h>(&'h self, name: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
        self.0.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// Adds a value.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((name.to_ascii_lowercase(), value.to_vec()));
    }

    /// Puts one value in place of all.
    pub fn replace(&mut self, name: &[u8], value: &[u8]) {
        match self.0.iter().position(|(other, _)| other.eq_ignore_ascii_case(name)) {
            None => self.add(name, value),
            Some(first) => {
                let mut at = 0;
                self.0.retain(|(other, _)| {
                    at += 1;
                    at == first + 1 || !other.eq_ignore_ascii_case(name)
                });
                if let Some(entry) = self.0.get_mut(first) {
                    entry.1 = value.to_vec();
                }
            }
        }
    }

    /// Takes all values out.
    pub fn remove(&mut self, name: &[u8]) {
        self.0.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    /// Takes out what Envoy's router takes out, which is for itself: the milliseconds after which it ends the stream. Zero, and what is
    /// no number, is no end.
    pub fn take_stream_duration(&mut self) -> Option<u64> {
        const NAME: &[u8] = b"x-envoy-upstream-stream-duration-ms";
        let value = self.get(NAME)?;
        self.remove(NAME);
        std::str::from_utf8(&value).ok()?.parse().ok().filter(|millis| *millis > 0)
    }

    /// As Envoy's codecs hand over a request: what it has a slot for arrives as one value, joined by commas.
    #[must_use]
    pub fn as_delivered(&self) -> Headers {
        const SLOTS: [&[u8]; 12] = [
            b"accept",
            b"accept-encoding",
            b"authorization",
            b"cache-control",
            b"connection",
            b"content-encoding",
            b"content-length",
            b"content-type",
            b"origin",
            b"transfer-encoding",
            b"user-agent",
            b"x-request-id",
        ];
        let mut delivered = Headers::default();
        for (name, value) in &self.0 {
            let known = delivered.0.iter_mut().find(|(other, _)| other == name && SLOTS.contains(&name.as_slice()));
            match known {
                Some((_, joined)) => joined.extend([b",", value.as_slice()].concat()),
                None => delivered.0.push((name.clone(), value.clone())),
            }
        }
        delivered
    }

    /// The HTTP status of a response.
    pub fn status(&self) -> u16 {
        self.text(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The bytes of names and values.
    pub fn byte_size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Number of pairs, then the lengths of each, then each name and value with a NUL behind.
    pub fn serialize(&self) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut out = u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        for (name, value) in &self.0 {
            out.extend(length(name));
            out.extend(length(value));
        }
        for bytes in self.0.iter().flat_map(|(name, value)| [name, value]) {
            out.extend(bytes);
            out.push(0);
        }
        out
    }

    /// The way back. `None` for bytes that are no map.
    pub fn deserialize(bytes: &[u8]) -> Option<Headers> {
        if bytes.is_empty() {
            return Some(Headers::default());
        }
        let number = |at: usize| {
            let bytes: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        let count = number(0)?;
        let mut at = count.checked_mul(8)?.checked_add(4)?;
        let mut take = |length: usize| {
            let taken = bytes.get(at..at.checked_add(length)?)?.to_vec();
            at = at.checked_add(length)?.checked_add(1)?;
            Some(taken)
        };
        let pair = |index: usize| Some((take(number(4 + index * 8)?)?, take(number(8 + index * 8)?)?));
        (0..count).map(pair).collect::<Option<Vec<_>>>().map(Headers)
    }
}
