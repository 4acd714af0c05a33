//! What a record leaves open of a caller's token: each way in which it could have been.

use serde_json::{Map, Value, json};
use step_up_core::{Need, Words};

/// A token, and what it assumes: one choice of each dimension, by position.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub claims: Map<String, Value>,
    pub certificate: Option<&'static str>,
    pub choice: Vec<usize>,
}

/// What differs from one to the other.
pub(super) const DIMENSIONS: [&str; 4] =
    ["the scopes of the token", "the life of the token", "the login", "whether the token is bound to a certificate"];

/// More ways than this are not tried.
const MOST: usize = 600;
/// Nor of more scopes than these: each set of them is one.
const MOST_SCOPES: usize = 8;

const CERTIFICATE: &str = "a3f1c1d5b2e94a7f8d6c5b4a39281706f5e4d3c2b1a0998877665544332211ff";
/// The same digest in base64url.
const THUMBPRINT: &str = "o_HB1bLpSn-NbFtKOSgXBvXk08KxoJmId2ZVRDMiEf8";

/// All of them; `None`: there are too many.
pub(super) fn all(record: &Value, needs: &[Need], name: &str) -> Option<Vec<World>> {
    let words: Vec<Words> = needs.iter().map(Need::words).flat_map(|words| with_raises(&words)).collect();
    let lacks: Vec<&str> = texts(record.get("missing"));
    let mut scopes: Vec<String> =
        needs.iter().flat_map(|need| need.scopes(name)).filter(|scope| !lacks.contains(&scope.as_str())).collect();
    scopes.sort();
    scopes.dedup();
    let mut lives: Vec<Value> = vec![json!({ "iat": { "now": -1 }, "exp": { "now": 29 } })];
    let mut bounds: Vec<u64> = words.iter().filter_map(|words| words.max_lifetime).collect();
    bounds.sort_unstable();
    bounds.dedup();
    lives.extend(bounds.iter().map(|bound| json!({ "iat": { "now": -1 }, "exp": { "now": bound + 59 } })));
    let mut logins = vec![json!({})];
    if words.iter().any(|words| words.max_age.is_some() || !words.acr.is_empty()) {
        let mut acrs: Vec<Option<&String>> = vec![None];
        acrs.extend(words.iter().flat_map(|words| &words.acr).map(Some));
        acrs.dedup();
        logins = acrs
            .iter()
            .flat_map(|acr| [json!({ "acr": acr }), json!({ "acr": acr, "auth_time": { "now": -1 } })])
            .collect();
    }
    let bindings: &[bool] = if words.iter().any(|words| words.bound) { &[false, true] } else { &[false] };
    if scopes.len() > MOST_SCOPES {
        return None;
    }
    let scopes = subsets(&scopes);
    if scopes.len() * lives.len() * logins.len() * bindings.len() > MOST {
        return None;
    }
    let mut worlds = Vec::new();
    for (a, scope) in scopes.iter().enumerate() {
        for (b, life) in lives.iter().enumerate() {
            for (c, login) in logins.iter().enumerate() {
                for (d, is_bound) in bindings.iter().enumerate() {
                    let mut claims = known(record);
                    claims.insert("scope".to_owned(), json!(scope));
                    for part in [life, login] {
                        claims.extend(
                            part.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())),
                        );
                    }
                    if *is_bound {
                        claims.insert("cnf".to_owned(), json!({ "x5t#S256": THUMBPRINT }));
                    }
                    let certificate = is_bound.then_some(CERTIFICATE);
                    worlds.push(World { claims, certificate, choice: vec![a, b, c, d] });
                }
            }
        }
    }
    Some(worlds)
}

/// What the record says of the token.
fn known(record: &Value) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert(super::conditions::MARK.to_owned(), json!("yes"));
    for (field, claim) in [("issuer", "iss"), ("subject", "sub"), ("client", "client_id")] {
        // What is not recorded was not there: null takes the claim away.
        claims.insert(claim.to_owned(), record.get(field).cloned().unwrap_or(Value::Null));
    }
    let actors = texts(record.get("actors"));
    let act = actors.iter().rev().fold(Value::Null, |inner, actor| match inner {
        Value::Null => json!({ "sub": actor }),
        inner => json!({ "sub": actor, "act": inner }),
    });
    if !act.is_null() {
        claims.insert("act".to_owned(), act);
    }
    claims
}

/// Every subset, each as the text of a claim.
fn subsets(scopes: &[String]) -> Vec<String> {
    let of = |bits: usize| {
        let kept = scopes.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, scope)| scope.as_str());
        kept.collect::<Vec<_>>().join(" ")
    };
    (0..1_usize << scopes.len()).map(of).collect()
}

fn with_raises(words: &Words) -> Vec<Words> {
    let raises = words.raises.iter().flat_map(|(_, part)| with_raises(part));
    std::iter::once(words.clone()).chain(raises).collect()
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}
