//! Issuers, clients and servers as they are in the field.

mod clients;
mod frames;
mod issuers;
mod opaque;
mod places;
mod proxies;
mod servers;

use serde_json::{Value as Json, json};

use crate::support::*;

const AT: &str = "/issuers/https:~1~1as.example.com";

/// A document with one open tool, and this said of its issuer.
fn speaking(more: Json) -> Json {
    let mut document = document(json!({ "get": { "scope": "repo:read" } }));
    let issuer = document.pointer_mut(AT).expect("the issuer");
    for (name, value) in more.as_object().expect("a map") {
        issuer[name] = value.clone();
    }
    document
}

/// The reason of a call of `get`.
#[track_caller]
fn reason(document: &Json, token: &Token) -> String {
    judge(document, &token.text(), "get").reason().to_owned()
}

fn able() -> Token {
    Token::new("mcp:connect repo:read")
}
