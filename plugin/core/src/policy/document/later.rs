//! What the language has and this version does not (P18): refused by name, because a policy that is not understood must not
//! be enforced by halves.

use super::{Entry, Report};

/// The words, and what to do until they come.
const WORDS: [(&str, &str); 62] = [
    ("acr", "authentication context comes later; until then use `max_age` or a scope of its own"),
    ("act", "rules for delegation come later; until then narrow by scope"),
    ("advertised", "every issuer of a server is advertised until this comes"),
    ("after", "rules about what was called before are not part of version 1"),
    ("also_audience", "other dialects of token services come later"),
    ("also_granted", "other dialects of token services come later"),
    ("annotate", "annotated lists come later; lists pass unchanged"),
    ("anonymous", "tools without a token come later; until then every call needs one"),
    ("anonymous_body", "tools without a token come later"),
    ("anonymous_waiting", "tools without a token come later"),
    ("approval", "approvals are not part of version 1; let the token service ask for them"),
    ("arg", "conditions on arguments come later; until then give the tool its strictest rule"),
    ("ask", "scopes in another spelling come later"),
    ("audience_aliases", "other dialects of token services come later"),
    ("audiences", "further audiences come later; until then a token's `aud` is the `resource`"),
    ("binding", "sender-constrained tokens come later; until then such tokens are refused"),
    (
        "callers",
        "conditions on callers come later; until then narrow by scope, or by `may_elevate` where a token is obtained",
    ),
    ("claims", "names of claims come later; until then `scope`, `client_id` and `sub` count"),
    ("client_origin", "conditions on origins come later; list the client ids"),
    ("clients", "what clients can do comes later; who may call is `callers`, which comes later too"),
    ("data_class", "labels come later"),
    ("declared_task", "labels come later"),
    ("denials", "other forms of a denial come later; until then it is an HTTP status"),
    ("environment", "labels come later"),
    ("every", "conditions on arguments come later; until then give the tool its strictest rule"),
    ("host", "conditions on URLs come later; list the values: `in: [ ... ]`"),
    ("introspection", "opaque tokens come later; until then a token is a JWT"),
    ("introspections", "opaque tokens come later; until then a token is a JWT"),
    ("issued_token_type", "other dialects of token services come later"),
    ("list", "filtered lists come later; lists pass unchanged"),
    ("lists", "filtered lists come later; a list shows all tools, a call is judged all the same"),
    ("meta", "conditions on `_meta` come later"),
    ("methods", "other methods come later; until then they are refused"),
    ("mode", "`mode` stands at the top only; shadow mode of single rules comes later"),
    ("once", "every elevation is for one operation; there is nothing to set"),
    ("pins", "pinned tools come later"),
    ("prompts", "rules for prompts come later; until then prompts/get is refused"),
    ("purpose", "labels come later"),
    ("raise", "conditions on arguments come later; until then give the tool its strictest rule"),
    ("remove_headers", "a list of headers comes later; let the route remove them"),
    ("request", "other dialects of token services come later"),
    ("require", "requirements on the source come later"),
    ("resources", "rules for resources come later; until then resources/read is refused"),
    ("resume", "streams that pause come later; until then a stream's end is the end, after `linger`"),
    ("reuse", "elevated tokens are never reused"),
    ("seal", "sealed sessions come later"),
    ("secret", "secrets never stand in a policy; name an environment variable: `secret_env`"),
    ("session", "session rules come later"),
    ("sessions", "session rules come later"),
    ("some", "conditions on arguments come later; until then give the tool its strictest rule"),
    ("source_from", "identities from headers come later; until then the peer's certificate counts"),
    ("stream", "bounds on streams come later; until then the route bounds them"),
    ("suffix", "conditions on ends come later; list the values: `in: [ ... ]`"),
    ("task", "tokens that outlive an answer come later; until then a call that asks for a task is not elevated"),
    ("tenants", "families of issuers come later; until then name each issuer"),
    ("token", "longer tokens come later; until then 16 KiB is the most"),
    ("token_service", "several token services come later; the one at the top serves every rule"),
    ("token_services", "several token services come later; until then one for each policy"),
    ("unpinned", "pinned tools come later"),
    ("until", "`until` stands beside `mode` at the top; shadow mode of single rules comes later"),
    ("upstream_challenge", "the filter's own challenges in place of a server's come later; let the route remove them"),
    ("within", "conditions on paths come later; list the values: `in: [ ... ]`"),
];

/// Values of words that are there.
const VALUES: [(&str, &str); 2] = [
    ("Ed25519", "write `EdDSA`, which is the same"),
    ("auto", "a way for each client comes later; write `challenge` or `exchange`"),
];

/// Reports a field that a later version knows. False: it is unknown to the language.
pub(super) fn word(field: &str, entry: &Entry<'_>, report: &mut Report) -> bool {
    refused(field, &WORDS, entry, report)
}

/// Reports a value that a later version knows, where no other is accepted.
pub(crate) fn value(text: &str, entry: &Entry<'_>, report: &mut Report) -> bool {
    refused(text, &VALUES, entry, report)
}

fn refused(text: &str, list: &[(&str, &str)], entry: &Entry<'_>, report: &mut Report) -> bool {
    let found = list.iter().find(|(word, _)| *word == text);
    if let Some((word, help)) = found {
        entry.fault(report, format!("`{word}` is not part of this version"), *help);
    }
    found.is_some()
}

/// P38: the places that know no patterns. A `*` there would stand for itself, which nobody means.
pub(crate) fn no_pattern(text: &str, entry: &Entry<'_>, report: &mut Report) {
    if text.contains(['*', '{', '}']) {
        entry.fault(
            report,
            "a pattern where none is understood",
            "write each value out; `*` and braces are for names of tools",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::{NoEnvironment, Policy};

    #[test]
    fn p18_words_are_in_order_and_there_once() {
        assert!(super::WORDS.is_sorted_by(|(a, _), (b, _)| a < b));
        assert!(super::VALUES.is_sorted_by(|(a, _), (b, _)| a < b));
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
        for (word, _) in super::WORDS {
            let mut rule = serde_json::json!({ "scope": [] });
            rule[word] = serde_json::json!("x");
            assert_eq!(problems(&policy(rule)), [format!("tools.t.{word}: `{word}` is not part of this version")]);
        }
    }

    #[test]
    fn p03_braces_and_groups_are_no_scopes_yet() {
        for (scope, problem) in [
            (serde_json::json!("tool:{name}"), "a brace inside a scope"),
            (serde_json::json!("a}"), "a brace inside a scope"),
            (serde_json::json!({ "any": ["a", "b"] }), "`any` is not part of this version"),
        ] {
            assert_eq!(problems(&policy(serde_json::json!({ "scope": scope }))), [format!("tools.t.scope: {problem}")]);
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
