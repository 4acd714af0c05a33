//! What of a caller's head must not reach the upstream: headers that only the proxy may set, and an upgrade that is not taken up.

use crate::reason::Reason;

/// How the head is edited on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unwanted {
    /// Headers to take out.
    pub remove: Vec<String>,
    /// What stands in `Connection` in place of what stood there.
    pub connection: Option<String>,
    /// The same of `Mcp-Session-Id` (P35).
    pub session: Option<String>,
    /// Milliseconds after which the proxy ends the stream (P35).
    pub duration: Option<String>,
}

impl Unwanted {
    /// The proxy ends it then (Envoy's router, `x-envoy-upstream-stream-duration-ms`). No more than a day: it takes what is too
    /// long, and zero, for no end at all.
    pub(crate) fn end_after(&mut self, millis: u64) {
        const DAY: u64 = 86_400_000;
        self.duration = Some(millis.clamp(1, DAY).to_string());
    }

    pub(crate) fn take_out(&mut self, name: &str) {
        if !self.remove.iter().any(|other| other == name) {
            self.remove.push(name.to_owned());
        }
    }
}

/// An offer to go on in another protocol, and what stands beside it in `Connection` (RFC 9110 7.6.1, 7.8).
#[derive(Debug, Default)]
pub(super) struct Hops<'a> {
    connection: Vec<&'a str>,
    is_offered: bool,
    has_settings: bool,
    is_websocket: bool,
}

impl<'a> Hops<'a> {
    /// Takes note of a header of this hop.
    pub(super) fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Reason> {
        match name {
            b":protocol" => self.is_websocket = true,
            b"upgrade" => {
                self.is_offered = true;
                self.is_websocket |= items(super::head::text(value)?).any(is_websocket);
            }
            b"connection" => self.connection.push(super::head::text(value)?),
            // RFC 7540 3.2.1: it belongs to `Upgrade: h2c`, and would be the first frame of a connection that nobody judges.
            b"http2-settings" => self.has_settings = true,
            _ => {}
        }
        Ok(())
    }

    /// After it nothing is judged any more.
    pub(super) fn leads_away(&self) -> bool {
        self.is_websocket
    }

    /// RFC 9110 7.8: a server may ignore an upgrade, and so it goes no further, nor does what says that it is there.
    pub(super) fn taken_out(&self, unwanted: &mut Unwanted) {
        if self.is_offered {
            unwanted.take_out("upgrade");
        }
        if self.has_settings {
            unwanted.take_out("http2-settings");
        }
        let tokens = || self.connection.iter().flat_map(|value| items(value));
        if !tokens().any(is_of_upgrade) {
            return;
        }
        let left: Vec<&str> = tokens().filter(|token| !token.is_empty() && !is_of_upgrade(token)).collect();
        if left.is_empty() {
            unwanted.take_out("connection");
        } else {
            unwanted.connection = Some(left.join(", "));
        }
    }
}

fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|item| item.trim_matches([' ', '\t']))
}

/// With or without a version (RFC 9110 7.8).
fn is_websocket(protocol: &str) -> bool {
    protocol.split('/').next().unwrap_or_default().trim_matches([' ', '\t']).eq_ignore_ascii_case("websocket")
}

fn is_of_upgrade(token: &str) -> bool {
    ["upgrade", "http2-settings"].iter().any(|name| token.eq_ignore_ascii_case(name))
}
