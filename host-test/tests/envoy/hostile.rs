//! Requests nobody sends by accident: refused by the filter's reason or by Envoy itself, and the worker lives on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{EnvoyStack, Options, Server, Stack as _};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::{call, expect};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![trial("hostile::refused_and_the_worker_lives", refused_and_the_worker_lives)]
}

/// Who refuses, and how.
enum By {
    Filter(u16, &'static str),
    Envoy(u16),
}

use By::{Envoy, Filter};

struct Case {
    what: &'static str,
    /// Header lines beside the usual ones; a usual one of the same name is left out unless `keep_usual`.
    headers: &'static [&'static [u8]],
    keep_usual: bool,
    path: &'static [u8],
    body: fn() -> Vec<u8>,
    by: By,
}

const DEFAULT: Case = Case { what: "", headers: &[], keep_usual: false, path: b"/notes/mcp", body: ping, by: Envoy(0) };

fn ping() -> Vec<u8> {
    br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_vec()
}

fn large() -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#, "a".repeat(3 << 20)).into_bytes()
}

fn deep() -> Vec<u8> {
    let (open, close) = ("[".repeat(5000), "]".repeat(5000));
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{open}{close}}}}}"#).into_bytes()
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { what: "invalid UTF-8 in authorization", headers: &[b"authorization: Bearer \xc3\x28"], by: Filter(400, "header_malformed"), ..DEFAULT },
    Case { what: "invalid UTF-8 in mcp-name", headers: &[b"mcp-name: \xa0\xa1"], by: Filter(400, "header_malformed"), ..DEFAULT },
    Case { what: "invalid UTF-8 in content-type", headers: &[b"content-type: application/json\xff"], by: Filter(400, "header_malformed"), ..DEFAULT },
    Case { what: "invalid UTF-8 in origin", headers: &[b"origin: http://\xff"], by: Filter(400, "header_malformed"), ..DEFAULT },
    Case { what: "invalid UTF-8 in a header name", headers: &[b"x-\xff: a"], by: Envoy(400), ..DEFAULT },
    Case { what: "invalid UTF-8 in the path", path: b"/notes/mcp\xff", by: Envoy(400), ..DEFAULT },
    Case { what: "two authorization headers", headers: &[b"authorization: Bearer a"], keep_usual: true, by: Filter(400, "header_duplicated"), ..DEFAULT },
    Case { what: "two content-type headers", headers: &[b"content-type: text/plain"], keep_usual: true, by: Filter(400, "header_duplicated"), ..DEFAULT },
    Case { what: "two mcp-name headers", headers: &[b"mcp-name: echo", b"mcp-name: get-env"], by: Filter(400, "header_duplicated"), ..DEFAULT },
    Case { what: "two mcp-protocol-version headers", headers: &[b"mcp-protocol-version: 2025-11-25", b"mcp-protocol-version: 2026-07-28"], by: Filter(400, "header_duplicated"), ..DEFAULT },
    Case { what: "two host headers", headers: &[b"host: a"], keep_usual: true, by: Envoy(400), ..DEFAULT },
    Case { what: "two content-length headers", headers: &[b"content-length: 3"], keep_usual: true, by: Envoy(400), ..DEFAULT },
    Case { what: "content-length beside chunked", headers: &[b"transfer-encoding: chunked"], keep_usual: true, by: Envoy(400), ..DEFAULT },
    Case { what: "a body of 3 MB", body: large, by: Filter(413, "body_too_large"), ..DEFAULT },
    Case { what: "JSON 5,000 deep", body: deep, by: Filter(400, "too_deep"), ..DEFAULT },
    Case { what: "a NUL in a header", headers: &[b"x-anything: a\0b"], by: Envoy(400), ..DEFAULT },
    Case { what: "an upgrade", headers: &[b"upgrade: websocket", b"connection: upgrade"], by: Envoy(403), ..DEFAULT },
    Case { what: "a method override", headers: &[b"x-http-method-override: DELETE"], by: Filter(400, "method_override"), ..DEFAULT },
    Case { what: "a token in the query", path: b"/notes/mcp?access_token=x", by: Filter(400, "token_in_query"), ..DEFAULT },
    Case { what: "a foreign origin", headers: &[b"origin: https://evil.example"], by: Filter(403, "origin_not_allowed"), ..DEFAULT },
];

fn refused_and_the_worker_lives() -> Result<()> {
    // One worker: the next request meets the same VM.
    let stack = EnvoyStack::start(&Options { workers: 1, ..Options::default() })?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let harmless = call(&stack, Server::Notes, &token, "echo");
    let mut wrong = Vec::new();
    for case in CASES {
        let (status, body) = send_raw(&stack, &token, case)?;
        let reason = serde_json::from_str::<Value>(&body)
            .ok()
            .and_then(|body| Some(body.pointer("/error/data/reason")?.as_str()?.to_owned()));
        let as_expected = match case.by {
            Filter(expected, name) => status == expected && reason.as_deref() == Some(name),
            Envoy(expected) => status == expected && reason.is_none(),
        };
        println!("{:40} {status} by {}", case.what, reason.as_deref().unwrap_or("Envoy"));
        if !as_expected {
            wrong.push(format!("{}: {status} {reason:?} {body}", case.what));
        }
        expect(&harmless, 200, "").with_context(|| format!("after {}", case.what))?;
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    ensure!(stack.stat("wasm.step-up.vm_reload_success")? == 0, "a VM was reloaded");
    Ok(())
}

fn send_raw(stack: &EnvoyStack, token: &str, case: &Case) -> Result<(u16, String)> {
    let body = (case.body)();
    let usual = [
        format!("host: 127.0.0.1:{}", stack.port()),
        format!("authorization: Bearer {token}"),
        "content-type: application/json".to_owned(),
        "accept: application/json, text/event-stream".to_owned(),
        "mcp-protocol-version: 2025-11-25".to_owned(),
        format!("content-length: {}", body.len()),
    ];
    let name = |line: &[u8]| line.split(|byte| *byte == b':').next().unwrap_or_default().to_vec();
    let mut head = [b"POST ", case.path, b" HTTP/1.1\r\n"].concat();
    for line in &usual {
        if case.keep_usual || !case.headers.iter().any(|other| name(other) == name(line.as_bytes())) {
            head.extend([line.as_bytes(), b"\r\n"].concat());
        }
    }
    for line in case.headers {
        head.extend([line, &b"\r\n"[..]].concat());
    }
    head.extend(b"\r\n");

    let mut stream = TcpStream::connect(("127.0.0.1", stack.port()))?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    stream.write_all(&head)?;
    // A refusal may come before all of the body is sent; what it says is read either way.
    let _ = stream.write_all(&body);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..size]);
        if complete(&answer) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("{}: no answer: {text:?}", case.what))?;
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

fn complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}
