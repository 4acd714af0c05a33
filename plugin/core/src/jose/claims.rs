//! The claims a decision may rest on, and the rules that hold on every call.

use crate::jose::{Dialect, date};
use crate::json::Value;
use crate::reason::Reason;
use crate::text::is_scope_token;

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
    /// `cnf` is present: the token works only together with a key or certificate (RFC 7800).
    pub(crate) bound: bool,
    /// Everybody the token names as its client: `client_id`, `azp`, what the issuer has in their place, and the outermost `act`
    /// (RFC 8693 4.1).
    pub(crate) clients: Vec<String>,
    /// The outermost `act`, which `clients` has too.
    pub(crate) actors: Vec<String>,
    /// Who may act for the subject (RFC 8693 4.4), where the token says so.
    pub(crate) may_act: Option<Vec<String>>,
    /// The payload, for conditions.
    pub(crate) payload: Vec<u8>,
    /// A claim that only ID, logout and security event tokens have.
    pub(crate) foreign: bool,
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
        let actors = payload.get("act").map(parties).unwrap_or_default();
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
                .chain(actors.iter().cloned())
                .collect(),
            actors,
            may_act: payload.get("may_act").map(parties),
            payload: bytes.to_vec(),
            bound: payload.get("cnf").is_some(),
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

    pub(crate) fn names_client(&self, id: &str) -> bool {
        self.clients.iter().any(|client| client == id)
    }

    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        self.scopes.binary_search_by(|held| held.as_str().cmp(scope)).is_ok()
    }
}

/// Whom an `act` or `may_act` names.
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
    let mut scopes: Vec<String> = match value {
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
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}
