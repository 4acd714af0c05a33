//! The claims a decision may rest on, and the rules that hold on every call.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::jose::{Dialect, date};
use crate::json::Value;
use crate::reason::Reason;
use crate::text::{distinct, is_scope_token};

/// More scopes in one token are refused: each is kept as long as the token is remembered.
const MAX_SCOPES: usize = 1000;

/// The claims of an access token (RFC 9068 2.2). Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    pub(crate) subject: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) expires_at: i64,
    pub(crate) issued_at: i64,
    pub(crate) not_before: Option<i64>,
    pub(crate) auth_time: Option<i64>,
    pub(crate) token_id: Option<String>,
    /// Sorted, without repetition.
    pub(crate) scopes: Vec<String>,
    /// Is there a claim that says them? ID tokens have none.
    pub(crate) says_scopes: bool,
    /// `aud` and `exp` were there; only an introspection may leave them out (RFC 7662 2.2).
    pub(crate) says_audience: bool,
    pub(crate) says_end: bool,
    /// `client_id`, which RFC 9068 2.2 requires; or what the issuer has in its place.
    pub(crate) says_client: bool,
    /// `cnf`: the token works only together with a key or certificate (RFC 7800).
    pub(crate) binding: Binding,
    /// Everybody the token names as its client: `client_id`, `azp`, what the issuer has in their place, and the outermost `act`
    /// (RFC 8693 4.1).
    pub(crate) clients: Vec<String>,
    /// How the user logged in (OpenID Connect Core 2), where a text says it.
    pub(crate) acr: Option<String>,
    /// Who acts for the subject, the current one first, which `clients` has too: each by the names it has (RFC 8693 4.1).
    pub(crate) actors: Vec<Vec<String>>,
    /// Who may act for the subject (RFC 8693 4.4), where the token says so.
    pub(crate) may_act: Option<Vec<String>>,
    /// The payload, for conditions.
    pub(crate) payload: Vec<u8>,
    /// A claim that only ID, logout and security event tokens have.
    pub(crate) foreign: bool,
}

/// What a token works together with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// Nothing: whoever has it may use it.
    Bearer,
    /// The certificate with this SHA-256, base64url (RFC 8705 3.1).
    Certificate(String),
    /// Something that cannot be verified here.
    Other,
}

impl Claims {
    pub(crate) fn read(payload: &Value<'_>, bytes: &[u8], dialect: &Dialect) -> Result<Claims, Reason> {
        let said = |value: Option<&Value<'_>>| match value {
            None => Ok(None),
            Some(Value::Text(text)) if !text.is_empty() => Ok(Some(text.as_ref().to_owned())),
            Some(_) => Err(Reason::ClaimMalformed),
        };
        let text = |name: &str| said(payload.get(name));
        // RFC 7519 2 allows fractions: they are cut.
        let time = |name: &str| match payload.get(name) {
            None => Ok(None),
            Some(Value::Integer(seconds)) if *seconds >= 0 => Ok(Some(*seconds)),
            Some(Value::Number(_)) => date::whole(bytes, name).map(Some).ok_or(Reason::ClaimMalformed),
            Some(_) => Err(Reason::ClaimMalformed),
        };
        let scope = dialect.scope(payload);
        let actors = actors(payload.get("act"))?;
        Ok(Claims {
            issuer: text("iss")?.ok_or(Reason::ClaimMissing)?,
            subject: said(dialect.subject(payload))?,
            client_id: said(dialect.client(payload))?,
            audience: audience(payload.get("aud").ok_or(Reason::ClaimMissing)?)?,
            expires_at: time("exp")?.ok_or(Reason::ClaimMissing)?,
            issued_at: time("iat")?.ok_or(Reason::ClaimMissing)?,
            not_before: time("nbf")?,
            auth_time: time("auth_time")?,
            token_id: text("jti")?,
            scopes: scopes(scope)?,
            says_scopes: scope.is_some(),
            says_audience: true,
            says_end: true,
            says_client: dialect.maps_client || payload.get("client_id").is_some(),
            clients: [payload.get("client_id"), payload.get("azp")]
                .into_iter()
                .chain(dialect.client.iter().map(|place| place.find(payload)))
                .flatten()
                .filter_map(Value::text)
                .map(str::to_owned)
                .chain(actors.iter().take(1).flatten().cloned())
                .collect(),
            acr: payload.get("acr").and_then(Value::text).map(str::to_owned),
            actors,
            may_act: payload.get("may_act").map(parties),
            payload: bytes.to_vec(),
            binding: Binding::read(payload.get("cnf")),
            foreign: ["nonce", "at_hash", "c_hash", "events"].iter().any(|name| payload.get(name).is_some()),
        })
    }

    /// What an introspection says of a token (RFC 7662 2.2), which need not be much. `until`: where it does not say when it ends.
    pub(crate) fn introspected(
        answer: &Value<'_>,
        bytes: &[u8],
        dialect: &Dialect,
        issuer: &str,
        until: i64,
    ) -> Result<Claims, Reason> {
        const ALWAYS: i64 = i64::MIN;
        let has = |name: &str| answer.get(name).is_some();
        let Value::Map(members) = answer else { return Err(Reason::ClaimMalformed) };
        let mut members = members.clone();
        let mut add = |name: &'static str, value: Value<'static>| members.push((name.into(), value));
        if !has("iss") {
            add("iss", Value::Text(issuer.to_owned().into()));
        }
        if !has("aud") {
            add("aud", Value::Text("-".into()));
        }
        if !has("exp") {
            add("exp", Value::Integer(until));
        }
        if !has("iat") {
            add("iat", Value::Integer(0));
        }
        let (says_exp, says_iat, says_audience) = (has("exp"), has("iat"), has("aud"));
        let mut claims = Claims::read(&Value::Map(members), bytes, dialect)?;
        // P13: a lifetime that is not said is more than any.
        if !says_exp || !says_iat {
            claims.issued_at = ALWAYS;
        }
        claims.says_end = says_exp;
        claims.says_audience = says_audience;
        if !says_audience {
            claims.audience.clear();
        }
        Ok(claims)
    }

    /// Does it say for whom it is?
    pub(crate) fn names_audience(&self) -> bool {
        self.says_audience
    }

    /// `exp - iat`, in seconds.
    pub(crate) fn lifetime(&self) -> u64 {
        u64::try_from(self.expires_at.saturating_sub(self.issued_at)).unwrap_or(0)
    }

    /// About how many bytes are kept for it.
    pub(crate) fn footprint(&self) -> usize {
        let texts = self.scopes.iter().chain(&self.audience).chain(&self.clients);
        texts.map(|text| text.len() + 40).sum::<usize>() + self.payload.len() * 2 + 512
    }

    /// P33.
    pub(crate) fn is_bound(&self) -> bool {
        self.binding != Binding::Bearer
    }

    pub(crate) fn names_client(&self, id: &str) -> bool {
        self.clients.iter().any(|client| client == id)
    }

    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        self.scopes.binary_search_by(|held| held.as_str().cmp(scope)).is_ok()
    }
}

impl Binding {
    fn read(cnf: Option<&Value<'_>>) -> Binding {
        match cnf {
            None => Binding::Bearer,
            Some(Value::Map(members)) => match members.as_slice() {
                [(name, Value::Text(digest))] if name == "x5t#S256" => Binding::Certificate(digest.to_string()),
                _ => Binding::Other,
            },
            Some(_) => Binding::Other,
        }
    }

    /// Is it this certificate, by its SHA-256 in hexadecimal digits?
    pub(crate) fn is_of(&self, certificate: Option<&str>) -> bool {
        let Binding::Certificate(digest) = self else { return false };
        let seen = certificate.and_then(|text| base16ct::mixed::decode_vec(text).ok()).filter(|seen| seen.len() == 32);
        seen.is_some_and(|seen| URL_SAFE_NO_PAD.encode(seen) == *digest)
    }
}

/// RFC 8693 4.1: the outermost `act` is the current actor, those within are who acted before.
fn actors(act: Option<&Value<'_>>) -> Result<Vec<Vec<String>>, Reason> {
    let mut actors = Vec::new();
    let mut next = act;
    while let Some(act) = next {
        let names = ["sub", "client_id"].iter().filter_map(|name| act.get(name));
        let names: Option<Vec<String>> =
            names.map(|name| name.text().filter(|name| !name.is_empty()).map(str::to_owned)).collect();
        actors.push(names.filter(|names| !names.is_empty()).ok_or(Reason::ClaimMalformed)?);
        next = act.get("act");
    }
    Ok(actors)
}

/// Whom a `may_act` names.
fn parties(value: &Value<'_>) -> Vec<String> {
    ["sub", "client_id"].iter().filter_map(|name| value.get(name)?.text()).map(str::to_owned).collect()
}

fn audience(value: &Value<'_>) -> Result<Vec<String>, Reason> {
    let list = match value {
        Value::List(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    let names: Option<Vec<String>> =
        list.iter().map(|item| item.text().filter(|text| !text.is_empty()).map(str::to_owned)).collect();
    names.filter(|names| !names.is_empty()).ok_or(Reason::ClaimMalformed)
}

/// RFC 8693 4.2: one string, scopes separated by single spaces. Or a list (P21), of which an item that is no scope token is one that
/// no policy can name.
fn scopes(value: Option<&Value<'_>>) -> Result<Vec<String>, Reason> {
    let scopes: Vec<String> = match value {
        None => return Ok(Vec::new()),
        Some(Value::Text(text)) if text.is_empty() => return Ok(Vec::new()),
        Some(Value::Text(text)) if text.split(' ').all(is_scope_token) => text.split(' ').map(str::to_owned).collect(),
        Some(Value::List(items)) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.text().map(str::to_owned)).collect();
            texts.ok_or(Reason::ClaimMalformed)?
        }
        Some(_) => return Err(Reason::ClaimMalformed),
    };
    if scopes.len() > MAX_SCOPES {
        return Err(Reason::ClaimMalformed);
    }
    Ok(distinct(scopes))
}
