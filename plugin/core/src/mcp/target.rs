//! What a request names.

use std::borrow::Cow;

/// The thing that an operation is on: what rules are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Tool(Cow<'a, str>),
    Prompt(Cow<'a, str>),
    /// By URI, as it was sent.
    Resource(Cow<'a, str>),
    /// Where the method itself is all there is to name.
    Method(Cow<'a, str>),
}
