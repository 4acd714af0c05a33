//! A token for one operation (RFC 8693): what is asked, what came back, and whether it is what was asked for.

use std::rc::Rc;

use crate::http::{Call, CallFault, Reply, StreamId};
use crate::jose::{ASSERTION_TYPE, Claims, Compact, Signatures};
use crate::json::{self, Value};
use crate::keys::KeyRing;
use crate::obtain::Said;
use crate::policy::{Client, ClientAuthentication, Endpoint, Exchange, Grant, Policy, Scope, Target, TokenService};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::text::{is_escaped_well, percent_encoded};
use crate::time::Millis;
use crate::token::{ElevatedToken, Unfit, Wanted};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Longer answers are nonsense.
const MAX_ANSWER: usize = 64 * 1024;
/// And still read so far, for the tokens in them that have to be taken back.
const MAX_READ: usize = 1024 * 1024;

/// A need that only an exchange can satisfy: made by the decision, after everything else was checked.
#[derive(Clone, Debug)]
pub(crate) struct Elevation {
    pub exchange: Exchange,
    /// The place of the rule in the policy.
    pub rule: String,
    /// The caller's token, to be sent as `subject_token`.
    pub subject: Compact,
    pub party: Party,
    pub claims: Rc<Claims>,
    /// What the token is for, where the token service is told (RFC 9396).
    pub context: Option<String>,
    /// The caller's trace, to be continued.
    pub trace: Vec<(&'static str, Secret)>,
    /// Scopes to challenge for, where the rule falls back to that.
    pub fallback: Option<String>,
}

/// Who is elevated: limits are for a caller, not for one of its tokens.
pub(crate) type Party = (String, Option<String>, Option<String>);

/// An exchange under way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub elevation: Elevation,
    pub stream: StreamId,
    pub server: Rc<str>,
    pub decision: String,
    pub begun: Millis,
    /// The client is answered then.
    pub deadline: Millis,
}

/// What the token service said.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A token that is exactly what was asked for.
    Elevated(ElevatedToken),
    /// Something else; what it minted is to be revoked.
    Refused {
        reason: Reason,
        minted: Vec<(Secret, &'static str)>,
        /// It could not be read, and may have held a token that nobody will revoke.
        lost: bool,
        /// The service's own words.
        said: Option<Said>,
        /// P28: waiting does not heal it.
        lasting: bool,
    },
    /// A token whose signature waits for a key of this id.
    Unproven { key: Option<String>, minted: Vec<(Secret, &'static str)> },
}

impl Answer {
    pub(crate) fn refused(reason: Reason, minted: Vec<(Secret, &'static str)>, said: Option<Said>) -> Answer {
        Answer::Refused { reason, minted, lost: false, said, lasting: !reason.heals_with_time() }
    }
}

impl Elevation {
    /// RFC 8693 2.1. Asks for the rule's scopes only, never the baseline (P10).
    pub(crate) fn call(&self, service: &TokenService, stamp: &Stamp<'_>) -> Call {
        let (request, audience) = (&service.request, &self.exchange.audience);
        let spelled = |scope: &Scope| request.spelled(&scope.name, audience).unwrap_or_else(|| scope.name.to_string());
        let scopes = self.exchange.granted.iter().map(spelled).collect::<Vec<_>>().join(" ");
        let mut form = match request.grant {
            Grant::TokenExchange => vec![
                ("grant_type", TOKEN_EXCHANGE),
                ("subject_token", self.subject.text()),
                ("subject_token_type", ACCESS_TOKEN),
            ],
            Grant::OnBehalfOf => vec![
                ("grant_type", JWT_BEARER),
                ("assertion", self.subject.text()),
                ("requested_token_use", "on_behalf_of"),
            ],
        };
        form.extend(request.token_type.map(|kind| ("requested_token_type", kind)));
        let targets: &[&str] = match request.target {
            // RFC 8707 2: a resource is an absolute URI; anything else is a logical name (RFC 8693 2.1).
            Target::ByForm if is_absolute_uri(audience) => &["resource"],
            Target::ByForm | Target::Audience => &["audience"],
            Target::Resource => &["resource"],
            Target::Both => &["resource", "audience"],
            Target::Unsaid => &[],
        };
        form.extend(targets.iter().map(|target| (*target, audience.as_str())));
        if !scopes.is_empty() {
            form.push(("scope", &scopes));
        }
        if let Some(context) = &self.context {
            form.push(("authorization_details", context));
        }
        let timeout = service.timeout.saturating_add(service.late).saturating_mul(1000);
        post(Some(&service.client), &service.token, form, &self.trace, timeout, stamp)
    }

    /// Reads the answer and checks the token in it like a stranger's.
    pub(crate) fn answer(
        &self,
        reply: &Result<Reply<'_>, CallFault>,
        policy: &Policy,
        keys: &KeyRing,
        signatures: &dyn Signatures,
        now: Millis,
    ) -> Answer {
        let Some(service) = policy.service_at(self.exchange.service) else {
            return Answer::refused(Reason::Internal, Vec::new(), None);
        };
        let Ok(reply) = reply else {
            return Answer::refused(Reason::ElevationUnavailable, Vec::new(), None);
        };
        if reply.body.len() > MAX_READ {
            let (reason, said) = (Reason::ElevationUnavailable, Some(Said::of(reply.status)));
            return Answer::Refused { reason, minted: Vec::new(), lost: reply.status == 200, said, lasting: false };
        }
        let Ok(body) = json::read(reply.body) else {
            if reply.status != 200 {
                let said = Some(Said::of(reply.status));
                return Answer::refused(refusal(reply.status, None), Vec::new(), said);
            }
            // Nobody's answer is believed that can be read in two ways. What it may have minted has to go all the same.
            let minted: Vec<(Secret, &'static str)> =
                tokens_in(reply.body).into_iter().filter(|(token, _)| token.reveal() != self.subject.text()).collect();
            let lost = minted.is_empty() && String::from_utf8_lossy(reply.body).contains("access_token");
            let (reason, said) = (Reason::ElevationUnavailable, Some(Said::of(reply.status)));
            return Answer::Refused { reason, minted, lost, said, lasting: false };
        };
        let text = |name: &str| body.get(name).and_then(Value::text).filter(|text| !text.is_empty());
        // Whatever the status says: what was minted has to go. The caller's own token is never revoked, that would log
        // the user out.
        let is_callers = |token: &str| token == self.subject.text();
        let refresh = text("refresh_token").filter(|refresh| text("access_token") != Some(refresh));
        let named = [("access_token", text("access_token")), ("refresh_token", refresh)];
        let minted: Vec<(Secret, &'static str)> = named
            .into_iter()
            .filter_map(|(hint, token)| Some((Secret::new(token.filter(|token| !is_callers(token))?), hint)))
            .collect();
        if reply.status != 200 {
            let said = Some(Said::read(reply.status, &body));
            return Answer::refused(refusal(reply.status, text("error")), minted, said);
        }
        let issued = body.get("issued_token_type");
        let is_typed = match issued {
            None | Some(Value::Null) => service.answer.assumes_type,
            // P28: a JWT is what was asked for where it was asked for.
            Some(kind) => match kind.text() {
                Some(ACCESS_TOKEN) => true,
                Some(JWT) => service.request.token_type == Some(JWT),
                _ => false,
            },
        };
        let unfit = |reason: Reason| Err(Unfit::Other(reason));
        let checked = match text("access_token") {
            _ if reply.body.len() > MAX_ANSWER => unfit(Reason::ElevationUnavailable),
            None => unfit(Reason::ElevationUnavailable),
            // An answer of both kinds (RFC 6749 5.1 and 5.2) is one of none.
            Some(_) if !matches!(body.get("error"), None | Some(Value::Null)) => unfit(Reason::ElevationUnavailable),
            Some(token) if is_callers(token) => unfit(Reason::ElevatedTokenNotOurs),
            // Null is absent; anything else that is no text is nonsense.
            Some(_) if ["refresh_token", "scope"].iter().any(|name| is_nonsense(body.get(name))) => {
                unfit(Reason::ElevationUnavailable)
            }
            Some(_) if text("refresh_token").is_some() => unfit(Reason::ElevatedWithRefreshToken),
            Some(_) if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) => {
                unfit(Reason::ElevatedTokenType)
            }
            Some(token) if is_typed => {
                let wanted = Wanted {
                    exchange: &self.exchange,
                    caller: &self.claims,
                    scope: body.get("scope").and_then(Value::text),
                };
                ElevatedToken::verify(&Compact::new(token), &wanted, policy, keys, signatures, now)
            }
            Some(_) => unfit(Reason::ElevatedTokenType),
        };
        match checked {
            Ok(token) => Answer::Elevated(token),
            Err(Unfit::Unproven(key)) => Answer::Unproven { key, minted },
            Err(Unfit::Algorithm) => {
                let (reason, said) = (Reason::ElevatedSignature, Some(Said::read(reply.status, &body)));
                Answer::Refused { reason, minted, lost: false, said, lasting: true }
            }
            Err(Unfit::Other(reason)) => Answer::refused(reason, minted, Some(Said::read(reply.status, &body))),
        }
    }
}

/// Every text that a lenient reader could take for a token of this answer.
fn tokens_in(body: &[u8]) -> Vec<(Secret, &'static str)> {
    let text = String::from_utf8_lossy(body);
    let mut found = Vec::new();
    for name in ["access_token", "refresh_token"] {
        for (at, member) in text.match_indices(&format!("\"{name}\"")) {
            let rest = text.get(at + member.len()..).unwrap_or_default().trim_start();
            let Some(value) = rest.strip_prefix(':').map(str::trim_start) else { continue };
            let token = serde_json::Deserializer::from_str(value).into_iter::<String>().next().and_then(Result::ok);
            found.extend(token.filter(|token| !token.is_empty()).map(|token| (Secret::new(token), name)));
        }
    }
    found
}

/// RFC 3986 4.3: with a scheme, and without a fragment.
fn is_absolute_uri(text: &str) -> bool {
    let is_unsafe = |byte: u8| !byte.is_ascii_graphic() || b"\"#<>\\^`{|}".contains(&byte);
    text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
            && !rest.bytes().any(is_unsafe)
            && is_escaped_well(rest)
    })
}

fn is_nonsense(member: Option<&Value<'_>>) -> bool {
    !matches!(member, None | Some(Value::Null | Value::Text(_)))
}

/// What makes one call to the token service differ from the next.
pub(crate) struct Stamp<'s> {
    pub unique: &'s str,
    pub now: Millis,
}

/// RFC 7009 2.1.
pub(crate) fn revocation(
    service: &TokenService,
    endpoint: &Endpoint,
    token: &Secret,
    hint: &'static str,
    trace: &[(&'static str, Secret)],
    stamp: &Stamp<'_>,
) -> Call {
    let form = vec![("token", token.reveal()), ("token_type_hint", hint)];
    post(Some(&service.client), endpoint, form, trace, service.timeout.saturating_mul(1000), stamp)
}

pub(super) fn post(
    client: Option<&Client>,
    endpoint: &Endpoint,
    form: Vec<(&'static str, &str)>,
    trace: &[(&'static str, Secret)],
    timeout: u64,
    stamp: &Stamp<'_>,
) -> Call {
    let mut headers = vec![("content-type", Secret::new("application/x-www-form-urlencoded"))];
    headers.extend(trace.iter().cloned());
    let assertion;
    let mut form: Vec<(&str, &str)> = form;
    match client.map(|client| (client, &client.authentication)) {
        None => {}
        Some((client, ClientAuthentication::Key(key, audience))) => {
            assertion = key.assertion(&client.id, audience, stamp.unique, stamp.now).unwrap_or_default();
            form.push(("client_id", &client.id));
            form.push(("client_assertion_type", ASSERTION_TYPE));
            form.push(("client_assertion", &assertion));
        }
        Some((client, ClientAuthentication::Cluster)) => form.push(("client_id", &client.id)),
        Some((client, ClientAuthentication::Secret(secret))) => {
            // RFC 6749 2.3.1: both parts form-encoded first.
            let pair = format!("{}:{}", percent_encoded(&client.id), percent_encoded(secret.reveal()));
            let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
            headers.push(("authorization", Secret::new(format!("Basic {basic}"))));
        }
    }
    let body =
        form.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect::<Vec<_>>().join("&");
    endpoint.post(headers, Secret::new(body), timeout)
}

/// The table of design.md 5: who has to act decides what the client is told.
fn refusal(status: u16, error: Option<&str>) -> Reason {
    match (status, error) {
        (429 | 500.., _) => Reason::ElevationUnavailable,
        (_, Some("interaction_required" | "consent_required" | "insufficient_user_authentication")) => {
            Reason::ElevationNeedsUser
        }
        (_, Some("invalid_grant")) => Reason::SubjectTokenRejected,
        // P28: 401 is about us, 400 about the target (Keycloak).
        (400, Some("invalid_client")) => Reason::ElevationRefused,
        (_, Some("invalid_client" | "unauthorized_client" | "unsupported_grant_type")) => Reason::FilterNotAccepted,
        (401 | 404 | 300..=399, _) => Reason::FilterNotAccepted,
        (400..=499, _) => Reason::ElevationRefused,
        _ => Reason::ElevationUnavailable,
    }
}
