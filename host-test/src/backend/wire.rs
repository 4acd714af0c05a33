//! A client that sends a request byte by byte, as the script has it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use simulated_proxy::{Client, Headers};

use super::sockets::PATIENCE;

pub(super) struct Response {
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// Sends a request byte by byte as the script has it. `None`: the connection broke.
pub(super) fn exchange(port: u16, client: &Client) -> Result<Option<Response>> {
    let header = |name: &str| client.headers.text(name).unwrap_or_default();
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", header(":method"), header(":path"), header(":authority"))
        .into_bytes();
    for (name, value) in client.headers.0.iter().filter(|(name, _)| !name.starts_with(b":")) {
        head.extend([name.as_slice(), b": ", value, b"\r\n"].concat());
    }
    let length: usize = client.body.iter().map(|chunk| chunk.bytes.len()).sum();
    let is_framed =
        client.headers.get(b"content-length").is_some() || client.headers.get(b"transfer-encoding").is_some();
    // A body of which nothing is there: chunked, with nothing in it.
    let ends_late = !client.body.is_empty() && length == 0 && !is_framed;
    if ends_late {
        head.extend(b"transfer-encoding: chunked\r\n");
    } else if !client.body.is_empty() && !is_framed {
        head.extend(format!("content-length: {length}\r\n").into_bytes());
    }
    head.extend(b"\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(&head)?;
    for chunk in &client.body {
        sleep(Duration::from_millis(chunk.after));
        // Envoy may have answered and closed already.
        if stream.write_all(&chunk.bytes).is_err() {
            break;
        }
    }
    if ends_late {
        let _ = stream.write_all(b"0\r\n\r\n");
    }
    read_response(&mut stream, header(":method") == "HEAD")
}

fn read_response(stream: &mut TcpStream, is_head: bool) -> Result<Option<Response>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let mut slots = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut slots);
        if let httparse::Status::Complete(start) = parsed.parse(&bytes)? {
            let mut headers = Headers::of([(":status", parsed.code.unwrap_or(0).to_string().as_str())]);
            for header in parsed.headers.iter() {
                headers.add(header.name.as_bytes(), header.value);
            }
            let rest = bytes.get(start..).unwrap_or_default();
            if let Some(body) = body(&headers, rest, is_head) {
                return Ok(Some(Response { headers, body }));
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return Ok(None),
            Ok(count) => bytes.extend(buffer.iter().take(count)),
        }
    }
}

/// The body, when it is complete.
fn body(headers: &Headers, rest: &[u8], is_head: bool) -> Option<Vec<u8>> {
    if is_head || matches!(headers.status(), 204 | 304) {
        return Some(Vec::new());
    }
    if let Some(length) = headers.text("content-length").and_then(|length| length.parse::<usize>().ok()) {
        return rest.get(..length).map(<[u8]>::to_vec);
    }
    let (mut body, mut rest) = (Vec::new(), rest);
    loop {
        let httparse::Status::Complete((start, size)) = httparse::parse_chunk_size(rest).ok()? else { return None };
        let size = usize::try_from(size).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend(rest.get(start..start.checked_add(size)?)?);
        rest = rest.get(start + size + 2..)?;
    }
}
