//! Tokens: one that is good, and what a file changes in it.

use super::*;

/// A file of `tokens`: overrides of a token that is good.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Token {
    pub sign: String,
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
    pub raw_header: Option<Bytes>,
    pub raw_payload: Option<Bytes>,
    pub signature: Option<SignatureEdit>,
    pub compact: Vec<Edit>,
    pub expect: String,
    pub on_envoy: Option<String>,
    pub status: Option<u16>,
}

/// Another signature than the one that was made.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum SignatureEdit {
    Der,
    Zeros,
    FlipFirstBit,
    FlipLastBit,
    CutLastByte,
    AddZeroByte,
}

/// An edit of the finished token.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Edit {
    Prepend(String),
    Append(String),
    /// Another text for a part.
    Set {
        part: Part,
        text: String,
    },
    /// More text at the end of a part.
    Add {
        part: Part,
        text: String,
    },
    /// One part less.
    Drop(Part),
    /// One part more.
    AddPart(String),
    /// Other bits where the last character has bits to spare.
    Noncanonical(Part),
    /// `+` and `/` for `-` and `_`.
    StandardAlphabet(Part),
    /// Other claims under the same signature.
    Claims(Map<String, Value>),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    Header,
    Payload,
    Signature,
}

impl Default for Token {
    fn default() -> Token {
        Token {
            sign: "es256".to_owned(),
            header: Map::new(),
            claims: Map::new(),
            raw_header: None,
            raw_payload: None,
            signature: None,
            compact: Vec::new(),
            expect: String::new(),
            on_envoy: None,
            status: None,
        }
    }
}

impl Corpus {
    pub(super) fn mint(&self, token: &Token) -> Result<String> {
        let signer = self.signer(&token.sign)?;
        let header = json!({ "typ": "at+jwt", "alg": signer.algorithm(), "kid": signer.key_id() });
        let claims = json!({
            "iss": "https://as.example.com",
            "sub": "user-1",
            "client_id": "https://agents.example.com/ci.json",
            "aud": "https://mcp.example.com/mcp",
            "iat": { "now": -60 },
            "exp": { "now": 600 },
            "jti": "token-1",
            "scope": "mcp:connect",
        });
        let header = text(header, &token.header, token.raw_header.as_ref(), self.now)?;
        let payload = text(claims, &token.claims, token.raw_payload.as_ref(), self.now)?;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let mut signature = signer.sign(signed.as_bytes(), token.signature == Some(SignatureEdit::Der))?;
        if let Some(edit) = token.signature {
            edit.apply(&mut signature);
        }
        let compact = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        token.compact.iter().try_fold(compact, |text, edit| edit.apply(&text))
    }

    pub(super) fn signer(&self, name: &str) -> Result<Signer> {
        match name {
            "none" => Ok(Signer::Fixed(&[])),
            "garbage" => Ok(Signer::Fixed(&[0xa5; 64])),
            "hs256-with-public-key" => Ok(Signer::Hmac(self.key("rs256")?.public_pem()?)),
            name => self.key(name).map(Signer::Key),
        }
    }

    pub(super) fn key(&self, name: &str) -> Result<Key> {
        Key::read(&fs::read(self.root.join("keys").join(format!("{name}.json")))?)
    }
}

impl SignatureEdit {
    pub(super) fn apply(self, signature: &mut Vec<u8>) {
        match self {
            // It was signed so.
            SignatureEdit::Der => {}
            SignatureEdit::Zeros => signature.fill(0),
            SignatureEdit::FlipFirstBit => signature.iter_mut().take(1).for_each(|byte| *byte ^= 0x80),
            SignatureEdit::FlipLastBit => signature.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1),
            SignatureEdit::CutLastByte => drop(signature.pop()),
            SignatureEdit::AddZeroByte => signature.insert(0, 0),
        }
    }
}

impl Edit {
    pub(super) fn apply(&self, token: &str) -> Result<String> {
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let mut edit = |part: Part, change: &dyn Fn(&str) -> Option<String>| {
            let text = parts.get_mut(part as usize)?;
            *text = change(text)?;
            Some(parts.join("."))
        };
        let edited = match self {
            Edit::Prepend(text) => Some(format!("{text}{token}")),
            Edit::Append(text) => Some(format!("{token}{text}")),
            Edit::AddPart(text) => Some(format!("{token}.{text}")),
            Edit::Set { part, text } => edit(*part, &|_| Some(text.clone())),
            Edit::Add { part, text } => edit(*part, &|old| Some(format!("{old}{text}"))),
            Edit::StandardAlphabet(part) => edit(*part, &|old| Some(old.replace('-', "+").replace('_', "/"))),
            Edit::Noncanonical(part) => edit(*part, &noncanonical),
            Edit::Claims(claims) => edit(Part::Payload, &|old| {
                let mut payload: Map<String, Value> =
                    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(old).ok()?).ok()?;
                payload.extend(claims.clone());
                Some(URL_SAFE_NO_PAD.encode(Value::Object(payload).to_string()))
            }),
            Edit::Drop(part) => {
                let kept = parts.iter().enumerate().filter(|(at, _)| *at != *part as usize);
                Some(kept.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("."))
            }
        };
        edited.filter(|edited| edited != token).context("an edit that changes nothing")
    }
}

/// Another text that a lenient decoder reads as the same bytes.
pub(super) fn noncanonical(part: &str) -> Option<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if part.len().is_multiple_of(4) {
        return None;
    }
    let (last, start) = part.as_bytes().split_last()?;
    let value = ALPHABET.iter().position(|letter| letter == last)?;
    let twin = ALPHABET.get(value | 1).filter(|_| value & 1 == 0)?;
    Some(String::from_utf8_lossy(start).into_owned() + &char::from(*twin).to_string())
}

/// What makes the signature, and what the header says about it by default.
pub(super) enum Signer {
    Key(Key),
    Fixed(&'static [u8]),
    Hmac(Vec<u8>),
}

impl Signer {
    pub(super) fn algorithm(&self) -> Option<&str> {
        match self {
            Signer::Key(key) => key.member("alg").ok(),
            Signer::Fixed(_) => Some("ES256"),
            Signer::Hmac(_) => Some("HS256"),
        }
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        match self {
            Signer::Key(key) => key.member("kid").ok(),
            Signer::Fixed(_) => Some("es256-1"),
            Signer::Hmac(_) => Some("rs256-1"),
        }
    }

    pub(super) fn sign(&self, bytes: &[u8], der: bool) -> Result<Vec<u8>> {
        match self {
            Signer::Key(key) => key.sign(bytes, der),
            Signer::Fixed(signature) => Ok(signature.to_vec()),
            Signer::Hmac(secret) => Ok(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), bytes).as_ref().to_vec()),
        }
    }
}
