//! All rules of one server: of its tools, and of whatever else a request can name.

use super::rules::{Rule, Rules, Unmatched};
use crate::mcp::Target;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A line of `tools`.
    Tool,
}

impl Kind {
    /// The map of a server that such rules stand in.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Tool => "tools",
        }
    }
}

/// The rules of one server.
#[derive(Debug)]
pub(crate) struct RuleBook {
    pub tools: Rules,
}

impl RuleBook {
    /// P1, for every kind of target. What no rule can be about has none.
    pub(crate) fn select(&self, target: &Target<'_>) -> Result<&Rule, Unmatched> {
        self.rules(target).map_or(Err(Unmatched::NoRule), |(rules, name)| rules.select(name))
    }

    /// The rules of whatever the target could be read as.
    pub(crate) fn readings(&self, target: &Target<'_>) -> impl Iterator<Item = &Rule> {
        self.rules(target).into_iter().flat_map(|(rules, name)| rules.readings(name))
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Kind, &Rule)> {
        self.tools.iter().map(|rule| (Kind::Tool, rule))
    }

    /// P26.
    pub(crate) fn has_anonymous(&self) -> bool {
        self.all().any(|(_, rule)| rule.anonymous)
    }

    fn rules<'t>(&self, target: &'t Target<'_>) -> Option<(&Rules, &'t str)> {
        match target {
            Target::Tool(name) => Some((&self.tools, name)),
            Target::Prompt(_) | Target::Resource(_) | Target::Method(_) => None,
        }
    }
}
