//! What stands in front of the upstream.

use super::token_service::Answer;

/// A filter, and what becomes of the one request that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// No filter.
    Nothing,
    /// Envoy's own filters that do the nearest thing.
    Native,
    /// A module that does nothing.
    BareWasm,
    /// A module that makes the filter's host calls and does nothing.
    Floor,
    /// A tool that the token allows.
    StepUp,
    /// The same, and no Envoy: `stepup serve`.
    Served,
    /// A tool that nobody may call.
    Denied,
    /// A tool that needs a scope the token does not have.
    Challenged,
    /// A tool that is for exchange, and what the token service says to that.
    Exchange(Answer),
}

impl Variant {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Nothing => "no filter",
            Variant::Native => "jwt_authn (cached) + mcp + rbac",
            Variant::BareWasm => "wasm that does nothing",
            Variant::Floor => "wasm with our host calls alone",
            Variant::StepUp => "step-up, token seen before",
            Variant::Served => "stepup serve, token seen before",
            Variant::Denied => "denied by its rule",
            Variant::Challenged => "challenged for a scope",
            Variant::Exchange(Answer::Refusal) => "the token service refuses",
            Variant::Exchange(Answer::OtherType) => "a token of another type, taken back",
            Variant::Exchange(Answer::OtherSubject) => "a token of somebody else, taken back",
            Variant::Exchange(Answer::Token) => "exchanged for, forwarded, taken back",
        }
    }

    /// The status of every answer.
    pub fn status(self) -> u16 {
        match self {
            Variant::Denied | Variant::Challenged | Variant::Exchange(Answer::Refusal) => 403,
            Variant::Exchange(Answer::OtherType | Answer::OtherSubject) => 503,
            _ => 200,
        }
    }
}
