//! `stepup probe` at an authorization server: what it says of a good one, and the name of each surprise.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use host_test::local::{AuthorizationServer, Resource};
use host_test::probe::{Caller, Finding, Probe};
use host_test::serve::Served;
use host_test::stack::{FILTER_CREDENTIAL, granted};
use serde_json::{Value, json};

const SERVER: &str = "https://mcp.example.com/mcp";

struct Case {
    policy: Value,
    tool: &'static str,
    credential: &'static str,
    /// Seconds that exchanged tokens live.
    ttl: u64,
    is_down: bool,
}

fn probed(change: impl FnOnce(&mut Case, &str)) -> Vec<Finding> {
    let resource = Resource::new(&["use", "admin", "other"], &["admin"]);
    let start =
        |ttl| AuthorizationServer::start(0, BTreeMap::from([(SERVER.to_owned(), resource.clone())]), ttl).unwrap();
    let mut server = start(60);
    let policy = |issuer: &str| {
        let at = |path: &str| format!("{issuer}{path}");
        json!({
            "version": 1, "resource": SERVER, "baseline": ["use"],
            "issuers": { issuer: { "jwks": { "cluster": "keys", "url": at("/jwks") }, "algorithms": ["ES256"] } },
            "token_service": {
                "issuer": issuer, "cluster": "tokens", "token": at("/token"), "revoke": at("/token/revocation"),
                "client": { "id": "step-up-filter", "auth": "cluster" },
            },
            "tools": {
                "read": { "scope": [] }, "write": { "scope": "admin" },
                "delete": { "step_up": "exchange", "scope": "admin", "ttl": "60s", "may_elevate": { "client": ["mcp-client"] } },
                "other": { "step_up": "exchange", "scope": "other", "ttl": "60s", "may_elevate": { "client": ["mcp-client"] } },
                "nobody": { "step_up": "exchange", "scope": "admin", "ttl": "60s", "may_elevate": { "client": ["another"] } },
            },
        })
    };
    let issuer = server.issuer();
    let mut case =
        Case { policy: policy(&issuer), tool: "delete", credential: FILTER_CREDENTIAL, ttl: 60, is_down: false };
    change(&mut case, &issuer);
    let mut issuer = issuer;
    if case.ttl != 60 {
        server = start(case.ttl);
        let text = case.policy.to_string().replace(&issuer, &server.issuer());
        (case.policy, issuer) = (serde_json::from_str(&text).unwrap(), server.issuer());
    }
    let token = granted(&issuer, SERVER, "use").unwrap();
    let mut clusters = BTreeMap::new();
    if case.is_down {
        clusters.insert("tokens".to_owned(), "http://127.0.0.1:1".to_owned());
    }
    let probe = Probe {
        policy: Served::of(&case.policy).unwrap(),
        server: None,
        tool: case.tool.to_owned(),
        caller: Caller::Token(token.clone()),
        credentials: BTreeMap::from([("tokens".to_owned(), case.credential.to_owned())]),
        clusters,
        introspection: Some((format!("{issuer}/token/introspection"), FILTER_CREDENTIAL.to_owned())),
    };
    let findings = probe.findings().unwrap();
    let signature = token.rsplit('.').next().unwrap();
    assert!(findings.iter().all(|finding| !finding.found.contains(signature)), "a token is told: {findings:#?}");
    // What was minted is taken back also by a probe, where it can be.
    if case.policy["token_service"]["revoke"] != "none" {
        let books = server.books();
        assert_eq!(books.minted, books.revoked.len(), "{findings:#?}");
    }
    findings
}

fn of<'f>(findings: &'f [Finding], what: &str) -> &'f Finding {
    findings.iter().find(|finding| finding.what == what).unwrap_or_else(|| panic!("nothing of {what}: {findings:#?}"))
}

#[test]
fn a_good_one_has_no_surprise() {
    let findings = probed(|_, _| ());
    assert!(findings.iter().all(|finding| !finding.is_surprise), "{findings:#?}");
    for (what, found) in [
        ("audience", SERVER),
        ("subject", "mcp-client"),
        ("lifetime", "60 s"),
        ("scopes", "asked for admin; got admin"),
        ("introspection", "alive"),
        ("revocation", "revoked when the call had ended"),
        ("and afterwards", "dead"),
    ] {
        assert_eq!(of(&findings, what).found, found, "{what}");
    }
}

/// Each surprise by its name, and with what mends it.
#[test]
fn each_surprise_has_its_name_and_what_mends_it() {
    type Change = fn(&mut Case, &str);
    let table: [(&str, &str, Change); 9] = [
        ("elevated_lifetime", "`ttl`", |case, _| case.ttl = 600),
        ("elevation_refused", "allowed to obtain", |case, _| case.tool = "other"),
        ("filter_not_accepted", "--credential", |case, _| case.credential = "Basic bm9ib2R5Ong="),
        ("not_eligible", "`may_elevate`", |case, _| case.tool = "nobody"),
        ("permitted on", "step_up: exchange", |case, _| case.tool = "read"),
        ("scope_missing", "step_up: exchange", |case, _| case.tool = "write"),
        ("no_rule", "a rule for", |case, _| case.tool = "unheard_of"),
        ("elevation_unavailable", "--cluster", |case, _| case.is_down = true),
        ("elevation_refused", "one that the token service knows", |case, _| {
            case.policy["tools"]["delete"]["audience"] = json!("https://other.example.com");
        }),
    ];
    for (name, mend, change) in table {
        let findings = probed(change);
        let decision = of(&findings, "decision");
        assert!(decision.is_surprise && decision.found.starts_with(name), "{name}: {findings:#?}");
        let said = decision.mend.as_deref().unwrap_or_default();
        assert!(said.contains(mend), "{name}: {said}");
    }
}

#[test]
fn a_token_that_lives_on_is_a_surprise() {
    let findings = probed(|case, _| case.policy["token_service"]["revoke"] = json!("none"));
    assert!(of(&findings, "revocation").is_surprise, "{findings:#?}");
    assert_eq!(of(&findings, "and afterwards").found, "alive after its call");
}
