//! A header map as the host serializes it, read in place.

use proxy_wasm::types::{Bytes, MapType};

use crate::raw;

/// The headers of a request, owned by one buffer. Names and values are whatever bytes the client sent.
pub struct Headers(Bytes);

impl Headers {
    /// Of the request whose callback this is. Empty where the host has none, which names no server and is refused.
    pub fn of_request() -> Headers {
        Headers(raw::header_map(MapType::HttpRequestHeaders).unwrap_or_default())
    }

    /// Names and values, in order. Empty when the buffer is not such a map.
    pub fn pairs(&self) -> Vec<(&[u8], &[u8])> {
        read(&self.0).unwrap_or_default()
    }

    /// Bytes of all names and values.
    pub fn size(&self) -> u64 {
        self.pairs().iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
    }
}

/// A map as the host reads it.
pub fn written(map: &[(&str, &str)]) -> Vec<u8> {
    let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = u32::try_from(map.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    for (name, value) in map {
        bytes.extend(length(name));
        bytes.extend(length(value));
    }
    for text in map.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Is there anything in these members, maps in a map, but why a token failed (`failed_status_in_metadata`: it is there for a request
/// that never had one, too)?
pub fn tell_of_a_token(members: &[u8]) -> bool {
    read(members).is_none_or(|members| members.iter().any(|(_, value)| !is_failure(value)))
}

fn is_failure(value: &[u8]) -> bool {
    let Some(members) = read(value) else { return false };
    let names: Vec<&[u8]> = members.iter().map(|(name, _)| *name).collect();
    matches!(names.as_slice(), [b"code", b"message"] | [b"message", b"code"])
}

/// The number of pairs, the lengths of each name and value, then all of them, with a NUL behind each.
fn read(map: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (count, rest) = map.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (lengths, mut rest) = rest.split_at_checked(count.checked_mul(8)?)?;
    let mut take = |length: &[u8; 4]| {
        let (text, tail) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        rest = tail.get(1..)?;
        Some(text)
    };
    let (lengths, _) = lengths.as_chunks();
    let mut pairs = Vec::with_capacity(count);
    for [name, value] in lengths.as_chunks::<2>().0 {
        pairs.push((take(name)?, take(value)?));
    }
    Some(pairs)
}
