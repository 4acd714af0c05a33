//! Which names can have a rule of their own. The reader of policies is asked, so nobody here knows its rules a second time.

use std::collections::BTreeMap;

use serde_json::json;
use step_up_core::{NoEnvironment, Policy};

use crate::text::quoted;
use crate::yaml;

/// Names that can have a rule, in order, and those that cannot, each with the reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorted {
    pub kept: Vec<String>,
    pub refused: Vec<(String, String)>,
}

impl Sorted {
    /// For `tools`, `prompts` or `resources`.
    pub(super) fn of<'n>(map: &str, names: impl Iterator<Item = &'n str>) -> Sorted {
        let mut spellings: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
        for name in names {
            *spellings.entry(name.to_lowercase()).or_default().entry(name).or_default() += 1;
        }
        let mut sorted = Sorted::default();
        for spelled in spellings.values() {
            for (name, times) in spelled {
                let why = match (spelled.len(), times) {
                    (1, 1) => unusable(map, name),
                    (1, _) => Some(format!("it is listed {times} times: which one is meant?")),
                    _ => Some("another one differs from it only by case".to_owned()),
                };
                match why {
                    None => sorted.kept.push((*name).to_owned()),
                    Some(why) => sorted.refused.push(((*name).to_owned(), why)),
                }
            }
        }
        sorted.kept.sort();
        sorted.refused.sort();
        sorted
    }
}

/// Why a policy with this rule alone does not load, or means another name than this one.
fn unusable(map: &str, name: &str) -> Option<String> {
    if name.contains('*') {
        return Some("with its `*` it would be a pattern".to_owned());
    }
    // A long text is no key of YAML, and `<<` is none of a policy (P18).
    match yaml::read(&format!("rules:\n  {}: 1\n", quoted(name))) {
        Ok(read) if yaml::to_json(&read).pointer("/rules").is_some_and(|rules| rules.get(name).is_some()) => {}
        Ok(_) => return Some("it would be read as another one".to_owned()),
        Err(fault) => return Some(format!("it cannot be a key: {}", fault.problem)),
    }
    let policy = json!({
        "version": 1,
        "issuers": { "https://as.example.com": {
            "jwks": { "cluster": "as-keys", "url": "https://as.example.com/jwks" }, "algorithms": ["ES256"],
        } },
        "resource": "https://mcp.example.com/mcp",
        "baseline": ["mcp:connect"],
        map: { name: { "scope": [] } },
    });
    match Policy::load(policy.to_string().as_bytes(), &NoEnvironment) {
        Ok(policy) => policy.warnings().first().map(|fault| fault.problem.clone()),
        Err(faults) => Some(faults.first().map(|fault| fault.problem.clone()).unwrap_or_default()),
    }
}
