//! Words that the language does not have, and that one might look for (P18): refused by name, with what to do instead.

use super::vocabulary::LATER;
use super::{Entry, Report};

/// Reports such a field. False: it is any other unknown one.
pub(super) fn word(field: &str, entry: &Entry<'_>, report: &mut Report) -> bool {
    let found = LATER.iter().find(|(word, _)| *word == field);
    if let Some((word, help)) = found {
        entry.fault(report, format!("`{word}` is not part of this version"), *help);
    }
    found.is_some()
}

/// P38: the places that know no patterns. A `*` there would stand for itself, which nobody means.
/// True: one stands here, and that was said.
pub(crate) fn no_pattern(text: &str, entry: &Entry<'_>, report: &mut Report) -> bool {
    let is_pattern = text.contains(['*', '{', '}']);
    if is_pattern {
        entry.fault(
            report,
            "a pattern where none is understood",
            "write each value out; `*` and braces are for names of tools",
        );
    }
    is_pattern
}

#[cfg(test)]
mod tests {
    use crate::policy::{NoEnvironment, Policy};

    #[test]
    fn p18_words_are_in_order_and_there_once() {
        assert!(super::LATER.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    fn problems(policy: &serde_json::Value) -> Vec<String> {
        let loaded = Policy::load(policy.to_string().as_bytes(), &NoEnvironment);
        loaded.err().into_iter().flatten().map(|fault| format!("{}: {}", fault.path, fault.problem)).collect()
    }

    fn policy(rule: serde_json::Value) -> serde_json::Value {
        serde_json::json!({
            "version": 1,
            "issuers": { "https://a.example": {
                "jwks": { "cluster": "keys", "url": "https://a.example/jwks" }, "algorithms": ["ES256"],
            } },
            "resource": "https://mcp.example/mcp", "baseline": [], "tools": { "t": rule },
        })
    }

    #[test]
    fn p18_a_word_of_a_later_version_is_refused_wherever_it_is_not_known() {
        for (word, _) in super::LATER {
            let mut rule = serde_json::json!({ "scope": [] });
            rule[word] = serde_json::json!("x");
            assert_eq!(problems(&policy(rule)), [format!("tools.t.{word}: `{word}` is not part of this version")]);
        }
    }

    #[test]
    fn p38_no_pattern_is_understood_outside_of_the_names_of_tools() {
        let mut policy = policy(serde_json::json!({ "scope": [] }));
        let issuer = policy["issuers"]["https://a.example"].clone();
        policy["issuers"]["https://*.example"] = issuer;
        policy["resource"] = "https://mcp.example/*".into();
        policy["paths"] = serde_json::json!(["/a*"]);
        policy["origins"] = serde_json::json!(["https://*.example"]);
        let expected = ["issuers.\"https://*.example\"", "resource", "paths[0]", "origins[0]"];
        let mut found = problems(&policy);
        found.sort_unstable();
        let mut expected = expected.map(|path| format!("{path}: a pattern where none is understood"));
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
