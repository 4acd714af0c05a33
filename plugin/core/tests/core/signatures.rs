//! Signatures: five algorithms, and nothing but signatures from the library that checks them.

use std::sync::LazyLock;

use jwt_simple::prelude::*;
use serde_json::{Map, Value as Json, json};

use crate::support;
use crate::support::*;
use crate::support::{Token, base64};

struct Pairs {
    es256: ES256KeyPair,
    es384: ES384KeyPair,
    rs256: RS256KeyPair,
    ps256: PS256KeyPair,
    eddsa: Ed25519KeyPair,
}

impl Pairs {
    fn generate() -> Pairs {
        let rsa = RS256KeyPair::generate(2048).unwrap();
        Pairs {
            es256: ES256KeyPair::generate().with_key_id("es256"),
            es384: ES384KeyPair::generate().with_key_id("es384"),
            ps256: PS256KeyPair::from_der(&rsa.to_der().unwrap()).unwrap().with_key_id("rsa"),
            rs256: rsa.with_key_id("rsa"),
            eddsa: Ed25519KeyPair::generate().with_key_id("eddsa"),
        }
    }

    fn sign(&self, algorithm: &str, claims: &Json) -> String {
        let options = HeaderOptions { signature_type: Some("at+jwt".to_owned()), ..Default::default() };
        let claims = JWTClaims::<Map<String, Json>> {
            issued_at: None,
            expires_at: None,
            invalid_before: None,
            issuer: None,
            subject: None,
            audiences: None,
            jwt_id: None,
            nonce: None,
            custom: claims.as_object().unwrap().clone(),
        };
        match algorithm {
            "ES256" => self.es256.sign_with_options(claims, &options),
            "ES384" => self.es384.sign_with_options(claims, &options),
            "RS256" => self.rs256.sign_with_options(claims, &options),
            "PS256" => self.ps256.sign_with_options(claims, &options),
            _ => self.eddsa.sign_with_options(claims, &options),
        }
        .unwrap()
    }

    fn jwks(&self) -> Json {
        let point = |bytes: Vec<u8>| (base64(&bytes[1..=bytes.len() / 2]), base64(&bytes[1 + bytes.len() / 2..]));
        let (x256, y256) = point(self.es256.public_key().public_key().to_bytes_uncompressed());
        let (x384, y384) = point(self.es384.public_key().public_key().to_bytes_uncompressed());
        let rsa = self.rs256.public_key().to_components();
        json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "es256", "x": x256, "y": y256 },
            { "kty": "EC", "crv": "P-384", "kid": "es384", "x": x384, "y": y384 },
            { "kty": "RSA", "kid": "rsa", "n": base64(rsa.n), "e": base64(rsa.e) },
            { "kty": "OKP", "crv": "Ed25519", "kid": "eddsa", "x": base64(self.eddsa.public_key().to_bytes()) },
        ] })
    }
}

static PAIRS: LazyLock<Pairs> = LazyLock::new(Pairs::generate);
static STRANGERS: LazyLock<Pairs> = LazyLock::new(Pairs::generate);

const ALGORITHMS: [&str; 5] = ["ES256", "ES384", "RS256", "PS256", "EdDSA"];

fn issuer_with(keys: Json, algorithms: &[&str]) -> Json {
    let issuer = json!({ ISSUER: { "keys": keys, "algorithms": algorithms } });
    with(document(json!({ "get": { "scope": [] } })), "/issuers", issuer)
}

fn claims() -> Json {
    Token::new(BASELINE).claims().clone()
}

/// What becomes of a call with this token; `None` when it is forwarded.
fn refusal(document: &Json, token: &str) -> Option<String> {
    let settled = judge(document, token, "get");
    (!settled.is_forwarded()).then(|| settled.reason().to_owned())
}

fn parts(token: &str) -> (String, Vec<u8>) {
    use ::base64::Engine as _;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = ::base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
    (signed.to_owned(), signature)
}

#[test]
fn good_signatures_of_five_algorithms() {
    let document = issuer_with(PAIRS.jwks(), &ALGORITHMS);
    for algorithm in ALGORITHMS {
        assert_eq!(refusal(&document, &PAIRS.sign(algorithm, &claims())), None, "{algorithm}");
    }
}

#[test]
fn one_flipped_bit_spoils_a_signature() {
    let document = issuer_with(PAIRS.jwks(), &ALGORITHMS);
    for algorithm in ALGORITHMS {
        let (signed, signature) = parts(&PAIRS.sign(algorithm, &claims()));
        for place in [0, signature.len() / 2, signature.len() - 1] {
            let mut flipped = signature.clone();
            flipped[place] ^= 1;
            let token = format!("{signed}.{}", base64(&flipped));
            assert_eq!(refusal(&document, &token).as_deref(), Some("signature_invalid"), "{algorithm} at {place}");
        }
    }
}

#[test]
fn one_changed_claim_spoils_a_signature() {
    let document = issuer_with(PAIRS.jwks(), &ALGORITHMS);
    let other = with(claims(), "/scope", json!("mcp:connect repo:admin"));
    for algorithm in ALGORITHMS {
        let (_, signature) = parts(&PAIRS.sign(algorithm, &claims()));
        let (signed, _) = parts(&PAIRS.sign(algorithm, &other));
        let token = format!("{signed}.{}", base64(&signature));
        assert_eq!(refusal(&document, &token).as_deref(), Some("signature_invalid"), "{algorithm}");
    }
}

#[test]
fn signatures_of_a_wrong_length_are_no_signatures() {
    let document = issuer_with(PAIRS.jwks(), &ALGORITHMS);
    for algorithm in ALGORITHMS {
        let (signed, signature) = parts(&PAIRS.sign(algorithm, &claims()));
        let shorter = signature[..signature.len() - 1].to_vec();
        let longer = [&signature[..], &[0]].concat();
        let zeros = vec![0; signature.len()];
        for wrong in [shorter, longer, zeros, Vec::new()] {
            let token = format!("{signed}.{}", base64(&wrong));
            assert_eq!(refusal(&document, &token).as_deref(), Some("signature_invalid"), "{algorithm}");
        }
    }
}

#[test]
fn the_same_kid_of_somebody_else_is_not_enough() {
    let document = issuer_with(PAIRS.jwks(), &ALGORITHMS);
    for algorithm in ALGORITHMS {
        let token = STRANGERS.sign(algorithm, &claims());
        assert_eq!(refusal(&document, &token).as_deref(), Some("signature_invalid"), "{algorithm}");
    }
}

#[test]
fn only_listed_algorithms_are_accepted() {
    for algorithm in ALGORITHMS {
        let others: Vec<&str> = ALGORITHMS.into_iter().filter(|other| *other != algorithm).collect();
        let token = PAIRS.sign(algorithm, &claims());
        let reason = refusal(&issuer_with(PAIRS.jwks(), &others), &token);
        assert_eq!(reason.as_deref(), Some("algorithm_not_allowed"), "{algorithm}");
    }
}

#[test]
fn a_key_is_for_the_algorithm_it_names() {
    let mut jwks = PAIRS.jwks();
    jwks["keys"][2]["alg"] = json!("PS256");
    let document = issuer_with(jwks, &ALGORITHMS);
    assert_eq!(refusal(&document, &PAIRS.sign("PS256", &claims())), None);
    let reason = refusal(&document, &PAIRS.sign("RS256", &claims()));
    assert_eq!(reason.as_deref(), Some("algorithm_not_allowed"));
}

#[test]
fn a_kid_of_another_kind_of_key_does_not_fit() {
    let mut jwks = PAIRS.jwks();
    jwks["keys"][0]["kid"] = json!("rsa");
    jwks["keys"][2]["kid"] = json!("es256");
    let document = issuer_with(jwks, &ALGORITHMS);
    for algorithm in ["ES256", "RS256", "PS256"] {
        let reason = refusal(&document, &PAIRS.sign(algorithm, &claims()));
        assert_eq!(reason.as_deref(), Some("algorithm_not_allowed"), "{algorithm}");
    }
}

#[test]
fn two_keys_of_one_kid_are_both_tried() {
    let both: Vec<Json> =
        [STRANGERS.jwks(), PAIRS.jwks()].iter().flat_map(|jwks| jwks["keys"].as_array().unwrap().clone()).collect();
    let document = issuer_with(json!({ "keys": both }), &ALGORITHMS);
    for algorithm in ALGORITHMS {
        assert_eq!(refusal(&document, &PAIRS.sign(algorithm, &claims())), None, "{algorithm}");
        assert_eq!(refusal(&document, &STRANGERS.sign(algorithm, &claims())), None, "{algorithm}");
    }
}

#[test]
fn the_salt_of_ps256_is_as_long_as_its_hash() {
    let vector: Json = serde_json::from_str(include_str!("vectors/ps256-salts.json")).unwrap();
    let jwk = json!({ "kty": "RSA", "n": vector["n"], "e": "AQAB" });
    let document = issuer_with(json!({ "keys": [jwk] }), &["PS256"]);
    let mut accepted = Vec::new();
    for (salt, signature) in vector["signatures"].as_object().unwrap() {
        let token = format!("{}.{}", vector["signed"].as_str().unwrap(), signature.as_str().unwrap());
        if refusal(&document, &token).is_none() {
            accepted.push(salt.as_str());
        }
    }
    assert_eq!(accepted, ["32"], "RFC 7518 3.5");
}

#[test]
fn small_order_points_are_no_ed25519_keys() {
    // Under the first, a signature of zeros would verify every message.
    for x in [[0_u8; 32], std::array::from_fn(|at| u8::from(at == 0))] {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": base64(x) });
        let place = "/issuers/https:~1~1as.example.com/keys";
        let document = with(document(json!({ "get": { "scope": [] } })), place, json!({ "keys": [jwk] }));
        if step_up_core::Policy::load(document.to_string().as_bytes(), &step_up_core::NoEnvironment).is_err() {
            continue;
        }
        let (signed, _) = parts(&Token::new(BASELINE).text());
        for signature in [[0; 64].to_vec(), [x.to_vec(), vec![0; 32]].concat()] {
            let token = format!("{signed}.{}", base64(&signature));
            assert_eq!(refusal(&document, &token).as_deref(), Some("signature_invalid"));
        }
    }
}

// What jwt-simple would decide by itself, and must not.

#[test]
fn time_is_ours_and_not_that_of_the_clock() {
    // Valid at the gate's time, whatever the machine's clock says.
    for start in [1_000_000_000, 4_000_000_000_u64] {
        let policy = load(&document(json!({ "get": { "scope": [] } })));
        let now = step_up_core::Millis(start * 1000);
        let token = |iat: u64, exp: u64| Token::new(BASELINE).claim("iat", iat).claim("exp", exp).text();
        let send =
            |token: &str| Vm::in_process(&policy, &Memory::default(), now, 1).send(&Request::call("get").bearer(token));
        send(&token(start - 60, start + 60)).assert_forwarded();
        send(&token(start - 60, start - 29)).assert_forwarded();
        // jwt-simple would accept both for a quarter of an hour.
        send(&token(start - 60, start - 30)).assert_refused(401, "token_expired");
        send(&token(start + 31, start + 60)).assert_refused(401, "token_not_yet_valid");
        send(&token(start - 3600, start - 899)).assert_refused(401, "token_expired");
    }
}

#[test]
fn leeway_is_what_the_policy_says() {
    let place = "/issuers/https:~1~1as.example.com/leeway";
    let document = with(document(json!({ "get": { "scope": [] } })), place, json!("5s"));
    let until = |exp: i64| Token::new(BASELINE).claim("exp", exp).text();
    assert_eq!(refusal(&document, &until(START - 4)), None);
    assert_eq!(refusal(&document, &until(START - 5)).as_deref(), Some("token_expired"));
}

#[test]
fn claims_that_jwt_simple_would_do_without_are_required() {
    for claim in ["iss", "aud", "exp", "iat", "sub"] {
        let document = document(json!({ "get": { "scope": [] } }));
        let reason = refusal(&document, &Token::new(BASELINE).without(claim).text());
        assert_eq!(reason.as_deref(), Some("claim_missing"), "{claim}");
    }
}

#[test]
fn p21_dates_with_a_fraction_are_cut_and_no_other_number_is_a_date() {
    let document = document(json!({ "get": { "scope": [] } }));
    // Microseconds, which no double has exactly (RFC 7519 2).
    for (claim, date, reason) in [
        ("exp", format!("{}.999999", START + 60), None),
        ("iat", format!("{}.999999", START + 29), None),
        ("iat", format!("{}.999999", START + 30), None),
        ("iat", format!("{}.000001", START + 31), Some("token_not_yet_valid")),
        ("nbf", format!("{}.0", START), None),
        ("auth_time", format!("{}.123456", START), None),
        ("exp", format!("{}.999999", START - 31), Some("token_expired")),
        ("exp", format!("{START}e0"), Some("claim_malformed")),
        ("exp", format!("{START}.5e0"), Some("claim_malformed")),
        ("exp", "99999999999999999999.5".to_owned(), Some("claim_malformed")),
    ] {
        let mut claims = Token::new(BASELINE).claims().clone();
        claims[claim] = json!("DATE");
        let payload = claims.to_string().replace("\"DATE\"", &date);
        let token = key().sign(br#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#, payload.as_bytes());
        assert_eq!(refusal(&document, &token).as_deref(), reason, "{claim} {date}");
    }
    for (claim, value) in [("iat", json!(-0.5)), ("nbf", json!(-1e3)), ("exp", json!(1e300))] {
        let reason = refusal(&document, &Token::new(BASELINE).claim(claim, value).text());
        assert_eq!(reason.as_deref(), Some("claim_malformed"), "{claim}");
    }
}

/// Tokens that a check of the signature alone finds good. Envoy's `verify_signature` sees no header and no claim, so
/// whatever differs here would differ between Envoy and every other host.
#[test]
fn members_that_only_jwt_simple_reads_do_not_spoil_a_signature() {
    let place = "/issuers/https:~1~1as.example.com/token_type";
    let document = with(document(json!({ "get": { "scope": [] } })), place, json!("jwt"));
    let good = || Token::new(BASELINE);
    let cases = [
        ("typ: application/jwt", good().header("typ", "application/jwt")),
        ("typ: application/at+jwt", good().header("typ", "application/at+jwt")),
        ("x5c of text", good().header("x5c", "MII")),
        ("x5c of numbers", good().header("x5c", json!([1]))),
        ("salt that is no base64url", good().header("salt", "!")),
        ("an unknown header member", good().header("b64url", json!({ "deep": [1] }))),
        ("a long header", good().header("note", "x".repeat(9000))),
    ];
    let mut spoiled: Vec<&str> = Vec::new();
    for (name, token) in cases {
        let reason = refusal(&document, &token.text());
        // Refused for its form is fine: that is decided before, and so the same with every provider.
        if reason.as_deref() == Some("signature_invalid") {
            spoiled.push(name);
        }
    }
    let strict = support::document(json!({ "get": { "scope": [] } }));
    for nonce in [json!(5), json!({ "a": 1 })] {
        if refusal(&strict, &good().claim("nonce", nonce).text()).as_deref() == Some("signature_invalid") {
            spoiled.push("a nonce that is no text");
        }
    }
    assert!(spoiled.is_empty(), "{spoiled:#?}");
}

#[test]
fn a_jwt_typed_token_may_spell_its_media_type_out() {
    // RFC 7515 4.1.9: `application/` may be left out, and so may also be there.
    let place = "/issuers/https:~1~1as.example.com/token_type";
    let document = with(document(json!({ "get": { "scope": [] } })), place, json!("jwt"));
    assert_eq!(refusal(&document, &Token::new(BASELINE).header("typ", "application/jwt").text()), None);
}
