//! Where an issuer writes what a decision rests on (P21).

use std::borrow::Cow;

use crate::json::Value;

/// The claims of one issuer's tokens, each in the order in which they are looked for: the first that is there counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub scope: Vec<Place>,
    pub client: Vec<Place>,
    pub subject: Vec<Place>,
    /// Does the policy say where the client stands? Then that is as good as `client_id` (RFC 9068 2.2).
    pub maps_client: bool,
    /// Does it say where the subject stands? Then it means the same for another issuer that says it.
    pub maps_subject: bool,
}

/// A member of the claims: the names that lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(Vec<Cow<'static, str>>);

/// What is spoken where the policy says nothing.
pub(crate) static COMMON: Dialect =
    Dialect { scope: Vec::new(), client: Vec::new(), subject: Vec::new(), maps_client: false, maps_subject: false };

impl Dialect {
    pub(crate) fn scope<'v>(&self, claims: &'v Value<'_>) -> Option<&'v Value<'v>> {
        first(&self.scope, &["scope"], claims)
    }

    pub(crate) fn client<'v>(&self, claims: &'v Value<'_>) -> Option<&'v Value<'v>> {
        first(&self.client, &["client_id", "azp"], claims)
    }

    pub(crate) fn subject<'v>(&self, claims: &'v Value<'_>) -> Option<&'v Value<'v>> {
        first(&self.subject, &["sub"], claims)
    }
}

fn first<'v>(places: &[Place], common: &[&str], claims: &'v Value<'_>) -> Option<&'v Value<'v>> {
    if places.is_empty() {
        return common.iter().find_map(|name| claims.get(name));
    }
    places.iter().find_map(|place| place.find(claims))
}

impl Place {
    /// As a policy writes it.
    pub(crate) fn text(&self) -> String {
        match self.0.as_slice() {
            [name] => name.to_string(),
            names => names.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect(),
        }
    }

    /// A name, or a JSON Pointer (RFC 6901). `None`: a name that could be meant as a path, or no pointer.
    pub(crate) fn read(text: &str) -> Option<Place> {
        let Some(pointer) = text.strip_prefix('/') else {
            let is_plain = !text.is_empty() && !text.contains(['.', '/', ':', '*', '{', '}']);
            return is_plain.then(|| Place(vec![Cow::Owned(text.to_owned())]));
        };
        let names = pointer.split('/').map(|part| {
            let is_escaped = part.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            is_escaped.then(|| Cow::Owned(part.replace("~1", "/").replace("~0", "~")))
        });
        names.collect::<Option<Vec<_>>>().map(Place)
    }

    pub(crate) fn find<'v>(&self, claims: &'v Value<'_>) -> Option<&'v Value<'v>> {
        self.0.iter().try_fold(claims, |value, name| match value {
            // RFC 6901 4: the position, without leading zeros.
            Value::List(items) if name == "0" || !name.starts_with(['0', '+']) => {
                items.get(name.parse::<usize>().ok()?)
            }
            _ => value.get(name),
        })
    }

    /// The name, where it is one of the token itself.
    pub(crate) fn name(&self) -> Option<&str> {
        match self.0.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }
}
