//! Access review: the matrix, the comparison of two policies, the replay of a log, the story of one operation.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use host_test::diff::{Finding, compare};
use host_test::{check, matrix, paths};
use proptest::prelude::*;
use serde_json::{Value, json};
use step_up_core::{Became, Millis, Policy};

/// 2026-11-21T12:00:00Z, when no shadow of the examples is over.
const AT: Millis = Millis(1_795_262_400_000);
const TIME: &str = "2026-11-21T12:00:00Z";
const OLD: &str = "host-test/tests/review/old.yaml";
const NEW: &str = "host-test/tests/review/new.yaml";
const HOSTILE: &str = "host-test/tests/review/hostile.yaml";
const LOG: &str = "host-test/tests/review/access.log";
const SHADOW: &str = "policies/shadow-rollout/policy.yaml";

fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepup"));
    let Output { status, stdout, stderr } = command.current_dir(paths::workspace()).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// After a change on purpose: `INSTA_UPDATE=always cargo test -p host-test --test review`, and read the difference.
fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("review");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn policy(text: &str) -> Policy {
    let mut policies = check::that_load(text);
    assert_eq!(policies.len(), 1, "it does not load:\n{text}");
    policies.pop().unwrap()
}

fn write(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

// ---- matrix

#[test]
fn the_matrix_in_every_format() {
    for (format, file) in
        [("table", "matrix.txt"), ("csv", "matrix.csv"), ("json", "matrix.json"), ("html", "matrix.html")]
    {
        let (code, out, error) = run(&["matrix", OLD, "--at", TIME, "--format", format]);
        assert_eq!(code, 0, "{error}");
        snapshot(file, &out);
    }
}

#[test]
fn every_rule_of_every_example_has_its_row() {
    let mut rules = 0;
    for (name, text) in examples() {
        let policy = policy(&text);
        let rows = matrix::rows(&policy, AT);
        for server in policy.view().servers() {
            for rule in server.rules() {
                rules += 1;
                let is_its = |row: &&matrix::Row| {
                    row.server == server.name()
                        && row.name == rule.pattern()
                        && row.words.rule.as_ref().is_some_and(|(_, place)| place == rule.place())
                };
                assert!(rows.iter().any(|row| is_its(&row)), "{name}: {} has no row", rule.place());
            }
        }
    }
    assert!(rules > 150, "only {rules} rules were found");
}

#[test]
fn p08_p14_who_may_is_told_client_by_client() {
    let policy =
        policy(&fs::read_to_string(paths::workspace().join("policies/exchange-for-destructive/policy.yaml")).unwrap());
    let rows = matrix::rows(&policy, AT);
    let of = |name: &str| -> Vec<(String, String)> {
        let rows = rows.iter().filter(|row| row.name == name);
        rows.map(|row| (row.client.clone(), format!("{:?}", row.words.how))).collect()
    };
    let pair = |client: &str, how: &str| (client.to_owned(), how.to_owned());
    assert_eq!(of("delete_*"), [pair("ci, ops-console", "Exchange"), pair("any other client, or none", "Denied")]);
    assert_eq!(of("delete_repo"), [pair("ops-console", "Exchange"), pair("any other client, or none", "Denied")]);
    assert_eq!(of("get_*"), [pair("any client", "Challenge")]);
}

#[test]
fn a_policy_in_a_file_of_envoys_is_found() {
    let (code, out, error) = run(&["matrix", "envoy/step-up.ecds.yaml", "--at", TIME]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("get-env"), "{out}");
    assert_eq!(run(&["matrix", "envoy/envoy.yaml"]).0, 2);
    assert_eq!(run(&["matrix", "no/such/policy.yaml"]).0, 2);
    assert_eq!(run(&["matrix", OLD, "--at", "tomorrow"]).0, 2);
}

// ---- names that somebody chose

/// What must never reach an eye as it is.
fn is_raw(char: char) -> bool {
    (char.is_control() && char != '\n')
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[test]
fn hostile_names_do_nothing_in_any_format() {
    let bare = write("bare.yaml", &without_rules(&fs::read_to_string(paths::workspace().join(HOSTILE)).unwrap()));
    let record = json!({
        "id": "x", "verdict": "permit", "reason": "permitted", "mode": "enforce", "server": "default", "method": "tools/call", "kind": "tool",
        "name": "</script>\u{1b}[31m\u{202e}\r\n|", "issuer": "https://as.example.com", "client": "=1+\u{1b}]0;x\u{7}",
    });
    let log = write("hostile.log", &format!("{record}\n{}\n", json!({ "stepup": record.to_string() })));
    let alone = write("hostile-record.log", &format!("{record}\n"));
    let envoy = write(
        "hostile-envoy.log",
        "[2026-11-21 12:00:00.007][1][warning][wasm] [x.cc:1] wasm log step-up: step-up: x: \u{1b}[31m</script>\u{202e} after 1 ms\n",
    );
    let mut seen = 0;
    for arguments in [
        vec!["explain", OLD, "--audit", &alone, "--id", "x", "--log", &envoy],
        vec!["matrix", HOSTILE],
        vec!["matrix", HOSTILE, "--format", "csv"],
        vec!["matrix", HOSTILE, "--format", "json"],
        vec!["matrix", HOSTILE, "--format", "html"],
        vec!["diff", &bare, HOSTILE],
        vec!["diff", &bare, HOSTILE, "--format", "markdown"],
        vec!["diff", &bare, HOSTILE, "--format", "json"],
        vec!["replay", OLD, &log],
        vec!["replay", OLD, &log, "--json"],
    ] {
        let (code, out, error) = run(&arguments);
        assert!(code < 2 || arguments[0] == "replay", "{arguments:?}: {error}");
        let raw: Vec<char> = out.chars().filter(|char| is_raw(*char)).collect();
        // CSV has its line ends as RFC 4180 or not; ours are plain.
        assert!(raw.is_empty(), "{arguments:?} lets {raw:?} through:\n{out}");
        seen += usize::from(out.contains("script"));
    }
    assert_eq!(seen, 10, "the names are not shown at all");
}

#[test]
fn a_hostile_name_is_no_markup() {
    let (_, page, _) = run(&["matrix", HOSTILE, "--format", "html"]);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert_eq!(page.matches("<script").count(), 1, "one script, which is ours");
    assert_eq!(page.matches("<img").count(), 0);
    assert_eq!(page.matches("<b>").count(), 1, "that of the page itself");
    assert!(
        !page.contains("http-equiv=\"refresh\"") && !page.contains("<link") && !page.contains("url("),
        "it loads something"
    );
    // What runs is named by its digest, so nothing else would.
    assert!(page.contains("default-src 'none'") && !page.contains("unsafe-inline"), "{page}");

    let bare = write("markup.yaml", &without_rules(&fs::read_to_string(paths::workspace().join(HOSTILE)).unwrap()));
    let (_, markdown, _) = run(&["diff", &bare, HOSTILE, "--format", "markdown"]);
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let rows: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 10 && rows.iter().all(|row| cells(row) == 5), "a name opens a cell:\n{markdown}");
    let mut html = String::new();
    let options = pulldown_cmark::Options::ENABLE_TABLES | pulldown_cmark::Options::ENABLE_STRIKETHROUGH;
    pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new_ext(&markdown, options));
    for tag in ["<script", "<img", "<a ", "<del", "<em", "<code>c"] {
        assert!(!html.contains(tag), "{tag} in\n{html}");
    }
    assert!(
        !markdown.contains("www.") && !markdown.contains("https://evil") && !markdown.contains("@all"),
        "{markdown}"
    );
}

#[test]
fn a_spreadsheet_computes_nothing() {
    let (_, text, _) = run(&["matrix", HOSTILE, "--format", "csv"]);
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let columns = reader.headers().unwrap().len();
    let mut formulas = 0;
    for record in reader.records() {
        let record = record.unwrap();
        assert_eq!(record.len(), columns);
        for cell in &record {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
            formulas += usize::from(cell.starts_with('\''));
        }
    }
    assert!(formulas >= 4, "only {formulas} formulas were found");
}

// ---- diff

#[test]
fn a_comparison_in_every_format() {
    for (format, file) in [("text", "diff.txt"), ("markdown", "diff.md"), ("json", "diff.json")] {
        let (code, out, error) = run(&["diff", OLD, NEW, "--at", TIME, "--format", format]);
        assert_eq!(code, 1, "{error}");
        snapshot(file, &out);
    }
}

#[test]
fn exit_codes_of_a_comparison() {
    let stronger = write("stronger.yaml", &changed(&[("max_lifetime: 15m", "max_lifetime: 5m")]));
    for (code, arguments) in
        [(0, [OLD, OLD]), (0, [OLD, &stronger]), (1, [&stronger, OLD]), (2, [OLD, "no/such.yaml"]), (2, [OLD, LOG])]
    {
        let (actual, out, error) = run(&["diff", arguments[0], arguments[1], "--at", TIME]);
        assert_eq!(actual, code, "{arguments:?}\n{out}{error}");
        assert_eq!(code == 2, !error.is_empty());
    }
}

fn old() -> String {
    fs::read_to_string(paths::workspace().join(OLD)).unwrap()
}

fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(old(), |text, (from, to)| {
        assert!(text.contains(from), "`{from}` is not in it");
        text.replace(from, to)
    })
}

/// What becomes of one change: what is found, and for whom. Each is tried backwards, too.
#[test]
fn p05_what_becomes_of_a_change() {
    use Became::{Changed, Reachable, Stronger, Unreachable, Weaker};
    type Expected<'e> = &'e [(Became, &'e str, &'e str)];
    type Row<'e> = (&'e str, &'e [(&'e str, &'e str)], Expected<'e>);
    let any = "any client";
    let pairs: &[Row<'_>] = &[
        ("a comment", &[("resource:", "# nothing\nresource:")], &[]),
        (
            "a tier in place of terms",
            &[
                (
                    "create_issue: { scope: repo:write, step_up: challenge, max_lifetime: 15m }",
                    "create_issue: { tier: w, scope: repo:write }",
                ),
                ("resource: ", "tiers: { w: { step_up: challenge, max_lifetime: 15m } }\nresource: "),
            ],
            &[],
        ),
        (
            "an exact rule that says what its pattern says",
            &[("  debug_shell: deny", "  debug_shell: deny\n  get_file: { scope: repo:read, step_up: challenge }")],
            &[],
        ),
        (
            "a rule more",
            &[("  debug_shell: deny", "  debug_shell: deny\n  wipe: { scope: repo:read, step_up: challenge }")],
            &[(Reachable, "tool wipe", any)],
        ),
        (
            "no longer denied",
            &[("debug_shell: deny", "debug_shell: { scope: repo:admin, step_up: challenge }")],
            &[(Reachable, "tool debug_shell", any)],
        ),
        (
            "denied beside its pattern",
            &[("  debug_shell: deny", "  debug_shell: deny\n  get_secret: deny")],
            &[(Unreachable, "tool get_secret", any)],
        ),
        ("a longer life", &[("max_lifetime: 15m", "max_lifetime: 16m")], &[(Weaker, "tool create_issue", any)]),
        (
            "another client that is elevated",
            &[("[ops-console]", "[ops-console, ci]")],
            &[(Reachable, "tool delete_*", "ci")],
        ),
        (
            "everybody is elevated",
            &[(", may_elevate: { client: [ops-console] }", "")],
            &[(Reachable, "tool delete_*", "any other client, or none")],
        ),
        (
            "a condition on claims",
            &[(
                "may_elevate: { client: [ops-console] }",
                "may_elevate: { all: [ { client: [ops-console] }, { claim: groups, equals: sre } ] }",
            )],
            &[(Stronger, "tool delete_*", "ops-console")],
        ),
        (
            "another scope",
            &[("create_issue: { scope: repo:write", "create_issue: { scope: repo:other")],
            &[(Changed, "tool create_issue", any)],
        ),
        (
            "a scope that implies the other",
            &[("create_issue: { scope: repo:write", "create_issue: { scope: repo:admin")],
            &[(Stronger, "tool create_issue", any)],
        ),
        (
            "one of two scopes",
            &[("create_issue: { scope: repo:write", "create_issue: { scope: { any: [repo:write, repo:triage] }")],
            &[(Weaker, "tool create_issue", any)],
        ),
        (
            "a hierarchy more",
            &[(
                "  repo:write: { implies: [repo:read] }",
                "  repo:write: { implies: [repo:read] }\n  super: { implies: [repo:write] }",
            )],
            &[
                (Weaker, "prompt review_*", any),
                (Weaker, "resource repo://acme/*", any),
                (Weaker, "tool create_issue", any),
                (Weaker, "tool get_*", any),
                (Weaker, "tool merge_pr", any),
            ],
        ),
        (
            "an exchange in place of a challenge",
            &[(
                "create_issue: { scope: repo:write, step_up: challenge, max_lifetime: 15m }",
                "create_issue: { scope: repo:write, step_up: exchange }",
            )],
            &[(Changed, "tool create_issue", any)],
        ),
        (
            "another audience",
            &[("scope: repo:admin, may_elevate", "scope: repo:admin, audience: https://git.internal, may_elevate")],
            &[(Changed, "tool delete_*", "ops-console")],
        ),
        (
            "a standing scope is refused",
            &[("scope: repo:admin, may_elevate", "scope: repo:admin, standing: refuse, may_elevate")],
            &[(Stronger, "tool delete_*", "ops-console")],
        ),
        (
            "nobody is told to ask",
            &[(
                "create_issue: { scope: repo:write, step_up: challenge, max_lifetime: 15m }",
                "create_issue: { scope: repo:write, step_up: none, max_lifetime: 15m }",
            )],
            &[(Changed, "tool create_issue", any)],
        ),
        (
            "raised more often",
            &[("{ arg: base, equals: main }", "{ arg: base, in: [main, release] }")],
            &[(Stronger, "tool merge_pr", any)],
        ),
        (
            "raised elsewhere",
            &[("{ arg: base, equals: main }", "{ arg: base, equals: trunk }")],
            &[(Changed, "tool merge_pr", any)],
        ),
        (
            "a rule in shadow",
            &[(
                "create_issue: { scope: repo:write",
                "create_issue: { mode: shadow, until: 2027-01-01, scope: repo:write",
            )],
            &[(Weaker, "tool create_issue", any)],
        ),
        (
            "a certificate",
            &[("create_issue: { scope: repo:write", "create_issue: { binding: certificate, scope: repo:write")],
            &[(Stronger, "tool create_issue", any)],
        ),
        (
            "an issuer more",
            &[(
                "token_service:\n",
                "  https://other.example.com:\n    jwks: { cluster: other-keys, url: https://other.example.com/jwks }\n    algorithms: [ES256]\ntoken_service:\n",
            )],
            &[(Weaker, "issuers", ""), (Weaker, "issuers that count", "")],
        ),
        ("an algorithm more", &[("[ES256]", "[ES256, RS256]")], &[(Weaker, "algorithms", "")]),
        (
            "the issuer's own bound",
            &[("    max_lifetime: 1h", "    max_lifetime: 2h")],
            &[(Weaker, "longest life of a token", "")],
        ),
        (
            "no revocation",
            &[("revoke: https://as.example.com/token/revocation", "revoke: none")],
            &[(Weaker, "revocation", "")],
        ),
        ("lists show all", &[("baseline:", "lists: pass\nbaseline:")], &[(Weaker, "lists", "")]),
        (
            "streams outlive their token",
            &[("resource:", "limits: { stream: unbounded }\nresource:")],
            &[(Weaker, "streams that a client listens to (limits.stream)", "")],
        ),
        (
            "a pattern between",
            &[("  debug_shell: deny", "  debug_shell: deny\n  get_secret_*: deny")],
            &[(Unreachable, "tool get_secret_*", any)],
        ),
        (
            "a pattern across another",
            &[("  debug_shell: deny", "  debug_shell: deny\n  \"*_credentials\": deny")],
            &[
                (Unreachable, "tool *_credentials that delete_* matches, too", "ops-console"),
                (Unreachable, "tool *_credentials that get_* matches, too", any),
            ],
        ),
    ];
    for (name, changes, expected) in pairs {
        let (old, new) = (policy(&old()), policy(&changed(changes)));
        let found = |from: &Policy, to: &Policy| -> Vec<(Became, String, String)> {
            let findings = compare(from, to, AT).findings.into_iter();
            findings.map(|finding| (finding.became, finding.what, finding.client)).collect()
        };
        let expected: Vec<(Became, String, String)> =
            expected.iter().map(|(became, what, client)| (*became, (*what).to_owned(), (*client).to_owned())).collect();
        assert_eq!(found(&old, &new), expected, "{name}");
    }
}

#[test]
fn the_mode_of_the_whole_policy_is_seen() {
    let shadow = changed(&[("version: 1", "version: 1\nmode: shadow\nuntil: 2027-01-01")]);
    let report = compare(&policy(&old()), &policy(&shadow), AT);
    let is = |became: Became, what: &str| {
        report.findings.iter().any(|finding| finding.became == became && finding.what == what)
    };
    assert!(is(Became::Weaker, "shadow mode") && is(Became::Weaker, "tool get_*"), "{:#?}", report.findings);
    assert!(
        is(Became::Reachable, "tool debug_shell") && is(Became::Reachable, "tool (any other)"),
        "{:#?}",
        report.findings
    );
    // When it is over, it is no shadow.
    let after = Millis(AT.0 + 365 * 86_400_000);
    assert!(compare(&policy(&old()), &policy(&shadow), after).findings.is_empty());
}

#[test]
fn servers_that_come_and_go() {
    let one = examples().into_iter().find(|(name, _)| name == "several-issuers-and-servers").unwrap().1;
    let two = policy(&one);
    let name = two.view().servers().last().unwrap().name().to_owned();
    let about = format!("server {name}");
    let mut document: Value = host_test::yaml::to_json(&host_test::yaml::read(&one).unwrap());
    document["servers"].as_object_mut().unwrap().remove(&name);
    let fewer = Policy::load(document.to_string().as_bytes(), &step_up_core::NoEnvironment).unwrap();
    let gone = compare(&two, &fewer, AT);
    assert!(
        gone.findings.iter().any(|finding| finding.about == about && finding.became == Became::Unreachable),
        "{gone:#?}"
    );
    assert!(!gone.findings.iter().any(|finding| finding.became == Became::Reachable), "{gone:#?}");
    assert!(compare(&fewer, &two, AT).needs_review());
}

/// The same, seen from the other side.
fn mirrored(finding: &Finding) -> Finding {
    let became = match finding.became {
        Became::Reachable => Became::Unreachable,
        Became::Weaker => Became::Stronger,
        Became::Changed => Became::Changed,
        Became::Stronger => Became::Weaker,
        Became::Unreachable => Became::Reachable,
    };
    Finding { became, was: finding.now.clone(), now: finding.was.clone(), ..finding.clone() }
}

fn is_mirrored(one: &Policy, other: &Policy) -> Result<(), String> {
    let sorted = |mut findings: Vec<Finding>| {
        // Whose name a server has is the newer policy's business.
        findings.iter_mut().for_each(|finding| finding.about.clear());
        findings.sort_by_key(|finding| format!("{finding:?}"));
        findings
    };
    let there = sorted(compare(one, other, AT).findings.iter().map(mirrored).collect());
    let back = sorted(compare(other, one, AT).findings);
    if there == back { Ok(()) } else { Err(format!("{there:#?}\n---\n{back:#?}")) }
}

#[test]
fn a_policy_differs_from_no_policy_that_says_the_same() {
    for (name, text) in examples() {
        let policy = policy(&text);
        assert_eq!(compare(&policy, &policy, AT).findings, [], "{name}");
    }
}

#[test]
fn what_became_weaker_becomes_stronger_on_the_way_back() {
    let policies: Vec<(String, Policy)> = examples().into_iter().map(|(name, text)| (name, policy(&text))).collect();
    for (at, (name, one)) in policies.iter().enumerate() {
        for (other_name, other) in &policies[at + 1..] {
            is_mirrored(one, other).unwrap_or_else(|error| panic!("{name} and {other_name}: {error}"));
        }
    }
}

/// A policy of rules with a few terms each.
fn any_policy() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "ab", "a*", "*b", "ab*", "*", "c"]);
    let term = prop::sample::select(vec![
        "deny",
        "{ scope: [] }",
        "{ scope: r, step_up: challenge }",
        "{ scope: w, step_up: challenge }",
        "{ scope: w, step_up: challenge, max_lifetime: 10m }",
        "{ scope: w, step_up: none }",
        "{ scope: r, step_up: challenge, callers: { client: [x] } }",
        "{ scope: r, step_up: challenge, callers: { not: { client: [x, y] } } }",
        "{ scope: r, step_up: challenge, raise: [ { when: { arg: p, equals: 1 }, scope: w, step_up: challenge } ] }",
        "{ scope: r, step_up: challenge, raise: [ { unless: { client: [y] }, scope: w, step_up: challenge } ] }",
        "{ scope: r, step_up: challenge, mode: shadow, until: 2027-01-01 }",
    ]);
    let rules = prop::collection::btree_map(name, term, 1..5);
    (rules, any::<bool>()).prop_map(|(rules, implies)| {
        let mut text = "version: 1\nissuers:\n  https://as.example.com: { jwks: { cluster: k, url: https://as.example.com/jwks }, algorithms: [ES256] }\nresource: https://mcp.example.com/mcp\nbaseline: [b]\n".to_owned();
        text += if implies { "scopes: { w: { implies: [r] }, r: {} }\n" } else { "scopes: { w: {}, r: {} }\n" };
        text += "tools:\n";
        for (name, term) in rules {
            let term = match term {
                "deny" => "{ deny: true, allow_weaker: true }".to_owned(),
                term => term.replacen('{', "{ allow_weaker: true,", 1),
            };
            text += &format!("  \"{name}\": {term}\n");
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn comparisons_of_any_policies_are_mirrored(one in any_policy(), other in any_policy()) {
        let load = |text: &str| check::that_load(text).pop();
        // Two patterns that are as specific, with different rules, are no policy.
        prop_assume!(load(&one).is_some() && load(&other).is_some());
        let (one, other) = (load(&one).unwrap(), load(&other).unwrap());
        prop_assert_eq!(&compare(&one, &one, AT).findings, &[]);
        if let Err(error) = is_mirrored(&one, &other) {
            prop_assert!(false, "{}", error);
        }
    }
}

// ---- replay

fn enforced() -> String {
    let text = fs::read_to_string(paths::workspace().join(SHADOW)).unwrap();
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("mode:") && !line.starts_with("until:")).collect();
    write("enforced.yaml", &(lines.join("\n") + "\n"))
}

#[test]
fn a_log_of_shadow_mode_says_what_enforcing_will_do() {
    let (code, out, error) = run(&["replay", &enforced(), LOG, "--under", SHADOW, "--at", TIME]);
    assert_eq!(code, 1, "{error}");
    snapshot("replay-under.txt", &out);
    // Without the policy that it was recorded under, less can be told, and nothing is guessed.
    let (code, out, error) = run(&["replay", &enforced(), LOG, "--at", TIME]);
    assert_eq!(code, 1, "{error}");
    snapshot("replay.txt", &out);
}

/// Whatever shadow mode said it would do, enforcing does.
#[test]
fn p15_what_shadow_mode_foretold_is_what_replay_finds() {
    let (_, out, _) = run(&["replay", &enforced(), LOG, "--under", SHADOW, "--at", TIME, "--json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    let mut foretold = 0;
    for group in document["groups"].as_array().unwrap() {
        let (recorded, now) = (group["recorded"].as_str().unwrap(), group["now"].as_str().unwrap());
        if let Some((_, would)) = recorded.split_once("would ") {
            foretold += 1;
            let would = if would == "elevate" { "token service asked" } else { would };
            assert!(now.starts_with(would), "{group}");
        }
    }
    assert!(foretold >= 10, "only {foretold} were foretold:\n{out}");
}

#[test]
fn a_log_replayed_under_its_own_policy_is_alike() {
    let (code, out, _) = run(&["replay", SHADOW, LOG, "--under", SHADOW, "--at", TIME, "--json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert!(document["groups"].as_array().unwrap().iter().all(|group| group["differs"] == false), "{out}");
    assert_eq!(code, 2, "of some it cannot be told:\n{out}");
}

/// Of the newer policy only.
const RAISE: &str = ", raise: [ { unless: { arg: amount, below: 100 }, scope: pay:much, step_up: challenge } ]";

#[test]
fn what_no_record_has_is_named() {
    let text = "
version: 1
issuers: { https://as.example.com: { jwks: { cluster: k, url: https://as.example.com/jwks }, algorithms: [ES256] } }
resource: https://mcp.example.com/mcp
baseline: [mcp:connect]
tools:
  pay: { scope: pay, step_up: challenge, raise: [ { unless: { arg: amount, below: 100 }, scope: pay:much, step_up: challenge } ] }
  team: { scope: pay, step_up: challenge, callers: { claim: groups, equals: sre } }
  closed: deny
";
    let (old, new) = (write("pay.yaml", &text.replace(RAISE, "")), write("pay-much.yaml", text));
    let record = |name: &str| {
        json!({
            "id": "1", "verdict": "permit", "reason": "permitted", "mode": "enforce", "server": "default", "method": "tools/call", "kind": "tool",
            "name": name, "rule": name, "issuer": "https://as.example.com", "subject": "alice", "client": "agent", "policy": "x",
        })
        .to_string()
    };
    let untold = |name: &str| {
        let log = write(&format!("{name}.log"), &(record(name) + "\n"));
        let (code, out, error) = run(&["replay", &new, &log, "--under", &old, "--at", TIME, "--json"]);
        let document: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{error}"));
        (code, document["cannot_be_told"][0]["unknown"].as_str().unwrap_or("told").to_owned())
    };
    let (code, unknown) = untold("pay");
    assert_eq!(code, 2);
    assert!(unknown.contains("amount") && unknown.contains("the scopes of the token"), "{unknown}");
    // It was permitted, so the claim was as it is asked for; and that is asked still.
    assert_eq!(untold("team"), (0, "told".to_owned()));
    // It cannot have been permitted under that policy.
    let (code, unknown) = untold("closed");
    assert!(code == 2 && unknown.starts_with("how it came about"), "{unknown}");
}

#[test]
fn faults_of_a_log_are_told() {
    let empty = write("empty.log", "");
    assert_eq!(run(&["replay", SHADOW, &empty]).0, 2, "nothing was decided");
    let broken = write("broken.log", "{ not json\n[]\n{\"stepup\":\"{}\"}\n");
    let (code, out, _) = run(&["replay", SHADOW, &broken]);
    assert!(code == 2 && out.contains("3 lines cannot be read: line 1, line 2, line 3"), "{out}");
    assert_eq!(run(&["replay", SHADOW, "no/such.log"]).0, 2);
}

// ---- explain --audit

#[test]
fn the_story_of_one_operation() {
    let id = "a000000000000000000000000000002a";
    let record = |id: &str, verdict: &str, reason: &str, more: Value| {
        let mut record = json!({
            "id": id, "verdict": verdict, "reason": reason, "mode": "enforce", "policy": "0123456789ab", "server": "default",
            "method": "tools/call", "kind": "tool", "name": "delete_branch", "rule": "delete_*", "issuer": "https://as.example.com",
            "subject": "alice", "client": "ops-console", "token": "1111111111111111",
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record.to_string()
    };
    let elevated = json!({ "elevated": {
        "audience": "https://mcp.example.com/mcp", "scopes": ["repo:admin"], "token": "eeeeeeeeeeeeeeee", "expires_in": 60, "took": 35,
    } });
    let line = |time: &str, status: &str, duration: &str, record: &str| {
        let entry = json!({ "time": time, "method": "POST", "path": "/mcp", "status": status, "details": "via_upstream", "flags": "-", "duration": duration, "stepup": record });
        format!("{entry}\n")
    };
    let other = "b000000000000000000000000000002b";
    let again = json!({ "token": "eeeeeeeeeeeeeeee", "rule": null });
    let access = line("2026-11-21T12:00:00.100Z", "200", "400", &record(id, "permit", "elevated", elevated))
        + &line("2026-11-21T12:00:30.000Z", "401", "2", &record(other, "challenge", "own_token_presented", again));
    let envoy = format!(
        "[2026-11-21 12:00:00.501][12][warning][wasm] [source/a.cc:1] wasm log stepup: step-up: {id}: refused\n\
         [2026-11-21 12:00:09.000][12][warning][wasm] [source/a.cc:1] wasm log stepup: step-up: {other}: revoked\n\
         [2026-11-21 12:00:10.000][12][info][main] nothing of ours\n"
    );
    let (access, envoy) = (write("story-access.log", &access), write("story-envoy.log", &envoy));
    let (code, out, error) = run(&["explain", OLD, "--audit", &access, "--id", id, "--log", &envoy]);
    assert_eq!(code, 0, "{error}");
    snapshot("story.txt", &out);
    // Which one has to be said.
    let (code, _, error) = run(&["explain", OLD, "--audit", &access]);
    assert!(code == 2 && error.contains("--id") && error.contains(id), "{error}");
    let (code, _, error) = run(&["explain", OLD, "--audit", &access, "--id", "c0"]);
    assert!(code == 2 && error.contains("no record with the id c0"), "{error}");
}

// ---- the page

/// `console N`: the command, and what it prints; it exits with N. `...` stands for lines left out.
#[test]
fn the_examples_of_the_page_are_what_comes_out() {
    let page = fs::read_to_string(paths::workspace().join("docs/access-review.md")).unwrap();
    let mut blocks = 0;
    for block in page.split("```console ").skip(1) {
        let block = block.split("\n```").next().unwrap();
        let (code, text) = block.split_once('\n').unwrap();
        let (command, shown) = text.split_once('\n').unwrap();
        let arguments: Vec<&str> = command.strip_prefix("$ stepup ").unwrap().split(' ').collect();
        let (actual, out, error) = run(&arguments);
        assert_eq!(actual.to_string(), code, "{command}: {error}");
        let mut left = out.as_str();
        for part in
            shown.split("...\n").flat_map(|part| part.split("\n...")).map(str::trim_end).filter(|part| !part.is_empty())
        {
            let at = left
                .find(part)
                .unwrap_or_else(|| panic!("{command}: not there, or not in that order:\n{part}\n---\n{out}"));
            left = left.get(at + part.len()..).unwrap();
        }
        assert!(shown.contains("...") || left.trim().is_empty(), "{command}: the page leaves out\n{left}");
        blocks += 1;
    }
    assert!(blocks >= 3, "only {blocks} examples were found");
}

// ----

fn without_rules(text: &str) -> String {
    let (head, _) = text.split_once("\ntools:").unwrap();
    format!("{head}\ntools: {{ only: {{ scope: repo:read }} }}\n")
}

fn examples() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(paths::workspace().join("policies")).unwrap() {
        let folder = entry.unwrap().path();
        let file = folder.join("policy.yaml");
        if file.is_file() {
            found.push((name(&folder), fs::read_to_string(file).unwrap()));
        }
    }
    found.sort();
    assert!(found.len() >= 15, "only {} policies were found", found.len());
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
