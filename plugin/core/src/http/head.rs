//! The request head: one pass over the headers, exactly one value for each that must stand alone.

use super::unwanted::{Hops, Unwanted};
use crate::reason::Reason;
use crate::text::percent_decoded;

/// Request headers as the host has them, and what the host knows beside them.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// Names (lower case, pseudo headers included) and values, in order, duplicates kept: whatever bytes the client sent.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The server named by the route: metadata `stepup.server`, set by the operator, out of the client's reach.
    pub server: Option<&'a str>,
    /// The identity in the peer's verified certificate, if the host has one and the policy asks for it.
    pub source: Option<&'a str>,
    /// Who sent it.
    pub peer: &'a dyn Peer,
    /// True where the request has no `Authorization`, and another filter of the host has verified a token of it before (Envoy's
    /// `jwt_authn`): that one took it out.
    pub token_removed: bool,
    /// True when no body follows.
    pub end_of_stream: bool,
}

/// What a host can say of the peer, and looks up only when it is asked.
pub trait Peer: std::fmt::Debug {
    /// The SHA-256 of its verified certificate, in hexadecimal digits: asked for tokens that are bound to one, or may be (RFC 8705).
    fn certificate(&self) -> Option<String>;
}

/// What is known already.
impl Peer for Option<String> {
    fn certificate(&self) -> Option<String> {
        self.clone()
    }
}

/// The HTTP methods that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Post,
    Get,
    Delete,
    Head,
    Connect,
    Other,
}

/// The head, read. Values that are read are UTF-8; those that must stand alone do.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub method: Method,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub authority: &'a str,
    pub authorization: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    pub content_length: Option<&'a str>,
    pub protocol_version: Option<&'a str>,
    pub mcp_method: Option<&'a str>,
    pub mcp_name: Option<&'a str>,
    pub session_id: Option<&'a str>,
    pub last_event_id: Option<&'a str>,
    /// `x-forwarded-client-cert`, where it came once.
    pub forwarded_cert: Option<&'a str>,
    pub request_id: Option<&'a str>,
    pub traceparent: Option<&'a str>,
    /// To what nothing that is judged here could be said: `websocket`, or `:protocol` (RFC 8441).
    pub upgrade: bool,
    pub method_override: bool,
    pub path_override: bool,
    /// What must not reach the upstream from a caller (design: answers on the wire).
    pub unwanted: Unwanted,
}

impl<'a> Head<'a> {
    pub(crate) fn read(headers: &[(&'a [u8], &'a [u8])]) -> Result<Head<'a>, Reason> {
        let mut head = Head {
            method: Method::Other,
            path: "",
            query: None,
            authority: "",
            authorization: None,
            origin: None,
            content_type: None,
            content_encoding: None,
            content_length: None,
            protocol_version: None,
            mcp_method: None,
            mcp_name: None,
            session_id: None,
            last_event_id: None,
            forwarded_cert: None,
            request_id: None,
            traceparent: None,
            upgrade: false,
            method_override: false,
            path_override: false,
            unwanted: Unwanted::default(),
        };
        let (mut method, mut target, mut authority, mut session) = (None, None, None, None);
        let mut hops = Hops::default();
        let mut certs = 0;
        for (name, value) in headers {
            let alone = match *name {
                b":method" => &mut method,
                b":path" => &mut target,
                b":authority" | b"host" => &mut authority,
                b"authorization" => &mut head.authorization,
                b"origin" => &mut head.origin,
                b"content-type" => &mut head.content_type,
                b"content-encoding" => &mut head.content_encoding,
                b"content-length" => &mut head.content_length,
                b"mcp-session-id" => &mut session,
                b"mcp-method" => &mut head.mcp_method,
                b"mcp-name" => &mut head.mcp_name,
                b"mcp-protocol-version" => {
                    head.protocol_version = Some(agreed(head.protocol_version, text(value)?)?);
                    continue;
                }
                b"x-request-id" => {
                    // Only recorded, as claimed.
                    head.request_id.get_or_insert(text(value)?);
                    continue;
                }
                b"x-forwarded-client-cert" => {
                    certs += 1;
                    // What cannot be read names nobody (P40).
                    head.forwarded_cert = text(value).ok().filter(|_| certs == 1);
                    continue;
                }
                b"last-event-id" => {
                    head.last_event_id.get_or_insert(text(value)?);
                    continue;
                }
                b"traceparent" => {
                    head.traceparent.get_or_insert(text(value)?);
                    continue;
                }
                b":protocol" | b"upgrade" | b"connection" | b"http2-settings" => {
                    hops.note(name, value)?;
                    continue;
                }
                other => {
                    head.note(other)?;
                    continue;
                }
            };
            if alone.replace(text(value)?).is_some() {
                return Err(Reason::HeaderDuplicated);
            }
        }
        // Proxies join repeated headers by comma. None of these may hold one; a session's id may (MCP 2025-11-25: visible ASCII).
        let joined = [head.content_type, head.content_length, head.origin];
        if joined.into_iter().flatten().any(|value| value.contains(',')) {
            return Err(Reason::HeaderDuplicated);
        }
        head.upgrade = hops.leads_away();
        hops.taken_out(&mut head.unwanted);
        head.session_id = session.filter(|id| !id.is_empty());
        head.authority = authority.unwrap_or_default();
        let target = target.unwrap_or_default();
        (head.path, head.query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        head.method = match method.unwrap_or_default() {
            "POST" => Method::Post,
            "GET" => Method::Get,
            "DELETE" => Method::Delete,
            "HEAD" => Method::Head,
            "CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        Ok(head)
    }

    /// By the name alone: the value of a header that is not read may be anything (RFC 9110 5.5).
    fn note(&mut self, name: &[u8]) -> Result<(), Reason> {
        match name {
            b"x-http-method-override" | b"x-http-method" | b"x-method-override" => self.method_override = true,
            // Frameworks route by these in place of the path that was judged.
            b"x-original-url" | b"x-rewrite-url" => self.path_override = true,
            b"txn-token" | b"x-mcp-authorized" | b"x-envoy-original-dst-host" | b"x-envoy-max-retries" => {
                self.unwanted.take_out(text(name)?);
            }
            // It would come before the end of a stream that is ours (P35).
            b"x-envoy-upstream-rq-timeout-ms" => self.unwanted.take_out(text(name)?),
            _ if name.starts_with(b"x-envoy-retry-") || name.starts_with(b"x-envoy-hedge-") => {
                self.unwanted.take_out(text(name)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// True if a body is announced. Where none is, one may follow all the same.
    pub(crate) fn announces_body(&self) -> bool {
        self.content_length.is_some_and(|length| length != "0")
    }

    /// RFC 6750 2.3 allows a token in the query; MCP and OAuth 2.1 forbid it, and an upstream might read it.
    pub(crate) fn has_token_in_query(&self) -> bool {
        self.query.is_some_and(has_token)
    }

    /// The caller's trace, where it is one (W3C Trace Context 3.2): calls made for it carry it on, so it must be short.
    pub(crate) fn traceparent(&self) -> Option<&'a str> {
        self.traceparent.filter(|value| {
            let parts: Vec<&str> = value.split('-').collect();
            let [version, trace, parent, flags] = parts.as_slice() else { return false };
            let is_hex = |text: &str, length: usize| {
                text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            };
            let is_set = |text: &str| text.bytes().any(|b| b != b'0');
            is_hex(version, 2)
                && *version != "ff"
                && is_hex(trace, 32)
                && is_set(trace)
                && is_hex(parent, 16)
                && is_set(parent)
                && is_hex(flags, 2)
        })
    }

    /// `x-request-id`, where it is short enough to be passed on: at most 128 visible characters.
    pub(crate) fn request_id(&self) -> Option<&'a str> {
        self.request_id.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
    }

    /// What stands behind `Bearer` (RFC 6750 2.1), not looked at yet.
    pub(crate) fn presented(&self) -> Result<&'a str, Reason> {
        let value = self.authorization.ok_or(Reason::TokenMissing)?;
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            // A joined pair whose first half is another scheme is ambiguous, not merely foreign.
            return Err(if value.contains(',') { Reason::HeaderDuplicated } else { Reason::SchemeNotBearer });
        }
        Ok(token)
    }

    /// The one bearer token: that, where it has the form of one.
    pub(crate) fn bearer(&self) -> Result<&'a str, Reason> {
        let token = self.presented()?;
        // RFC 6750 2.1, b64token: the padding of those that are no JWS.
        let bare = token.trim_end_matches('=');
        if bare.is_empty() || !bare.bytes().all(is_token68) {
            return Err(if token.contains(',') { Reason::HeaderDuplicated } else { Reason::TokenMalformed });
        }
        Ok(token)
    }

    /// The announced size of the body, if it is a number.
    pub(crate) fn content_length(&self) -> Option<Result<u64, Reason>> {
        let digits = self.content_length?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Some(Err(Reason::HeaderMalformed));
        }
        // More than fits is more than any limit.
        Some(Ok(digits.parse().unwrap_or(u64::MAX)))
    }

    /// `application/json`, with no parameter but `charset=utf-8`.
    pub(crate) fn is_json(&self) -> bool {
        let mut parts = self.content_type.unwrap_or_default().split(';').map(|part| part.trim_matches([' ', '\t']));
        parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"))
            && parts.all(|parameter| {
                parameter.eq_ignore_ascii_case("charset=utf-8") || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
            })
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(bytes).map_err(|_| Reason::HeaderMalformed)
}

/// Equal values count as one, as lines or joined by a comma: what a proxy makes of a client that says it twice (P29).
fn agreed<'a>(before: Option<&'a str>, value: &'a str) -> Result<&'a str, Reason> {
    if before.is_none() && !value.contains(',') {
        return Ok(value);
    }
    let item = |item: &'a str| if value.contains(',') { item.trim_matches([' ', '\t']) } else { item };
    let mut values = before.into_iter().chain(value.split(',').map(item));
    let first = values.next().unwrap_or_default();
    if values.all(|other| other == first) { Ok(first) } else { Err(Reason::HeaderDuplicated) }
}

fn has_token(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| names_token(&percent_decoded(pair.split('=').next().unwrap_or_default())))
}

/// Has this path with its query a token in it?
pub(crate) fn target_has_token(target: &str) -> bool {
    target.split_once('?').is_some_and(|(_, query)| has_token(query))
}

/// Would any reader take a query parameter of this name for `access_token`? PHP skips blanks before a name, ends it at a NUL, reads
/// dots, blanks and a bracket as underscores, and what stands behind a bracket as an index.
fn names_token(name: &[u8]) -> bool {
    const TOKEN: &[u8] = b"access_token";
    let name = name.trim_ascii_start();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let plain = |byte: &u8| if b". +[".contains(byte) { b'_' } else { byte.to_ascii_lowercase() };
    let (head, rest) = name.split_at(name.len().min(TOKEN.len()));
    head.iter().map(plain).eq(TOKEN.iter().copied()) && matches!(rest, [] | [b'[', ..])
}

// RFC 7235 2.1, without the padding.
fn is_token68(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(list: &[(&'a str, &'a str)]) -> Vec<(&'a [u8], &'a [u8])> {
        list.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    }

    #[test]
    fn a_header_that_must_stand_alone_comes_once() {
        for name in ["authorization", "content-type", "mcp-name", "mcp-method", "origin", "mcp-session-id"] {
            let twice = headers(&[(name, "a"), (name, "a")]);
            assert_eq!(Head::read(&twice).unwrap_err(), Reason::HeaderDuplicated, "{name}");
        }
        let joined = headers(&[("content-type", "application/json,text/plain")]);
        assert_eq!(Head::read(&joined).unwrap_err(), Reason::HeaderDuplicated);
    }

    #[test]
    fn host_beside_authority_is_a_duplicate() {
        let both = headers(&[(":authority", "a"), ("host", "b")]);
        assert_eq!(Head::read(&both).unwrap_err(), Reason::HeaderDuplicated);
    }

    #[test]
    fn a_name_that_is_no_text_cannot_be_taken_out() {
        let pair: (&[u8], &[u8]) = (b"x-envoy-retry-\xff", b"a");
        assert_eq!(Head::read(&[pair]).unwrap_err(), Reason::HeaderMalformed);
    }

    #[test]
    fn bearer_takes_exactly_one_token68() {
        let cases = [
            ("Bearer abc.def-_~+/", Ok("abc.def-_~+/")),
            ("bEARER x", Ok("x")),
            ("Basic abc", Err(Reason::SchemeNotBearer)),
            ("Bearer", Err(Reason::TokenMalformed)),
            ("Bearer ", Err(Reason::TokenMalformed)),
            ("Bearer  x", Err(Reason::TokenMalformed)),
            ("Bearer x y", Err(Reason::TokenMalformed)),
            ("Bearer x==", Ok("x==")),
            ("Bearer =", Err(Reason::TokenMalformed)),
            ("Bearer x=y", Err(Reason::TokenMalformed)),
            ("Bearer a,Bearer b", Err(Reason::HeaderDuplicated)),
            ("Basic a,Bearer b", Err(Reason::HeaderDuplicated)),
            ("Bearer\tx", Err(Reason::SchemeNotBearer)),
        ];
        for (value, expected) in cases {
            let list = headers(&[("authorization", value)]);
            assert_eq!(Head::read(&list).unwrap().bearer(), expected, "{value}");
        }
        assert_eq!(Head::read(&headers(&[])).unwrap().bearer(), Err(Reason::TokenMissing));
    }

    #[test]
    fn tokens_in_the_query_are_found_however_they_are_written() {
        for (path, found) in [
            ("/mcp?access_token=x", true),
            ("/mcp?a=1&ACCESS_token=x", true),
            ("/mcp?acc%65ss%5Ftoken=x", true),
            ("/mcp?a=1;access_token", true),
            ("/mcp?access.token=x", true),
            ("/mcp?access%20token=x", true),
            ("/mcp?access+token=x", true),
            ("/mcp?access[token=x", true),
            ("/mcp?%20access_token=x", true),
            ("/mcp?access_token%00a=x", true),
            ("/mcp?access_token[]=x", true),
            ("/mcp?access-token=x", false),
            ("/mcp?a=access_token", false),
            ("/mcp?access_tokens=1", false),
            ("/access_token=1", false),
            ("/mcp?%", false),
        ] {
            let list = headers(&[(":path", path)]);
            assert_eq!(Head::read(&list).unwrap().has_token_in_query(), found, "{path}");
        }
    }

    #[test]
    fn json_content_types() {
        for (value, json) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\"", true),
            ("application/json; charset=utf-16", false),
            ("application/json; q=1", false),
            ("application/json-rpc", false),
            ("text/plain", false),
            ("", false),
        ] {
            let list = headers(&[("content-type", value)]);
            assert_eq!(Head::read(&list).unwrap().is_json(), json, "{value}");
        }
    }
}
