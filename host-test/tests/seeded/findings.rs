//! What the findings of a review would be if they came back: one bug or two for each, and what notices it.

/// One of them.
pub struct Bug {
    /// The number that commits and CHANGELOG call it by.
    pub finding: u8,
    pub what: &'static str,
    pub file: &'static str,
    /// What is there, once.
    pub there: &'static str,
    /// What somebody wrote instead.
    pub instead: &'static str,
    pub noticed_by: Noticed,
}

/// The tests that are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// `cargo test -p step-up-core`
    Core,
    /// `cargo test -p host-test --lib --test check`
    Check,
}

/// Findings 15, 21 and 25 are for operators: SECURITY.md says what they must know.
pub const BUGS: &[Bug] = &[
    Bug {
        finding: 1,
        what: "control characters pass in the names of members",
        file: "plugin/core/src/json.rs",
        there: "if reading.control.get() { Err(Fault::ControlInName) } else { Ok(value) }",
        instead: "Ok(value)",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 2,
        what: "an older login asks as much as a fresh one",
        file: "plugin/core/src/policy/requirement.rs",
        there: r#"&& at_most(self.max_age, other.max_age)
"#,
        instead: r#"
"#,
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 3,
        what: "a key that comes twice in a deployed file is not seen",
        file: "host-test/src/yaml.rs",
        there: r#"self.odd(Kind::Twice, span, &format!("`{name}` is written twice"))?;"#,
        instead: "",
        noticed_by: Noticed::Check,
    },
    Bug {
        finding: 4,
        what: "a trace of zeros is one",
        file: "plugin/core/src/http/head.rs",
        there: r#"&& is_set(trace)
"#,
        instead: r#"
"#,
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 4,
        what: "a revocation ends with a 400 that is about the trace",
        file: "plugin/core/src/obtain/revocation.rs",
        there: r#"Ok(Reply { status: 400 | 413 | 414 | 431, .. }) if self.strip(serial, now) => return None,
"#,
        instead: r#"
"#,
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 5,
        what: "a new key waits for half a minute when a stranger asked before",
        file: "plugin/core/src/keys/mod.rs",
        there: "Some(_) if lease.allows_early(now) => {",
        instead: "Some(_) if keys.wanted_early && lease.allows_early(now) => {",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 6,
        what: "an issuer that withdraws all its keys is ignored",
        file: "plugin/core/src/keys/mod.rs",
        there: r#"        self.fetched_at = Millis(u64::from_be_bytes(*time)).min(now);
"#,
        instead: r#"        if set.is_empty() {
            return false;
        }
        self.fetched_at = Millis(u64::from_be_bytes(*time)).min(now);
"#,
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 7,
        what: "with several servers the host says which one judges",
        file: "plugin/core/src/policy/select.rs",
        there: "(None, Select::Metadata) => false,",
        instead: "(None, Select::Metadata) => true,",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 8,
        what: "every issuer counts at every server",
        file: "plugin/core/src/token/caller.rs",
        there: "if !server.issuers.contains(&issuer_at) {",
        instead: "if server.issuers.is_empty() {",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 9,
        what: "slow signatures may fail without end",
        file: "plugin/core/src/token/caller.rs",
        there: "if algorithm.is_slow() && !cache.may_check_slowly(self.now) {",
        instead: "if algorithm.is_slow() && server.issuers.is_empty() {",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 9,
        what: "a refused token is checked again",
        file: "plugin/core/src/token/caller.rs",
        there: "cache.refusal(token.digest(), set.generation())",
        instead: "cache.refusal(token.digest(), set.generation() + 1)",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 10,
        what: "a body may have any number of members",
        file: "plugin/core/src/json.rs",
        there: "read_within(bytes, keep, MAX_MEMBERS, None)",
        instead: "read_within(bytes, keep, usize::MAX, None)",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 11,
        what: "a host that refuses calls is asked for the next ones at once",
        file: "plugin/core/src/obtain/revocation.rs",
        there: r#"        self.stalled |= matches!(reply, Err(CallFault::Refused));
"#,
        instead: "",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 12,
        what: "revocations come back together",
        file: "plugin/core/src/obtain/revocation.rs",
        there: "let pause = pause / 2 + random % (pause / 2 + 1);",
        instead: "let _ = random;",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 12,
        what: "a service that is down is asked as often as one that is not",
        file: "plugin/core/src/obtain/revocation.rs",
        there: "let most = if down { PROBES } else { AT_ONCE };",
        instead: "let most = AT_ONCE;",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 13,
        what: "an answer that cannot be read took no token with it",
        file: "plugin/core/src/obtain/exchange.rs",
        there: r#"let lost = minted.is_empty() && String::from_utf8_lossy(reply.body).contains("access_token");"#,
        instead: "let lost = false;",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 14,
        what: "the digest goes by the order of the members",
        file: "plugin/core/src/policy/compile/digest.rs",
        there: r#"            members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
"#,
        instead: r#"            members.dedup();
"#,
        noticed_by: Noticed::Check,
    },
    Bug {
        finding: 16,
        what: "an empty list loads",
        file: "plugin/core/src/policy/document/mod.rs",
        there: r#"        if items.is_empty() {
"#,
        instead: r#"        if items.len() > 1_000_000 {
"#,
        noticed_by: Noticed::Check,
    },
    Bug {
        finding: 17,
        what: "a star for the baseline is not warned of",
        file: "plugin/core/src/policy/compile/rules.rs",
        there: r#"if key == "*" && self.site.baseline.implies(&rule.requirement) {"#,
        instead: r#"if key == "**" && self.site.baseline.implies(&rule.requirement) {"#,
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 17,
        what: "a shadow may last for a century",
        file: "plugin/core/src/policy/compile/modes.rs",
        there: "end > now.plus_seconds(LONGEST_SHADOW)",
        instead: "end > now.plus_seconds(LONGEST_SHADOW * 100)",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 18,
        what: "a scope that implies the refused one is not seen",
        file: "plugin/core/src/decide/eligibility.rs",
        there: "let covers = |group: &Group| group.met(|name| claims.has_scope(name)).is_some();",
        instead: "let covers = |group: &Group| claims.has_scope(&group.ask().name);",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 19,
        what: "a token that its issuer calls dead lives on",
        file: "plugin/core/src/gate/exchanges.rs",
        there: "self.cache.condemn(&pending.elevation.subject, &pending.elevation.claims)",
        instead: "()",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 20,
        what: "limits are for a token, not for its owner",
        file: "plugin/core/src/decide/eligibility.rs",
        there: "party: (claims.issuer.clone(), claims.subject.clone(), claims.client_id.clone()),",
        instead: "party: (claims.issuer.clone(), claims.token_id.clone(), claims.client_id.clone()),",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 22,
        what: "in shadow mode a confusable name goes where it leads",
        file: "plugin/core/src/decide/shadow.rs",
        there: "let mut others = rules.readings(name);",
        instead: "let mut others: Vec<&Rule> = Vec::new();",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 23,
        what: "another path in a header passes",
        file: "plugin/core/src/http/head.rs",
        there: r#"            b"x-original-url" | b"x-rewrite-url" => self.path_override = true,
"#,
        instead: "",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 23,
        what: "a GET may name an operation",
        file: "plugin/core/src/flow/admit.rs",
        there: "Method::Get | Method::Delete if mirror.method.is_some() || mirror.name.is_some() => {",
        instead: "Method::Get | Method::Delete if mirror.method.is_some() && mirror.name.is_some() && mirror.session => {",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 24,
        what: "two servers may differ by a final slash",
        file: "plugin/core/src/policy/select.rs",
        there: "without_slash(&place.path), place.query",
        instead: "&place.path, place.query",
        noticed_by: Noticed::Check,
    },
    Bug {
        finding: 26,
        what: "a token may have any number of scopes",
        file: "plugin/core/src/jose/claims.rs",
        there: "const MAX_SCOPES: usize = 1000;",
        instead: "const MAX_SCOPES: usize = 100_000;",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 27,
        what: "a name with dot segments matches patterns",
        file: "plugin/core/src/policy/pattern/plain.rs",
        there: r#"        && name.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
"#,
        instead: "",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 28,
        what: "numbers that readers with doubles cannot tell apart are compared",
        file: "plugin/core/src/decimal.rs",
        there: "const MOST_DIGITS: usize = 15;",
        instead: "const MOST_DIGITS: usize = 19;",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 29,
        what: "a list on the way is nothing",
        file: "plugin/core/src/policy/condition/mod.rs",
        there: "Value::List(_) | Value::Skipped => return Err(Ambiguous),",
        instead: "Value::List(_) => return Ok(None),\n            Value::Skipped => return Err(Ambiguous),",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 30,
        what: "a list in a list is looked into",
        file: "plugin/core/src/policy/condition/test.rs",
        there: "truth.or(self.of_item(Some(item), name))",
        instead: "truth.or(self.of_member(Some(item), is_claim, name))",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 30,
        what: "a claim in another case is absent",
        file: "plugin/core/src/policy/condition/mod.rs",
        there: "member != name && member.eq_ignore_ascii_case(name)",
        instead: "member != name && member == name",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 31,
        what: "shadow mode refuses a notification that nobody needs",
        file: "plugin/core/src/decide/case.rs",
        there: "let is_shadow = self.policy.mode.is_shadow(self.now);\n        shadow::decided(self, verdict, None, need, is_shadow, is_dropped)",
        instead: "let is_shadow = self.policy.mode.is_shadow(self.now) && !is_dropped;\n        shadow::decided(self, verdict, None, need, is_shadow, is_dropped)",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 32,
        what: "further issuers replace the service's own",
        file: "plugin/core/src/policy/compile/service.rs",
        there: "issuer.into_iter().chain(others.iter().filter_map(|item| known(item, report))).collect()",
        instead: "others.iter().filter_map(|item| known(item, report)).collect()",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 32,
        what: "a login in the future is a fresh one",
        file: "plugin/core/src/decide/checks.rs",
        there: ".filter(|age| *age >= -leeway)",
        instead: ".filter(|age| *age >= -leeway - 3600)",
        noticed_by: Noticed::Core,
    },
    Bug {
        finding: 33,
        what: "in shadow mode a name that is not plain goes where it leads",
        file: "plugin/core/src/policy/readings.rs",
        there: "let mut others = vec![name.trim().to_owned(), plain, resolved(name)];",
        instead: "let mut others: Vec<String> = [plain].into_iter().take(0).collect();",
        noticed_by: Noticed::Core,
    },
];
