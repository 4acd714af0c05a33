//! As much of a registry as a reader needs: manifests and blobs.

use std::io::{BufRead as _, BufReader, Result, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::REFERENCE;
use crate::layout::Layout;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Serves a layout as [`REFERENCE`] until the test ends. Gives the address of an HTTP proxy, which knows this registry only.
pub fn serve(layout: Layout) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming() {
            // Who leaves early misses an answer, and says so.
            let _ = client.and_then(|client| answer(&layout, client));
        }
    });
    address
}

/// One request for each connection.
fn answer(layout: &Layout, mut client: TcpStream) -> Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut words = first.split(' ');
    let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let found = found(layout, url);
    let (status, body) = found.as_ref().map_or(("404 Not Found", &b"{}"[..]), |(_, body)| ("200 OK", body));
    write!(client, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len())?;
    if let Some((Some(digest), _)) = found {
        write!(client, "Content-Type: {MANIFEST}\r\nDocker-Content-Digest: {digest}\r\n")?;
    }
    client.write_all(b"\r\n")?;
    if method != "HEAD" {
        client.write_all(body)?;
    }
    Ok(())
}

/// A body; with its digest, if it is a manifest.
fn found<'l>(layout: &'l Layout, url: &str) -> Option<(Option<&'l str>, &'l [u8])> {
    let (host, repository) = REFERENCE.split_once('/')?;
    let path = url.strip_prefix("http://")?.strip_prefix(host)?.strip_prefix("/v2/")?;
    if path.is_empty() {
        return Some((None, b"{}"));
    }
    match path.strip_prefix(repository)?.strip_prefix('/')?.split_once('/')? {
        ("manifests", name) => layout.manifest(name).map(|(digest, bytes)| (Some(digest), bytes)),
        ("blobs", digest) => layout.blob(digest).map(|bytes| (None, bytes)),
        _ => None,
    }
}
