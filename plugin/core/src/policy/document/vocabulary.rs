//! The words of the language, map by map: what the reader knows, and what schema and reference are made of.
//!
//! The filter's module carries the names only; nothing in it refers to what describes them.

/// One map of the language.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    /// What schema and reference call it.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// Its words, in the order in which they are read.
    pub words: &'static [Word],
}

/// One word of a map.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// As it is written.
    pub name: &'static str,
    /// Must it be there?
    pub required: bool,
    /// What stands behind it.
    pub shape: Shape,
    /// What it means, and what holds where it is not said.
    pub doc: &'static str,
}

/// What a value looks like. What is more than a matter of form is for the reader.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Anything.
    Any,
    /// `true` or `false`.
    Boolean,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A list of these.
    Choices(&'static [&'static str]),
    /// A whole number from 1.
    Count,
    /// RFC 3339.
    Date,
    /// `30s`, `15m`, `1h` or `7d`.
    Duration,
    /// `true`: it can only be set.
    Flag,
    /// Any list.
    List,
    /// The map of that name.
    Map(&'static str),
    /// A list of such maps.
    Maps(&'static str),
    /// Such maps, by names of the user's own.
    Named(&'static str),
    /// Any number.
    Number,
    /// One text or a list of them.
    Scopes,
    /// The same, each of which may be `{ any: [a, b], ask: b }`.
    Needs,
    /// Bytes: `64KiB`, `1MiB`.
    Size,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    /// The number 1.
    Version,
}

/// The JOSE names of `algorithms`.
const ALGORITHMS: &[&str] = &["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"];

macro_rules! maps {
    ($($const:ident $map:literal, $about:literal { $($need:ident $word:literal: $shape:expr, $doc:literal;)* })*) => {
        $(pub(crate) const $const: &[&str] = &[$($word),*];)*

        /// All maps of the language.
        pub const MAPS: &[Map] = &[$(Map {
            name: $map,
            doc: $about,
            words: &[$(Word { name: $word, required: need!($need), shape: $shape, doc: $doc }),*],
        }),*];
    };
}

macro_rules! need {
    (required) => {
        true
    };
    (optional) => {
        false
    };
}

maps! {
    POLICY "Policy", "A policy. One server may stand at the top, with its fields, in place of `servers`." {
        required "version": Shape::Version, "The version of this language: 1.";
        required "issuers": Shape::Named("Issuer"), "Whose tokens are accepted, by the `iss` of their tokens.";
        optional "token_service": Shape::Map("TokenService"), "Who exchanges tokens (RFC 8693) and takes them back (RFC 7009).";
        optional "token_services": Shape::Named("TokenService"), "Several of them, by name. Then each exchange says which, with `token_service`.";
        optional "scopes": Shape::Named("Hierarchy"), "Which scope implies which. It applies to what callers hold, never to what is asked of them.";
        optional "clients": Shape::Maps("ClientAbilities"), "What clients can do with a challenge. Who is not listed cannot.";
        optional "limits": Shape::Map("Limits"), "What is bounded.";
        optional "tiers": Shape::Named("Terms"), "Terms that rules share, by name.";
        optional "mode": Shape::Choice(&["enforce", "shadow"]), "`enforce`, or `shadow`: the policy's verdicts are recorded and not enforced.";
        optional "until": Shape::Date, "The date at which `shadow` ends, `YYYY-MM-DD` (a full-date of RFC 3339), at midnight UTC. Required with it.";
        optional "sessions": Shape::Map("Sessions"), "How the ids of sessions are sealed, so that one of another caller is none. Otherwise they pass as they are.";
        optional "servers": Shape::Named("Server"), "The servers, by name.";
        optional "select": Shape::Choice(&["metadata", "host", "path"]), "How a request finds its server where the route names none: `metadata`, not at all (404); `host`, by host and path of `resource`, and routes must split by the same host; `path`, by the path alone. Otherwise `host` with one server, `metadata` with several.";
    }

    CLIENTS "ClientAbilities", "What some clients can do: named by `client` or by `client_origin`." {
        optional "client": Shape::Texts, "Their ids.";
        optional "client_origin": Shape::Texts, "Origins of their metadata URLs. Ids come before origins.";
        optional "steps_up": Shape::Boolean, "`true`: they obtain a wider token when they are challenged. Otherwise `false`.";
        optional "challenge": Shape::Choice(&["http", "result"]), "`result`: they look for a challenge in the result of a call. Otherwise `http`.";
        optional "rfc9470": Shape::Boolean, "`true`: they know `insufficient_user_authentication`. Otherwise `false`.";
    }

    SERVER "Server", "An MCP server." {
        required "resource": Shape::Text, "The URL that clients use: audience of their tokens, and the path that is forwarded.";
        required "baseline": Shape::Texts, "Scopes that every request needs.";
        optional "tools": Shape::Named("Rule"), "Rules of tools, by exact name or by a pattern with one `*`: the most specific applies, alone. No match is refused. A server has at least one rule, here or in the next three.";
        optional "prompts": Shape::Named("Rule"), "The same of prompts.";
        optional "resources": Shape::Named("Rule"), "Rules of resources, by URI, prefix (`ui://*`), template (`wiki://{space}/{id}`) or `*`.";
        optional "methods": Shape::Named("Rule"), "Rules of further methods and notifications, by name or prefix (`tasks/*`).";
        optional "lists": Shape::Choice(&["filter", "pass"]), "`filter`: lists show what the caller can reach. `pass`: they show all. Otherwise `filter`.";
        optional "annotate": Shape::Choices(&["security_schemes"]), "What is written into lists of tools: `security_schemes`, how each is authorized.";
        optional "pins": Shape::Any, "Digests that tools had when they were reviewed: for each name `sha256-..`.";
        optional "unpinned": Shape::Choice(&["allow", "hide"]), "Tools without a pin: `hide` keeps them out of lists and denies their calls. Otherwise `allow`.";
        optional "binding": Shape::Choice(&["none", "certificate"]), "`certificate`: tokens must be bound to the caller's certificate (RFC 8705). Otherwise `none`.";
        optional "act": Shape::Map("Delegation"), "Who may act for a caller.";
        optional "environment": Shape::Text, "A label for records: where this is.";
        optional "data_class": Shape::Text, "A label for records: what it holds.";
        optional "declared_task": Shape::Text, "A member of `_meta` in which callers say what they are about. It is recorded as their word.";
        optional "audiences": Shape::Texts, "Further values of `aud` that mean this server: an application id, a name, another URL.";
        optional "callers": Shape::Map("Condition"), "What must be true of whoever sends a request with a token.";
        optional "source_from": Shape::Any, "Where the identity of the peer comes from: `certificate`, or `{ xfcc: { peers: [..] } }`: where the peer is one of these, from the header that it wrote about its client. Otherwise `certificate`.";
        optional "paths": Shape::Texts, "Further paths that are forwarded, each with a metadata document of its own.";
        optional "origins": Shape::Texts, "Origins of browser clients, of any scheme.";
        optional "remove_headers": Shape::Texts, "Request headers that never reach the server.";
        optional "upstream_challenge": Shape::Choice(&["route", "ours"]), "`ours`: a challenge that the server itself makes is replaced by one of ours, with what it asks for as far as this server's rules ask for it. Otherwise `route`: responses are not looked at.";
        optional "denials": Shape::Choice(&["http", "jsonrpc"]), "`jsonrpc`: a denial without a challenge leaves as 200 with a JSON-RPC error. Otherwise `http`.";
    }

    LISTED_SERVER "ListedServer", "What a server says only under `servers`." {
        optional "issuers": Shape::Texts, "Whose tokens count here, in the order advertised. With several issuers and servers it must be said.";
    }

    ISSUER "Issuer", "An issuer of access tokens." {
        optional "algorithms": Shape::Choices(ALGORITHMS), "What it signs with; asymmetric only. It must be there, but with `introspection` in place of keys.";
        optional "introspection": Shape::Map("Introspection"), "Whom to ask about tokens that cannot be read here (RFC 7662): beside keys about those that are no JWS, in place of them about all.";
        optional "token_type": Shape::Choice(&["at+jwt", "jwt"]), "`at+jwt` (RFC 9068), or `jwt` for issuers that type their access tokens so, or not at all. Otherwise `at+jwt`.";
        optional "max_lifetime": Shape::Duration, "Tokens whose `exp - iat` is longer are refused.";
        optional "leeway": Shape::Duration, "By how much clocks may differ. Otherwise 30s.";
        optional "advertised": Shape::Any, "`false`: the metadata of no server names it (an issuer of workloads). Of a family: the URL that metadata names; otherwise none. Otherwise `true`.";
        optional "claims": Shape::Map("Claims"), "Where its tokens say what is needed: for each a list, of which the first that is present counts.";
        optional "ask": Shape::Text, "How a scope is asked of its callers, in challenges and metadata: a template over `{scope}`. Otherwise as the policy writes it.";
        optional "tenants": Shape::Map("Tenants"), "Of a family of issuers, whose name has its tenant in braces (`https://login.example.com/{tid}/v2.0`): which tenants count.";
        optional "jwks": Shape::Map("Jwks"), "Where its keys are fetched. Or `keys`.";
        optional "keys": Shape::Any, "Its keys, written out: a JWKS (RFC 7517). Or `jwks`.";
    }

    INTROSPECTION "Introspection", "An introspection endpoint (RFC 7662)." {
        required "cluster": Shape::Text, "The proxy's cluster for it.";
        required "url": Shape::Text, "Its URL.";
        required "client": Shape::Any, "Who we are to it, as for a token service; or `none` if it does not ask.";
        optional "cache": Shape::Duration, "How long an answer is remembered, 0s to 60s. Otherwise 30s.";
        optional "audience": Shape::Choice(&["required", "not_said"]), "`not_said`: an answer without `aud` is accepted. Otherwise `required`.";
        optional "rate": Shape::Count, "Questions a second about tokens that were never seen active. Otherwise 20.";
    }

    CLAIMS "Claims", "Where an issuer's tokens say what is needed. Names of claims; a path, and a name that is a URL, is a JSON Pointer." {
        optional "scope": Shape::Texts, "Scopes: a text, split at spaces, or a list. Otherwise `[scope]`.";
        optional "client": Shape::Texts, "The client. Otherwise `[client_id, azp]`, of which RFC 9068 requires the first.";
        optional "subject": Shape::Texts, "Whom the token is about. Otherwise `[sub]`.";
    }

    TENANTS "Tenants", "The tenants of a family of issuers: `in` or `any`." {
        required "claim": Shape::Text, "The claim that names the tenant; it must equal the one in `iss`.";
        optional "in": Shape::Texts, "Those that count.";
        optional "any": Shape::Flag, "`true`: all of them.";
    }

    SOURCE_FROM "SourceFrom", "Where the identity of the peer comes from." {
        required "xfcc": Shape::Map("Xfcc"), "`x-forwarded-client-cert`, of these peers.";
    }

    XFCC "Xfcc", "Peers that are believed about their clients." {
        required "peers": Shape::Texts, "Their identities.";
    }

    JWKS "Jwks", "A key document over HTTP." {
        required "cluster": Shape::Text, "The proxy's cluster for it. Another one than the token endpoint's: keys need no credential.";
        required "url": Shape::Text, "The issuer's `jwks_uri`.";
        optional "refresh": Shape::Duration, "How often it is fetched. Otherwise 5m.";
        optional "stale": Shape::Duration, "How long keys are used that cannot be fetched again. Otherwise 1h.";
    }

    TOKEN_SERVICE "TokenService", "The token service." {
        required "issuer": Shape::Text, "The issuer of the tokens it gives, one of `issuers`.";
        optional "subject_issuers": Shape::Texts, "Further issuers whose tokens may be sent to it. Otherwise only `issuer`.";
        required "cluster": Shape::Text, "The proxy's cluster for it.";
        required "token": Shape::Text, "The URL of its token endpoint.";
        required "revoke": Shape::Text, "The URL of its revocation endpoint; or `none`: what it gives lives until its `exp`.";
        required "client": Shape::Map("Client"), "Who we are to it.";
        optional "timeout": Shape::Duration, "How long a caller waits for it. Otherwise 2s.";
        optional "late": Shape::Duration, "How long its answer is awaited after that, to take back what it mints. Otherwise 30s.";
        optional "linger": Shape::Duration, "How long a token stays alive after a stream of an older revision broke off without a result. Otherwise 0s.";
        optional "resume": Shape::Duration, "How long a token stays alive after a stream of an older revision paused: after a clean end behind an event with an `id`. Otherwise 10s.";
        optional "request": Shape::Map("ExchangeRequest"), "How it is asked.";
        optional "also_granted": Shape::Texts, "Scopes that it adds unasked. Accepted in what comes back, never believed of callers.";
        optional "also_audience": Shape::Texts, "Audiences that it adds unasked.";
        optional "audience_aliases": Shape::Any, "What else the audience of a rule is called in what comes back: for each a list.";
        optional "issued_token_type": Shape::Choice(&["said", "assumed"]), "`assumed`: an answer without it is accepted. Otherwise `said`, but `assumed` with `on-behalf-of`.";
        optional "context": Shape::Flag, "`true`: it is told what the token is for (RFC 9396: method, tool, client, SHA-256 of the arguments).";
    }

    REQUEST "ExchangeRequest", "How a token service is asked." {
        optional "grant": Shape::Choice(&["token-exchange", "on-behalf-of"]), "`token-exchange` (RFC 8693), or `on-behalf-of`: RFC 7523 with `requested_token_use=on_behalf_of`. Otherwise `token-exchange`.";
        optional "target": Shape::Choice(&["resource", "audience", "both", "unsaid"]), "The parameter that names the audience, whatever it looks like. Otherwise `resource` for an absolute URI and `audience` for a name; `unsaid` with `on-behalf-of`.";
        optional "token_type": Shape::Choice(&["access_token", "jwt", "unsaid"]), "The type that is asked for. Otherwise `access_token`; none with `on-behalf-of`.";
        optional "scope": Shape::Text, "How a scope is asked for: a template over `{scope}` and `{audience}`. Otherwise as the policy writes it.";
    }

    CLIENT "Client", "The filter as a client of the token service: one of `auth`, `secret_env` and `private_key_env`." {
        required "id": Shape::Text, "`client_id`.";
        optional "auth": Shape::Choice(&["cluster"]), "`cluster`: the proxy authenticates, by mTLS or by credentials that it injects.";
        optional "secret_env": Shape::Text, "The environment variable with the client's secret.";
        optional "private_key_env": Shape::Text, "The environment variable with a private JWK (ES256), for `private_key_jwt`.";
    }

    HIERARCHY "Hierarchy", "What a scope stands for beside itself." {
        optional "implies": Shape::Scopes, "The scopes that who has it has too.";
    }

    TERMS "Terms", "What a call needs." {
        optional "scope": Shape::Needs, "Scopes beyond the baseline, one or a list; `[]` for none. Each may be `{ any: [a, b], ask: b }`, one of several; of tools and prompts it may end in `{name}`. With `step_up: exchange`, those to be obtained.";
        optional "step_up": Shape::Choice(&["none", "challenge", "exchange", "auto"]), "How missing strength is obtained; `auto`: by `challenge` for clients that step up, by `exchange` for all others. Otherwise `challenge`.";
        optional "max_lifetime": Shape::Duration, "The most that the caller's token may live as a whole (`exp - iat`).";
        optional "max_age": Shape::Duration, "The most that may have passed since the user logged in (`auth_time`).";
        optional "ttl": Shape::Duration, "Exchange: the most that the token may live. Otherwise 60s.";
        optional "acr": Shape::Texts, "How the user must have logged in: one of these values of `acr`.";
        optional "binding": Shape::Choice(&["none", "certificate"]), "`certificate`: the token must be bound to the caller's certificate (RFC 8705).";
        optional "act": Shape::Map("Delegation"), "Who may act for the caller.";
        optional "deny": Shape::Flag, "`true`: nobody may.";
        optional "audience": Shape::Text, "Exchange: the audience of the token. Otherwise `resource`.";
        optional "standing": Shape::Choice(&["ignore", "refuse"]), "Exchange: `refuse` turns callers away whose own token has one of the scopes. Otherwise `ignore`.";
        optional "fallback": Shape::Choice(&["challenge"]), "Exchange: `challenge` answers a token service that wants the user.";
        optional "callers": Shape::Map("Condition"), "What must be true of the caller. What cannot be known is no.";
        optional "may_elevate": Shape::Map("Condition"), "Exchange: who may be elevated at all. What cannot be known is no.";
    }

    GROUP "Group", "Scopes of which one is enough." {
        required "any": Shape::Texts, "They.";
        optional "ask": Shape::Text, "The one that is asked for. Otherwise the first.";
    }

    SERVICE_TERMS "ServiceTerms", "What a raise cannot say." {
        optional "token_service": Shape::Text, "Exchange: which of `token_services`.";
        optional "task": Shape::Choice(&["keep"]), "Exchange: `keep` lets the token live until its `exp` where the answer says that the operation goes on as a task. Otherwise it is revoked with the answer.";
    }

    DELEGATION "Delegation", "Who may act for a caller (`act`, RFC 8693 4.1)." {
        optional "required": Shape::Boolean, "`true`: there must be an actor. Otherwise `false`.";
        optional "clients": Shape::Texts, "Who the current actor may be, by `sub` or `client_id`. Otherwise anybody.";
        optional "depth": Shape::Count, "How many actors there may be, 1 to 4. Otherwise any number.";
    }

    RAISE "Raise", "What a rule asks for beside, where something is so or cannot be known: exactly one of `when` and `unless`." {
        optional "when": Shape::Map("Condition"), "It is asked where this is true, or unknown.";
        optional "unless": Shape::Map("Condition"), "It is asked where this is false, or unknown.";
        optional "tier": Shape::Text, "The tier whose terms are added.";
    }

    RULE "ToolTerms", "A rule: terms of its own, and those of a tier." {
        optional "tier": Shape::Text, "The tier whose terms are added.";
        optional "anonymous": Shape::Flag, "`true`: it may be called without a token. Nothing else may stand beside it.";
        optional "allow_weaker": Shape::Flag, "`true`: the rule may ask less than a less specific one.";
        optional "raise": Shape::Maps("Raise"), "What is asked beside, by what the call is about.";
        optional "mode": Shape::Choice(&["enforce", "shadow"]), "In place of the policy's.";
        optional "until": Shape::Date, "The date at which `shadow` ends. Required with it.";
        optional "data_class": Shape::Text, "A label for records, in place of the server's.";
        optional "purpose": Shape::Text, "A label for records.";
    }

    CONDITION "Condition", "A condition: one of `client`, `client_origin`, `source`, `claim`, `arg` and `meta` (with one test beside it), `every`, `some`, `all`, `any` and `not`." {
        optional "all": Shape::Maps("Condition"), "All of them.";
        optional "any": Shape::Maps("Condition"), "One of them at least.";
        optional "not": Shape::Map("Condition"), "Not this one.";
        optional "client": Shape::Scopes, "Client ids.";
        optional "client_origin": Shape::Scopes, "Origins of client ids that are metadata URLs: `https://agents.example.com`.";
        optional "source": Shape::Scopes, "Identities in the caller's certificate.";
        optional "claim": Shape::Text, "The path of a claim.";
        optional "arg": Shape::Text, "The path of an argument; of a resource `uri` or a variable of its template. Not under `callers`.";
        optional "meta": Shape::Text, "The path of a member of `_meta`, which the caller writes as it likes. Only under `when`, and not under `not`.";
        optional "every": Shape::Map("Items"), "Each item of an argument that is a list. Not under `callers`.";
        optional "some": Shape::Map("Items"), "At least one item of it. Not under `callers`.";
    }

    ITEMS "Items", "The items of an argument, and one test." {
        required "arg": Shape::Text, "The path of the argument.";
    }

    TEST "Test", "What is asked of a value." {
        optional "equals": Shape::Any, "It is this.";
        optional "in": Shape::List, "It is one of these.";
        optional "prefix": Shape::Text, "It begins so.";
        optional "suffix": Shape::Text, "It ends so.";
        optional "above": Shape::Number, "It is a number above this.";
        optional "below": Shape::Number, "It is a number below this.";
        optional "within": Shape::Text, "It is a path at or below this folder, which ends in a slash.";
        optional "host": Shape::Scopes, "It is an http or https URL at one of these hosts: `example.com`, `*.example.com`.";
        optional "present": Shape::Boolean, "It is there, or is not.";
    }

    SESSIONS "Sessions", "How the ids of sessions are sealed." {
        required "keys_env": Shape::Texts, "The environment variables with the keys, one or two, each 32 bytes in base64. The first seals, all of them check.";
    }

    LIMITS "Limits", "What is bounded." {
        optional "list": Shape::Size, "Bytes of the response to a list. Otherwise 1MiB.";
        optional "stream": Shape::Choice(&["token", "unbounded"]), "When streams end that a client opens to listen (GET, `subscriptions/listen`): `token`, with its token; `unbounded`, when somebody closes them. Otherwise `token`.";
        optional "request_body": Shape::Size, "Bytes of a request body that are looked at. Otherwise 1MiB.";
        optional "token": Shape::Size, "Bytes of a token. Otherwise 16KiB, at most 60KiB.";
        optional "introspections": Shape::Count, "Introspections under way in a VM; half of them may be about tokens never seen active. Otherwise 64.";
        optional "anonymous_body": Shape::Size, "Bytes of the body of a request without a token, where some rule is anonymous. Otherwise 64KiB.";
        optional "anonymous_waiting": Shape::Count, "Such requests whose body a VM awaits. Otherwise 256.";
        optional "body_wait": Shape::Duration, "How long a body may take. Otherwise 10s.";
        optional "keys_wait": Shape::Duration, "How long a request waits for keys. Otherwise 2s.";
        optional "verified_cache": Shape::Duration, "How long a verified token is not verified again. Otherwise 5m.";
        optional "elevation_wait": Shape::Duration, "How long a request waits for an exchange. Otherwise 5s.";
        optional "max_ttl": Shape::Duration, "The longest `ttl` of this policy. Otherwise 5m.";
        optional "exchanges": Shape::Count, "Exchanges under way in a VM. Otherwise 64.";
        optional "exchanges_per_caller": Shape::Count, "Of one caller. Otherwise 4.";
        optional "exchange_rate": Shape::Count, "Exchanges of one subject in a minute, of a token without one of its client. Otherwise 60.";
        optional "filter_state": Shape::Boolean, "What is permitted is told to rate limits behind this filter: filter state `wasm.stepup.server`, `.thing`, `.tier` and `.subject`. Otherwise not.";
    }
}

/// Words that one might look for, and what to do instead.
pub(super) const LATER: [(&str, &str); 8] = [
    ("after", "rules about what was called before are not part of version 1"),
    ("approval", "approvals are not part of version 1; let the token service ask for them"),
    ("once", "every elevation is for one operation; there is nothing to set"),
    ("require", "requirements on the source are conditions: `callers: { source: [ ... ] }`"),
    ("reuse", "elevated tokens are never reused"),
    ("seal", "task ids and request states are not sealed; session ids are, by `sessions` at the top"),
    ("secret", "secrets never stand in a policy; name an environment variable: `secret_env`"),
    ("session", "session ids are sealed by `sessions` at the top"),
];
