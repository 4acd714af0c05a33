//! The proof without which nothing goes upstream.

use crate::http::Unwanted;
use crate::secret::Secret;
use crate::token::{CallerToken, ElevatedToken};

/// Proof that one request may go upstream, and how.
///
/// INVARIANT (permit): made only by the decision, from the token that goes upstream; used up by the one `Continue` it
/// belongs to.
///
/// Nobody else can make one:
///
/// ```compile_fail,E0451
/// let permit = step_up_core::Permit { set: Vec::new(), remove: Vec::new(), state: Vec::new(), watched: false };
/// ```
///
/// ```compile_fail,E0624
/// fn forge(token: &step_up_core::Compact) -> step_up_core::Permit {
///     step_up_core::Permit::of_caller(token, &todo!())
/// }
/// ```
///
/// And one is for one request:
///
/// ```compile_fail,E0599
/// fn twice(permit: &step_up_core::Permit) -> step_up_core::Permit {
///     permit.clone()
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    set: Vec<(&'static str, Secret)>,
    remove: Vec<String>,
    state: Vec<(&'static str, String)>,
    watched: bool,
}

impl Permit {
    /// Headers to set.
    pub fn set(&self) -> &[(&'static str, Secret)] {
        &self.set
    }

    /// Headers to remove.
    pub fn remove(&self) -> &[String] {
        &self.remove
    }

    /// What filters behind this one are told: names and values, for the host's filter state.
    pub fn state(&self) -> &[(&'static str, String)] {
        &self.state
    }

    /// Must the response be shown to the gate? If not, it passes without a single host call.
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// Its response is shown to the gate; the body too where it continues an elevated operation.
    pub(crate) fn watch(&mut self, body: bool) {
        self.watched = true;
        let name = "accept-encoding";
        if body && !self.remove.iter().any(|removed| removed == name) {
            self.remove.push(name.to_owned());
        }
    }

    /// Filters behind this one are told so.
    pub(crate) fn tell(&mut self, state: Vec<(&'static str, String)>) {
        self.state = state;
    }

    /// The caller's own token goes, as it came: the evidence is that it was verified.
    pub(super) fn of_caller(_: &CallerToken, unwanted: &Unwanted) -> Permit {
        Permit { set: edited(unwanted).collect(), remove: unwanted.remove.clone(), state: Vec::new(), watched: false }
    }

    /// Nobody's token goes: the rule asks for none (P26).
    pub(super) fn of_nobody(unwanted: &Unwanted) -> Permit {
        Permit { set: edited(unwanted).collect(), remove: unwanted.remove.clone(), state: Vec::new(), watched: false }
    }

    /// The elevated token, and never the caller's, goes upstream.
    pub(crate) fn of_elevated(token: &ElevatedToken, unwanted: &Unwanted) -> Permit {
        let authorization = Secret::new(format!("Bearer {}", token.text().reveal()));
        let remove = unwanted.remove.iter().map(String::as_str).chain(BESIDE_ELEVATED).map(str::to_owned).collect();
        let set = std::iter::once(("authorization", authorization)).chain(edited(unwanted)).collect();
        Permit { set, remove, state: Vec::new(), watched: true }
    }
}

/// A proof of possession was for the caller's token; in a compressed response the end of the operation cannot be seen; and gateways
/// use the others *instead* of the token that was judged (P41).
const BESIDE_ELEVATED: [&str; 5] =
    ["dpop", "accept-encoding", "x-upstream-authorization", "x-forwarded-access-token", "proxy-authorization"];

fn edited(unwanted: &Unwanted) -> impl Iterator<Item = (&'static str, Secret)> {
    let edits = [
        ("connection", &unwanted.connection),
        ("mcp-session-id", &unwanted.session),
        ("x-envoy-upstream-stream-duration-ms", &unwanted.duration),
    ];
    edits.into_iter().filter_map(|(name, value)| Some((name, Secret::new(value.as_deref()?))))
}
