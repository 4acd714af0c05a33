//! All rules of one server: of its tools, and of whatever else a request can name.

use super::pattern::Pattern;
use super::rules::{Kind, Reached, Rule, Rules, Unmatched};
use crate::mcp::{Target, is_fixed};

/// The rules of one server.
#[derive(Debug, Default)]
pub(crate) struct RuleBook {
    pub tools: Rules,
    pub prompts: Rules,
    pub resources: Rules,
    pub methods: Rules,
}

impl RuleBook {
    /// P1, for every kind of target.
    pub(crate) fn select(&self, target: &Target<'_>) -> Result<&Rule, Unmatched> {
        match target {
            // P20: prefixes skip methods that need no rule, or have others, in whatever case.
            Target::Method(name) if is_fixed(name) => Err(Unmatched::NoRule),
            target => self.of(target).select(target.name()),
        }
    }

    /// The rules of this kind of target.
    pub(crate) fn of(&self, target: &Target<'_>) -> &Rules {
        match target {
            Target::Tool(_) => &self.tools,
            Target::Prompt(_) => &self.prompts,
            Target::Resource(_) => &self.resources,
            Target::Method(_) => &self.methods,
        }
    }

    /// P19: the rules under which some URI of this template of the server's could be read.
    pub(crate) fn of_template(&self, template: &str) -> Reached<'_> {
        match Pattern::template(template) {
            Some(template) => self.resources.reached_by(&template),
            None => Reached { rules: Vec::new(), unmatched: Some(Unmatched::Confusable), sample: template.to_owned() },
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<(Kind, &Rule)> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            self.of_kind(kind).iter().for_each(|rule| all.push((kind, rule)));
        }
        all
    }

    /// Those of one kind.
    pub(crate) fn of_kind(&self, kind: Kind) -> &Rules {
        match kind {
            Kind::Tool => &self.tools,
            Kind::Prompt => &self.prompts,
            Kind::Resource => &self.resources,
            Kind::Method => &self.methods,
        }
    }

    /// P26.
    pub(crate) fn has_anonymous(&self) -> bool {
        self.all().iter().any(|(_, rule)| rule.anonymous)
    }
}
