//! What a request names.

use std::borrow::Cow;

/// The thing that an operation is on: what rules are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Tool(Cow<'a, str>),
    Prompt(Cow<'a, str>),
    /// By URI, as it was sent. Of a completion, it may be a template.
    Resource(Cow<'a, str>),
    /// Where the method itself is all there is to name.
    Method(Cow<'a, str>),
}

impl Target<'_> {
    /// As records have it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Target::Tool(_) => "tool",
            Target::Prompt(_) => "prompt",
            Target::Resource(_) => "resource",
            Target::Method(_) => "method",
        }
    }

    /// Does it stand for many resources (RFC 6570)?
    pub(crate) fn is_template(&self) -> bool {
        matches!(self, Target::Resource(uri) if uri.contains('{'))
    }

    /// Its name or URI.
    pub(crate) fn name(&self) -> &str {
        match self {
            Target::Tool(name) | Target::Prompt(name) | Target::Resource(name) | Target::Method(name) => name,
        }
    }
}
