//! What a policy reads when it is loaded.

use step_up_core::{Environment, Millis};

/// The variables of a script, and its time.
pub(in crate::backend) struct Variables<'s>(pub &'s [(String, String)], pub Millis);

impl Environment for Variables<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    fn now(&self) -> Option<Millis> {
        Some(self.1)
    }
}
