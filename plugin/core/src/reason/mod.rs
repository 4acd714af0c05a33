//! Every cause of every answer, and the one table that says all about it.

mod table;

pub use table::Reason;

/// What a refusal looks like to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// HTTP status.
    pub status: u16,
    /// JSON-RPC error code, where the body carries one. 40xxx and up lie outside the range JSON-RPC and MCP reserve.
    pub code: Option<i32>,
    /// What the client is told: one sentence, no quotes or backslashes, no `=` (clients look for parameters in it).
    pub text: &'static str,
}

/// What a reason is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No refusal.
    Done,
    /// How the request was made.
    Request,
    /// The caller's token.
    Token,
    /// The session that the request continues (P35).
    Session,
    /// A verdict of the policy, which shadow mode suspends (P15). All other checks stay enforced.
    Policy,
    /// The policy's, and never suspended.
    PolicyKept,
    /// What was asked of the token service, or came from it.
    TokenService,
    /// The filter, the proxy, or what they need.
    Ours,
}

impl Class {
    /// For tables; empty for what is no refusal.
    pub fn name(self) -> &'static str {
        match self {
            Class::Done => "",
            Class::Request => "request",
            Class::Token => "token",
            Class::Session => "session",
            Class::Policy => "policy",
            Class::PolicyKept => "policy, never suspended",
            Class::TokenService => "token service",
            Class::Ours => "ours",
        }
    }
}

/// How a refusal is challenged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Not at all.
    Nothing,
    /// RFC 6750 3.1: without `error` when no credentials were given.
    Login,
    /// RFC 6750 3.1: everything wrong with the token itself.
    InvalidToken,
    /// RFC 6750 3.1: `insufficient_scope`.
    Scopes,
    /// The same, where the rule falls back to it.
    Fallback,
    /// RFC 9470 3, for clients that know it: `insufficient_user_authentication`, under 401.
    Reauthentication,
}

/// Who can do something about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acts {
    /// Nothing is wrong.
    Nobody,
    /// Who writes the routes.
    Routes,
    /// The client: its request.
    Request,
    /// The client: it has no token.
    Login,
    /// The client: its token.
    AnotherToken,
    /// Who runs the authorization server.
    AuthorizationServer,
    /// Who runs the proxy.
    Proxy,
    /// The client where it was challenged, else who writes the policy.
    Policy,
    /// Who runs the token service.
    TokenService,
    /// The same, by its settings: waiting heals nothing.
    Settings,
    /// The same, by one of them (P11).
    Lifespan,
    /// The same, or the user.
    TokenServiceOrUser,
    /// Who runs the filter.
    Filter,
    /// Who runs the server: of tokens.
    Server,
    /// The same: of lists.
    List,
    /// Who writes the policy, in shadow mode.
    Shadow,
    /// Who reviews the server's tools.
    Pins,
}

impl Acts {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Acts::Nobody => "nobody",
            Acts::Routes => "who writes the routes: none of them names this server",
            Acts::Request => "the client: its request is not acceptable",
            Acts::Login => "the client: it needs a token",
            Acts::AnotherToken => "the client: it needs another token",
            Acts::AuthorizationServer => "who runs the authorization server: its tokens live too long here",
            Acts::Proxy => "who runs the proxy",
            Acts::Policy => "the client if it was challenged, else who writes the policy",
            Acts::TokenService => "who runs the token service",
            Acts::Settings => "who runs the token service: its settings differ from what the policy says",
            Acts::Lifespan => {
                "who runs the token service: the lifespan of the access tokens that it gives this filter is to be at most the `ttl` of the rule"
            }
            Acts::TokenServiceOrUser => "who runs the token service, or the user",
            Acts::Filter => "who runs the filter: the token service does not accept it",
            Acts::Server => "who runs the server: it does not accept the elevated token",
            Acts::List => "who runs the server: its list cannot be read, or is longer than `limits.list`",
            Acts::Pins => "who reviews the server's tools: look at what it is now, and pin that",
            Acts::Shadow => "who writes the policy: such a rule cannot be tried in shadow mode",
        }
    }
}

impl Reason {
    /// True for verdicts of the policy, the ones shadow mode suspends (P15).
    pub fn is_policy(self) -> bool {
        self.class() == Class::Policy
    }

    /// P28: may another try later end otherwise, although nobody has changed anything?
    pub fn heals_with_time(self) -> bool {
        !matches!(self.acts(), Acts::Settings | Acts::Lifespan | Acts::Filter)
    }
}
