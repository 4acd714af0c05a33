//! What the token service said when it gave no token, for records, logs and one challenge.

use crate::json::Value;

/// Its own words, bounded. Never for the client, but for `claims` where the rule falls back to a challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub status: u16,
    error: Option<String>,
    description: Option<String>,
    /// Entra's further demands of the user.
    pub claims: Option<String>,
}

/// Characters of an error, and of its description.
const MOST: (usize, usize) = (64, 128);
/// Bytes of `claims`. Longer ones would not fit into a header.
const MOST_CLAIMS: usize = 2048;

impl Said {
    pub(crate) fn read(status: u16, body: &Value<'_>) -> Said {
        let printable = |name: &str, most| {
            let text = body.get(name).and_then(Value::text)?;
            let text: String = text.chars().filter(|char| (' '..='~').contains(char)).take(most).collect();
            (!text.is_empty()).then_some(text)
        };
        let claims = body.get("claims").and_then(Value::text);
        Said {
            status,
            error: printable("error", MOST.0),
            description: printable("error_description", MOST.1),
            claims: claims.filter(|claims| (1..=MOST_CLAIMS).contains(&claims.len())).map(str::to_owned),
        }
    }

    /// Nothing that could be read.
    pub(crate) fn of(status: u16) -> Said {
        Said { status, ..Said::default() }
    }

    pub(crate) fn is(&self, error: &str) -> bool {
        self.error.as_deref() == Some(error)
    }

    /// In a line of the log, and in the record.
    pub(crate) fn text(&self) -> String {
        let mut text = self.status.to_string();
        if let Some(error) = &self.error {
            text += &format!(" {error}");
        }
        if let Some(description) = &self.description {
            text += &format!(": {description}");
        }
        if self.is("invalid_request") {
            text += " (a dead subject token, or a target that its scopes do not bring)";
        }
        text
    }
}
