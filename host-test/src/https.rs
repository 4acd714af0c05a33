//! The way out to servers: HTTP/1.1 and HTTP/2, with TLS against the system's certificates.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use http::response::Parts;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Follows no redirects.
pub(crate) type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client. Clones of it share their connections.
pub(crate) fn client() -> Result<HttpsClient> {
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(tokio_rustls::rustls::crypto::ring::default_provider())
        .context("the system's certificates cannot be read")?
        .https_or_http()
        .enable_all_versions()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// Of a document. No metadata is longer.
const MOST: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks, and reads the whole answer.
pub(crate) async fn ask(client: &HttpsClient, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
    let (head, body) = whole(client, request).await?;
    Ok((head.status, body))
}

/// The same, with the head of the answer.
pub(crate) async fn whole(client: &HttpsClient, request: Request<Full<Bytes>>) -> Result<(Parts, Bytes)> {
    let uri = request.uri().clone();
    let asked = async {
        let (head, body) = client.request(request).await?.into_parts();
        let body = Limited::new(body, MOST).collect().await.map_err(|error| anyhow!("{error}"))?;
        Ok::<_, anyhow::Error>((head, body.to_bytes()))
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| anyhow!("nothing in {PATIENCE:?}"));
    answer.and_then(|answer| answer).with_context(|| format!("{uri} does not answer"))
}
