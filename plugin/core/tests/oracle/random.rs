//! Policies and requests from a seed: few words, so that rules collide, overlap and raise.
use serde_json::{Map, Value, json};

/// 2026-12-31T12:00:00Z: the clock of every case, at load and at the request.
pub const NOW: u64 = 1_798_718_400;

pub struct Case {
    pub policy: Value,
    pub claims: Option<Value>, // none: a request without a token
    pub source: Option<&'static str>,
    pub certificate: Option<&'static str>,
    pub frame: Value,
    pub modern: bool,
    pub list: (&'static str, String), // kind and name for `listed`
}

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d | 1);
        for _ in 0..4 {
            random.next();
        }
        random
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
    /// One or more different ones of a list, in its order.
    fn some<'a>(&mut self, list: &[&'a str], most: usize) -> Vec<&'a str> {
        let first = self.below(list.len());
        let count = 1 + self.below(most);
        let mut at: Vec<usize> = (0..count).map(|_| self.below(list.len())).chain([first]).take(count).collect();
        at.sort();
        at.dedup();
        at.into_iter().map(|i| list[i]).collect()
    }
}

const SCOPES: [&str; 6] = ["repo:read", "repo:write", "repo:admin", "hr:read", "pages", "mcp:connect"];
const CLIENTS: [&str; 5] =
    ["agent", "ide", "ci", "https://agents.example.com/ci.json", "https://agents.example.com:8443/x"];
const IDS: [&str; 15] = [
    "agent",
    "ide",
    "ci",
    "https://agents.example.com/ci.json",
    "https://AGENTS.example.com/ci.json",
    "https://agents.example.com:443/ci.json",
    "HTTPS://agents.example.com/ci.json",
    "http://agents.example.com/ci.json",
    "https://x@agents.example.com/ci.json",
    "https://agents.example.com/CI.json",
    "https://agents.example.com/a/../ci.json",
    "https://agents.example.com/ci.json#x",
    "https://agents.example.com:8443/x",
    "https://agents.example.com",
    "https://agents.example.com.evil.example/ci.json",
];
const ORIGINS: [&str; 3] =
    ["https://agents.example.com", "https://agents.example.com:8443", "https://other.example.com"];
const SOURCES: [&str; 2] = ["spiffe://example.com/ci", "spiffe://x/y"];
const FOREIGN: [&str; 3] = ["https://git.internal/admin", "api://git", "pages"];
const THUMBS: [&str; 2] =
    ["bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0", "AAAK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"];
const TOOL_KEYS: [&str; 13] = [
    "get_file",
    "get_secret",
    "delete_repo",
    "GET_page",
    "jira_x_issue",
    "a/b",
    "git:push",
    "get_*",
    "Get_f*",
    "*_delete",
    "jira_*_issue",
    "*_file",
    "*",
];
const TOOL_NAMES: [&str; 30] = [
    "get_file",
    "get_secret",
    "delete_repo",
    "GET_page",
    "get_page",
    "jira_x_issue",
    "a/b",
    "git:push",
    "get_x",
    "get_fun",
    "Get_fun",
    "x_delete",
    "get_delete",
    "jira_y_issue",
    "jira__issue",
    "jira_issue",
    "create_it",
    "GET_file",
    "Delete_Repo",
    "get_file ",
    "get_/../delete_repo",
    "x/delete_repo",
    "git//get_file",
    "get_fïle",
    "",
    ".",
    "A/B",
    "git/../get_secret",
    "x:y",
    "get_a_name_that_is_longer_than_sixty_four_characters_and_so_is_no_scope",
];
const PROMPT_KEYS: [&str; 4] = ["review", "plan_*", "Sum_up", "*"];
const PROMPT_NAMES: [&str; 7] = ["review", "plan_a", "PLAN_a", "sum_up", "Sum_up", "other", "review\u{7}"];
const RESOURCE_KEYS: [&str; 14] = [
    "repo://acme/readme",
    "repo://acme/*",
    "repo://*",
    "ui://*",
    "confluence://{space}/pages/{id}",
    "confluence://eng/*",
    "urn:isbn:*",
    "file:///srv/*",
    "repo://acme/a/../b",
    "repo://acme/{doc}",
    "repo://Acme/x",
    "ui://q?v={v}",
    "repo://acme/r%65adme",
    "*",
];
const URIS: [&str; 44] = [
    "repo://acme/readme",
    "repo://acme/x",
    "repo://acme/x/y",
    "repo://acme/",
    "repo://acme",
    "repo://other/x",
    "repo://acme/a/../b",
    "repo://acme/../other",
    "repo://acme/./x",
    "repo://acme//x",
    "repo://acme/x/",
    "repo://acme//",
    "repo://acme/x\\y",
    "repo://acme/%2e%2e/x",
    "repo://acme/%2Fx",
    "repo://acme/%5cx",
    "repo://acme/%00",
    "repo://acme/%252e",
    "repo://acme/r%65adme",
    "repo://acme/a%20b",
    "repo://me@acme/x",
    "repo://acme/x#y",
    "repo://acme/x?y=1",
    "ui://q?v=1",
    "ui://q?v=",
    "ui://q",
    "file:///srv/a",
    "file:/srv/a",
    "file://host/srv/a",
    "file:///etc/x",
    "FILE:/srv/a",
    "REPO://acme/readme",
    "repo://ACME/readme",
    "repo://Acme/x",
    "confluence://eng/pages/1",
    "confluence://hr/pages/2",
    "confluence://hr/pages/2/x",
    "confluence://h:r/pages/2",
    "urn:isbn:1",
    "urn:isbn:1/../2",
    "repo://acme/ü",
    "repo://acme/a\u{1}b",
    "https://x.example/",
    "confluence://Eng/pages/1",
];
const TEMPLATES: [&str; 9] = [
    "confluence://{space}/pages/{id}",
    "repo://acme/{doc}",
    "repo://{org}/readme",
    "repo://{org}/{doc}",
    "ui://{x}",
    "urn:isbn:{n}",
    "file:///{x}/a",
    "repo://acme/a/../{x}",
    "other://{x}",
];
const METHOD_KEYS: [&str; 7] = [
    "com.example/run",
    "com.example/*",
    "com.example/deep/*",
    "tools/*",
    "notifications/com.example/news",
    "notifications/*",
    "tasks/get",
];
const METHODS: [&str; 25] = [
    "com.example/run",
    "com.example/other",
    "com.example/Run",
    "com.example/deep/x",
    "COM.example/run",
    "com.example/../x",
    "tools/new",
    "tools/Call",
    "tasks/get",
    "other/x",
    "notifications/com.example/news",
    "notifications/com.example/other",
    "notifications/initialized",
    "notifications/progress",
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "resources/list",
    "prompts/list",
    "resources/templates/list",
    "logging/setLevel",
    "resources/unsubscribe",
    "notifications/cancelled",
    "com.example/",
];
const TIMES: [&str; 5] = ["30s", "5m", "15m", "1h", "1d"];
const TTLS: [&str; 4] = ["10s", "30s", "90s", "5m"];

pub fn case(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let r = &mut random;
    let policy = policy(r);
    let modern = r.one_in(3);
    let frame = frame(r, &policy, modern);
    let claims = (!r.one_in(8)).then(|| claims(r));
    let certificate = if r.one_in(3) {
        Some(r.of(&THUMBS))
    } else {
        claims
            .as_ref()
            .and_then(|c| c["cnf"]["x5t#S256"].as_str())
            .map(|t| if t == THUMBS[0] { THUMBS[0] } else { THUMBS[1] })
    };
    let source = r.one_in(2).then(|| SOURCES[0]).or(if r.one_in(2) { Some(SOURCES[1]) } else { None });
    let list = match r.below(6) {
        0..=2 => ("tools", name(r, &policy, "tools", &TOOL_NAMES)),
        3 => ("prompts", name(r, &policy, "prompts", &PROMPT_NAMES)),
        4 => ("resources", name(r, &policy, "resources", &URIS)),
        _ => ("templates", r.of(&TEMPLATES).to_string()),
    };
    Case { policy, claims, source, certificate, frame, modern, list }
}

// ------------------------------------------------------------------------------------------------------------------- policies

fn policy(r: &mut Random) -> Value {
    let mut policy = json!({
        "version": 1,
        "issuers": { "https://as.example.com": { "jwks": { "cluster": "as-keys", "url": "https://as.example.com/jwks" }, "algorithms": ["ES256"] } },
        "resource": "https://mcp.example.com/mcp",
        "baseline": if r.one_in(6) { json!(["mcp:connect", "repo:read"]) } else { json!(["mcp:connect"]) },
    });
    if r.one_in(5) {
        policy["mode"] = json!("shadow");
        policy["until"] = json!(if r.one_in(6) { "2026-12-31" } else { "2027-06-30" });
    }
    let mut tiers = Map::new();
    for name in ["low", "write", "danger"] {
        if r.one_in(2) {
            let tier = terms(r, if name == "danger" { "exchange" } else { "" }, Place::Tier);
            tiers.insert(name.into(), tier);
        }
    }
    let kinds: [(&str, &[&str], usize); 4] = [
        ("tools", &TOOL_KEYS, 8),
        ("prompts", &PROMPT_KEYS, 3),
        ("resources", &RESOURCE_KEYS, 6),
        ("methods", &METHOD_KEYS, 4),
    ];
    for (kind, keys, most) in kinds {
        if kind != "tools" && r.one_in(3) {
            continue;
        }
        let mut rules = Map::new();
        for _ in 0..1 + r.below(most) {
            let key = r.of(keys);
            if rules.keys().any(|k| collides(k, key, kind)) {
                continue;
            }
            rules.insert(key.into(), rule(r, kind, key, &tiers));
        }
        if kind == "methods" && rules.is_empty() {
            continue;
        }
        policy[kind] = Value::Object(rules);
    }
    let text = policy.to_string();
    tiers.retain(|name, _| text.contains(&format!("\"tier\":\"{name}\"")));
    if !tiers.is_empty() {
        policy["tiers"] = Value::Object(tiers);
    }
    if r.one_in(8) {
        policy["callers"] = condition(r, 2, Asks::Caller);
    }
    if r.one_in(8) {
        policy["act"] = act(r);
    }
    if r.one_in(25) {
        policy["binding"] = json!("certificate");
    } else if r.one_in(10) {
        policy["binding"] = json!("none");
    }
    if r.one_in(12) {
        policy["lists"] = json!(r.of(&["pass", "filter"]));
    }
    if r.one_in(6) {
        policy["annotate"] = json!(["security_schemes"]);
    }
    if r.one_in(2) {
        policy["clients"] = clients(r);
    }
    // P4: a target is named somewhere else, and nothing implies itself
    let named = policy.to_string();
    let mut scopes = Map::new();
    for (wide, narrow) in
        [("repo:owner", "repo:admin"), ("repo:admin", "repo:write"), ("repo:write", "repo:read"), ("pages", "hr:read")]
    {
        if r.one_in(3) && named.contains(&format!("\"{narrow}\"")) {
            scopes.insert(wide.into(), json!({ "implies": [narrow] }));
        }
    }
    if !scopes.is_empty() {
        policy["scopes"] = Value::Object(scopes);
    }
    if named.contains("\"exchange\"") || named.contains("\"auto\"") || r.one_in(4) {
        policy["token_service"] = json!({
            "issuer": "https://as.example.com", "cluster": "as-token", "token": "https://as.example.com/token",
            "revoke": "https://as.example.com/token/revocation", "client": { "id": "step-up-filter", "auth": "cluster" },
        });
    }
    policy
}

/// One in lower case, or patterns that may tie.
fn collides(a: &str, b: &str, kind: &str) -> bool {
    let pattern = |k: &str| k.contains('*') || kind == "resources" && k.contains('{');
    let shape = |k: &str| {
        let mut inside = false;
        k.chars()
            .filter(|c| {
                inside |= *c == '{' && kind == "resources";
                let l = !inside && *c != '*';
                inside &= *c != '}';
                l
            })
            .count()
    };
    let first = |k: &str| k.chars().next();
    a.eq_ignore_ascii_case(b)
        || pattern(a) && pattern(b) && shape(a) == shape(b) && !(kind != "tools" && first(a) != first(b))
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Tier,
    Rule,
    Raise,
}

/// Terms of a tier, a rule or a raise; `way` is its `step_up`, none if empty.
fn terms(r: &mut Random, way: &str, place: Place) -> Value {
    let mut terms = Map::new();
    if !way.is_empty() {
        terms.insert("step_up".into(), json!(way));
    }
    if place != Place::Raise || !r.one_in(3) || way == "exchange" {
        let empty_allowed = way.is_empty() && place != Place::Tier || way == "none" || way == "challenge";
        terms.insert("scope".into(), if empty_allowed && r.one_in(4) { json!([]) } else { scope(r) });
    }
    if way == "exchange" {
        if r.one_in(3) {
            terms.insert("ttl".into(), json!(r.of(&TTLS)));
        }
        if r.one_in(4) && place != Place::Raise {
            terms.insert("standing".into(), json!(r.of(&["refuse", "refuse", "ignore"])));
        } else if r.one_in(8) && place == Place::Rule {
            terms.insert("fallback".into(), json!("challenge"));
        }
        if r.one_in(12) && place == Place::Rule {
            terms.insert("task".into(), json!("keep"));
        }
    }
    if way == "auto" || way == "exchange" && !r.one_in(4) {
        let easy = json!({ "claim": "sub", "present": true });
        terms.insert("may_elevate".into(), if r.one_in(2) { easy } else { condition(r, 2, Asks::CallerAndArguments) });
    }
    for (word, odds) in [("max_age", 7), ("max_lifetime", 7)] {
        if r.one_in(odds) {
            terms.insert(word.into(), json!(r.of(&TIMES)));
        }
    }
    if r.one_in(10) {
        terms.insert("acr".into(), json!(["phr", "phrh"])); // always the same, so that they can be joined
    }
    if r.one_in(10) {
        terms.insert("callers".into(), condition(r, 2, Asks::Caller));
    }
    if r.one_in(12) {
        terms.insert("act".into(), act(r));
    }
    if r.one_in(15) {
        terms.insert("binding".into(), json!(r.of(&["certificate", "certificate", "none"])));
    }
    if r.one_in(match place {
        Place::Tier => 40,
        Place::Rule => 25,
        Place::Raise => 8,
    }) {
        terms.insert("deny".into(), json!(true));
    }
    if terms.is_empty() {
        terms.insert("max_age".into(), json!("5m"));
    }
    Value::Object(terms)
}

fn rule(r: &mut Random, kind: &str, key: &str, tiers: &Map<String, Value>) -> Value {
    if r.one_in(9) {
        return if r.one_in(3) { json!({ "deny": true }) } else { json!("deny") };
    }
    if kind != "methods" && r.one_in(9) {
        return json!({ "anonymous": true });
    }
    let way = r.of(&["", "", "challenge", "challenge", "none", "exchange", "exchange", "auto"]);
    let mut rule = terms(r, way, Place::Rule);
    let mut way = way;
    if r.one_in(3) && !tiers.is_empty() {
        let name = r.of(&["low", "write", "danger"]);
        if let Some(tier) = tiers.get(name) {
            let is_exchange = tier.get("step_up").is_some();
            if !is_exchange || way.is_empty() || way == "exchange" {
                rule["tier"] = json!(name);
                if is_exchange {
                    way = "exchange";
                    if tier.get("standing").is_some() {
                        rule.as_object_mut().map(|o| {
                            o.remove("fallback");
                            o.remove("standing")
                        });
                    }
                }
            }
        }
    }
    let mut audience = false;
    if way == "exchange" && r.one_in(3) {
        audience = true;
        let said = r.of(&[
            FOREIGN[0],
            FOREIGN[1],
            FOREIGN[2],
            "https://mcp.example.com/mcp",
            "https://MCP.example.com:443/mcp",
        ]);
        rule["audience"] = json!(said);
        if r.one_in(4) && FOREIGN.contains(&said) && rule.get("standing").is_none() && rule.get("tier").is_none() {
            rule["scope"] = json!([]);
        }
    }
    if (kind == "tools" || kind == "prompts") && r.one_in(6) && rule["scope"].is_string() {
        let template = if kind == "tools" { "tool:{name}" } else { "prompt:{name}" }; // two templates may not make one scope
        rule["scope"] = if r.one_in(2) { json!(template) } else { json!([template, r.of(&SCOPES)]) };
    }
    if r.one_in(3) {
        let foreign = r.of(&FOREIGN);
        let raises: Vec<Value> =
            (0..1 + r.below(3)).map(|_| raise(r, kind, way, tiers, (!audience).then_some(foreign))).collect();
        rule["raise"] = json!(raises);
        rule.as_object_mut().map(|o| o.remove("fallback")); // a raise's tier may say `standing: refuse`
    }
    if r.one_in(6) {
        rule["mode"] = json!("enforce");
    } else if r.one_in(6) {
        rule["mode"] = json!("shadow");
        rule["until"] = json!(if r.one_in(5) { "2026-12-30" } else { "2027-03-01" });
    }
    if r.one_in(2) || key == "*" {
        rule["allow_weaker"] = json!(true);
    }
    rule
}

fn raise(r: &mut Random, kind: &str, way_of_rule: &str, tiers: &Map<String, Value>, audience: Option<&str>) -> Value {
    let way = r.of(&["", "", "challenge", "none", "exchange", "exchange"]);
    let mut raise = terms(r, way, Place::Raise);
    let exchanged = way == "exchange" || way.is_empty() && way_of_rule == "exchange";
    if way == "exchange"
        && way_of_rule != "auto"
        && r.one_in(3)
        && let Some(audience) = audience
    {
        raise["audience"] = json!(audience);
    }
    if way.is_empty() && exchanged && r.one_in(3) {
        raise["ttl"] = json!(r.of(&TTLS));
    }
    if (kind == "tools" || kind == "prompts") && r.one_in(8) && raise["scope"].is_string() {
        raise["scope"] = json!(format!("more-{kind}:{{name}}"));
    }
    if r.one_in(5) {
        let name = r.of(&["low", "write", "danger"]);
        if let Some(tier) = tiers.get(name)
            && (tier.get("step_up").is_none() || way.is_empty() && way_of_rule != "auto")
        {
            raise["tier"] = json!(name);
        }
    }
    if raise.as_object().is_some_and(|o| o.len() == 1 && o.contains_key("step_up")) {
        raise["scope"] = scope(r);
    }
    match r.one_in(2) {
        true => raise["when"] = condition(r, 2, Asks::Everything),
        false => raise["unless"] = condition(r, 2, Asks::CallerAndArguments),
    }
    raise
}

fn scope(r: &mut Random) -> Value {
    match r.below(8) {
        0..=3 => json!(r.of(&SCOPES[..5])),
        4 | 5 => json!(r.some(&SCOPES, 2)),
        6 => group(r),
        _ => json!([group(r), r.of(&SCOPES)]),
    }
}

fn group(r: &mut Random) -> Value {
    let mut any = r.some(&SCOPES[..5], 3);
    while any.len() < 2 {
        any = r.some(&SCOPES[..5], 3);
    }
    match r.one_in(2) {
        true => json!({ "any": any, "ask": r.of(&any) }),
        false => json!({ "any": any }),
    }
}

fn act(r: &mut Random) -> Value {
    let mut act = json!({ "required": r.one_in(2) });
    if r.one_in(2) {
        act["clients"] = json!(r.some(&["gateway", "broker", "agent"], 2));
    }
    if r.one_in(3) {
        act["depth"] = json!(1 + r.below(3));
    }
    act
}

fn clients(r: &mut Random) -> Value {
    let mut list = vec![
        json!({ "client": ["ide", "https://agents.example.com/ci.json"], "steps_up": !r.one_in(4), "rfc9470": r.one_in(2) }),
    ];
    if r.one_in(2) {
        list.push(json!({ "client_origin": [r.of(&ORIGINS)], "steps_up": r.one_in(2), "rfc9470": r.one_in(2) }));
    }
    if r.one_in(2) {
        list.push(json!({ "client": ["agent"], "steps_up": r.one_in(2), "rfc9470": true }));
    }
    if r.one_in(2) {
        list.reverse();
    }
    json!(list)
}

#[derive(Clone, Copy, PartialEq)]
enum Asks {
    Caller,             // `callers`
    CallerAndArguments, // `may_elevate`, `unless`
    Everything,         // `when`, outside `not`
}

fn condition(r: &mut Random, depth: usize, asks: Asks) -> Value {
    if depth > 0 && r.one_in(4) {
        let under_not = if asks == Asks::Everything { Asks::CallerAndArguments } else { asks };
        return match r.below(3) {
            0 => json!({ "all": [condition(r, depth - 1, asks), condition(r, depth - 1, asks)] }),
            1 => json!({ "any": [condition(r, depth - 1, asks), condition(r, depth - 1, asks)] }),
            _ => json!({ "not": condition(r, depth - 1, under_not) }),
        };
    }
    let most = match asks {
        Asks::Caller => 10,
        Asks::CallerAndArguments => 22,
        Asks::Everything => 24,
    };
    match r.below(most) {
        0 | 1 => json!({ "client": if r.one_in(3) { json!(r.of(&CLIENTS)) } else { json!(r.some(&CLIENTS, 3)) } }),
        2 => json!({ "client_origin": r.some(&ORIGINS, 2) }),
        3 => json!({ "source": if r.one_in(2) { json!(SOURCES[0]) } else { json!(SOURCES) } }),
        4..=9 => {
            let (path, mut test) = match r.below(9) {
                0 => ("groups", json!({ "in": ["staff", "ops"] })),
                1 => ("realm_access.roles", json!({ "in": ["admin"] })),
                2 => ("level", numeric(r)),
                3 => ("/https:~1~1example.com~1tenant", json!({ "prefix": "eu-" })),
                4 => ("suspended", json!({ "present": r.one_in(2) })),
                5 => ("sub", json!({ "present": true })),
                6 => ("mail", json!({ "suffix": "@example.com" })),
                7 => ("suspended", json!({ "equals": true })),
                _ => ("limits.refund", numeric(r)),
            };
            test["claim"] = json!(path);
            test
        }
        10..=18 => {
            let (path, mut test) = argument(r);
            test["arg"] = json!(path);
            test
        }
        19..=21 => {
            let (path, mut test) = match r.below(3) {
                0 => ("paths", json!({ "within": "/srv/" })),
                1 => ("ids", json!({ "in": ["a", "b"] })),
                _ => ("ids", numeric(r)),
            };
            test["arg"] = json!(path);
            json!({ r.of(&["every", "some"]): test })
        }
        _ => json!({ "meta": "risk", r.of(&["equals", "prefix"]): "high" }),
    }
}

fn argument(r: &mut Random) -> (&'static str, Value) {
    match r.below(13) {
        0 | 1 => ("base", json!({ "in": ["main", "dev"] })),
        2 => ("base", json!({ "equals": "main" })),
        3 => ("opts.force", json!({ "equals": true })),
        4 => ("/opts/n", numeric(r)),
        5 => ("path", json!({ "within": "/srv/" })),
        6 => ("url", json!({ "host": ["example.com", "*.example.com", "10.0.0.1"] })),
        7 => ("base", json!({ "present": r.one_in(2) })),
        8 => ("tool", json!({ "equals": "tool:{name}" })),
        9 => ("uri", json!({ "prefix": "repo://acme/" })),
        10 => ("space", json!({ "in": ["eng"] })),
        11 => ("ids", json!({ "present": true })),
        _ => ("id", json!({ "equals": "2" })),
    }
}

fn numeric(r: &mut Random) -> Value {
    match r.below(3) {
        0 => json!({ "above": 2 }),
        1 => json!({ "below": 2.5 }),
        _ => json!({ "equals": r.of(&[json_number(0), json_number(1)]) }),
    }
}

fn json_number(which: usize) -> f64 {
    [1.0, 2.5][which]
}

// ------------------------------------------------------------------------------------------------------------------- requests

fn claims(r: &mut Random) -> Value {
    let now = NOW as i64;
    let mut claims = json!({ "iss": "https://as.example.com", "sub": "alice", "aud": "https://mcp.example.com/mcp" });
    let lifetime = r.of(&[20, 30, 31, 300, 900, 901, 3600]);
    let age = r.of(&[0, 10, 19]);
    claims["iat"] = json!(now - age);
    claims["exp"] = json!(now - age + lifetime);
    claims["jti"] = json!("j-1");
    let mut scopes = if r.one_in(8) { vec![] } else { vec!["mcp:connect"] };
    scopes.extend(r.some(
        &[
            "repo:read",
            "repo:write",
            "repo:admin",
            "hr:read",
            "pages",
            "repo:owner",
            "tool:get_file",
            "tool:get_x",
            "more-tools:get_file",
            "prompt:review",
            "other",
        ],
        4,
    ));
    scopes.dedup();
    claims["scope"] = json!(scopes.join(" "));
    let mut clients = IDS.to_vec();
    clients.extend(["agent", "ide", "ci", "agent", "ide", "https://agents.example.com/ci.json"]);
    claims["client_id"] = json!(r.of(&clients));
    match r.below(7) {
        0 | 1 => claims["groups"] = json!(["x", "staff"]),
        2 => claims["groups"] = json!([["staff"], "x"]),
        3 => claims["groups"] = json!([1, "ops"]),
        4 => claims["groups"] = json!("staff"),
        5 => claims["groups"] = json!([]),
        _ => {}
    }
    match r.below(5) {
        0 => claims["realm_access"] = json!({ "roles": ["user", "admin"] }),
        1 => claims["realm_access"] = json!({ "roles": ["user"] }),
        2 => claims["realm_access"] = json!([{ "roles": ["admin"] }]),
        3 => claims["realm_access"] = json!({ "Roles": ["admin"], "roles": ["admin"] }),
        _ => {}
    }
    match r.below(7) {
        0 => claims["level"] = json!(1),
        1 => claims["level"] = json!(2.5),
        2 => claims["level"] = json!(3),
        3 => claims["level"] = json!("3"),
        4 => claims["level"] = json!([1, 3]),
        5 => claims["level"] = json!([null, 3]),
        _ => {}
    }
    match r.below(5) {
        0 => claims["https://example.com/tenant"] = json!("eu-1"),
        1 => claims["https://example.com/tenant"] = json!("us-1"),
        2 => claims["https://example.com/tenant"] = json!({}),
        _ => {}
    }
    match r.below(7) {
        0 => claims["suspended"] = json!(true),
        1 => claims["suspended"] = json!(null),
        2 => claims["Suspended"] = json!(true),
        3 => claims["suspended"] = json!(false),
        _ => {}
    }
    match r.below(4) {
        0 => claims["mail"] = json!("a@example.com"),
        1 => claims["mail"] = json!("a@EXAMPLE.com"),
        _ => {}
    }
    match r.below(6) {
        0 => claims["limits"] = json!({ "refund": 1 }),
        1 => claims["limits"] = json!([{ "refund": 3 }]),
        2 => claims["Limits"] = json!({ "refund": 3 }),
        3 => claims["limits"] = json!("none"),
        _ => {}
    }
    match r.below(3) {
        0 => claims["auth_time"] = json!(now - r.of(&[0, 30, 31, 300, 301, 900, 4000])),
        1 => claims["auth_time"] = json!(now + r.of(&[30, 31])),
        _ => {}
    }
    match r.below(4) {
        0 | 3 => claims["acr"] = json!("phr"),
        1 => claims["acr"] = json!("1"),
        2 => claims["acr"] = json!(["phr"]),
        _ => {}
    }
    match r.below(14) {
        0 => claims["act"] = json!({ "sub": "gateway" }),
        1 => claims["act"] = json!({ "client_id": "broker", "act": { "sub": "gateway" } }),
        2 => claims["act"] = json!({ "sub": "x", "client_id": "agent", "act": { "sub": "a", "act": { "sub": "b" } } }),
        3 if r.one_in(12) => claims["act"] = json!("gateway"),
        4 if r.one_in(12) => claims["act"] = json!({ "sub": "gateway", "act": 1 }),
        5 if r.one_in(12) => claims["act"] = json!(null),
        _ => {}
    }
    match r.below(12) {
        0 => claims["may_act"] = json!({ "sub": "step-up-filter" }),
        1 => claims["may_act"] = json!({ "client_id": "step-up-filter" }),
        2 => claims["may_act"] = json!({ "sub": "somebody-else" }),
        _ => {}
    }
    match r.below(12) {
        0 | 1 => claims["cnf"] = json!({ "x5t#S256": THUMBS[0] }),
        2 if r.one_in(12) => claims["cnf"] = json!({ "jkt": "x" }),
        3 if r.one_in(12) => claims["cnf"] = json!({ "jkt": "x", "x5t#S256": THUMBS[0] }),
        _ => {}
    }
    claims
}

fn arguments(r: &mut Random) -> Option<Value> {
    if r.one_in(8) {
        return None;
    }
    if r.one_in(16) {
        let other = [json!("{\"base\":\"main\"}"), json!(7), json!(true), json!([{ "base": "main" }])];
        return other.get(r.below(4)).cloned();
    }
    let mut arguments = json!({});
    match r.below(9) {
        0 | 1 => arguments["base"] = json!("main"),
        2 => arguments["base"] = json!("dev"),
        3 => arguments["base"] = json!("other"),
        4 => arguments["base"] = json!(null),
        5 => arguments["base"] = json!(["main"]),
        6 => arguments["Base"] = json!("main"),
        7 => arguments = json!({ "base": "main", "BASE": "dev" }),
        _ => {}
    }
    match r.below(8) {
        0 => arguments["opts"] = json!({ "force": true, "n": 3 }),
        1 => arguments["opts"] = json!({ "force": false, "n": 1.0 }),
        2 => arguments["opts"] = json!({ "force": "true", "n": "3" }),
        3 => arguments["opts"] = json!([{ "force": true, "n": 1 }]),
        4 => arguments["opts"] = json!(null),
        5 => arguments["Opts"] = json!({ "force": true }),
        _ => {}
    }
    if r.one_in(2) {
        let path = r.of(&[
            "/srv/a",
            "/srv",
            "/srv/",
            "/srv/a/",
            "/srvx",
            "/",
            "//",
            "/srv/../x",
            "/srv/./a",
            "/srv//a",
            "srv/a",
            "/srv/%61",
            "/srv\\a",
            "/srv/a\u{1}",
            "",
        ]);
        arguments["path"] = json!(path);
    }
    if r.one_in(2) {
        arguments["url"] = json!(r.of(&[
            "https://example.com/x",
            "https://a.example.com",
            "HTTPS://A.B.EXAMPLE.com:443/",
            "http://example.com:443/",
            "http://example.com:80",
            "https://u@example.com/",
            "https://example.com./",
            "https://example.com:/",
            "https://evilexample.com",
            "https://10.0.0.1/",
            "https://010.0.0.1/",
            "https://167772161/",
            "https://[::1]/",
            "https://exa mple.com",
            "https://example.com\\@x",
            "ftp://example.com",
            "https://a..example.com",
            "https:///x",
            "https://ex%61mple.com",
            "https://0xa.0.0.1/",
            "https://example.com/@x",
            "https://example.com?q",
            "example.com",
            "https://exämple.com/",
            "https://example.com/a%20b",
        ]));
    }
    match r.below(8) {
        0 => arguments["paths"] = json!(["/srv/a", "/srv/b"]),
        1 => arguments["paths"] = json!(["/srv/a", "/etc"]),
        2 => arguments["paths"] = json!([]),
        3 => arguments["paths"] = json!(["/srv/a", 1]),
        4 => arguments["paths"] = json!("/srv/a"),
        5 => arguments["paths"] = json!(["/etc", ["/srv/a"]]),
        _ => {}
    }
    match r.below(8) {
        0 => arguments["ids"] = json!(["a", "b"]),
        1 => arguments["ids"] = json!(["a", "c"]),
        2 => arguments["ids"] = json!([1, 3]),
        3 => arguments["ids"] = json!([]),
        4 => arguments["ids"] = json!(null),
        5 => arguments["ids"] = json!(["c", null]),
        _ => {}
    }
    if r.one_in(3) {
        arguments["tool"] = json!(r.of(&["tool:get_file", "tool:get_x", "tool:other"]));
    }
    Some(arguments)
}

/// Mostly a name that some rule of the policy matches.
fn name(r: &mut Random, policy: &Value, kind: &str, others: &[&str]) -> String {
    let keys: Vec<&String> = policy[kind].as_object().into_iter().flat_map(Map::keys).collect();
    if keys.is_empty() || r.one_in(3) {
        return r.of(others).to_string();
    }
    let mut name = r.of(&keys).replace('*', r.of(&["x", "file", "Y_z", "", "a.b"]));
    if kind == "resources" {
        for variable in ["{space}", "{id}", "{doc}", "{v}"] {
            name = name.replace(variable, r.of(&["eng", "2", "x", "Readme", "a%20b"]));
        }
    }
    if r.one_in(12) { name.to_ascii_uppercase() } else { name }
}

fn frame(r: &mut Random, policy: &Value, modern: bool) -> Value {
    let method = match r.below(20) {
        0..=9 => "tools/call",
        10 => "prompts/get",
        11..=12 => "resources/read",
        13 => "resources/subscribe",
        14 => "subscriptions/listen",
        15 => "completion/complete",
        _ => r.of(&METHODS),
    };
    let mut params = json!({});
    match method {
        "tools/call" | "prompts/get" => {
            params["name"] = json!(match method {
                "tools/call" => name(r, policy, "tools", &TOOL_NAMES),
                _ => name(r, policy, "prompts", &PROMPT_NAMES),
            });
            if let Some(arguments) = arguments(r) {
                params["arguments"] = arguments;
            }
            if r.one_in(8) {
                params["task"] = json!({});
            }
        }
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            params["uri"] = json!(name(r, policy, "resources", &URIS))
        }
        "subscriptions/listen" => match r.below(8) {
            0 => {}
            1 => params["notifications"] = json!({ "toolsListChanged": true }),
            2 => params["notifications"] = json!({ "resourceSubscriptions": null }),
            3 => params["notifications"] = json!({ "ResourceSubscriptions": ["repo://acme/x"] }),
            4 => params["notifications"] = json!({ "com.example/news": ["repo://acme/x"] }),
            _ => {
                let uris: Vec<String> = (0..1 + r.below(2)).map(|_| name(r, policy, "resources", &URIS)).collect();
                params["notifications"] = json!({ "promptsListChanged": false, "resourceSubscriptions": uris });
            }
        },
        "completion/complete" => {
            params["ref"] = match r.below(4) {
                0 => json!({ "type": "ref/prompt", "name": name(r, policy, "prompts", &PROMPT_NAMES) }),
                1 | 2 => json!({ "type": "ref/resource", "uri": r.of(&TEMPLATES) }),
                _ => json!({ "type": "ref/resource", "uri": name(r, policy, "resources", &URIS) }),
            };
            params["argument"] = json!({ "name": "x", "value": "a" });
        }
        "logging/setLevel" => params["level"] = json!("debug"),
        "notifications/cancelled" => params["requestId"] = json!(9),
        "notifications/progress" => params = json!({ "progressToken": 1, "progress": 1 }),
        "initialize" => {
            params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "c", "version": "1" } })
        }
        method if METHODS[..12].contains(&method) => {
            if let Some(arguments @ Value::Object(_)) = arguments(r) {
                params = arguments;
            }
        }
        _ => {}
    }
    if r.one_in(3) || modern {
        params["_meta"] = json!({});
        if r.one_in(2) {
            params["_meta"]["risk"] = json!(r.of(&["high", "low"]));
        } else if r.one_in(3) {
            params["_meta"]["Risk"] = json!("low");
        }
        if modern {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({ "name": "c", "version": "1" });
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
    }
    let mut frame = json!({ "jsonrpc": "2.0", "method": method, "params": params });
    if !method.starts_with("notifications/") {
        frame["id"] = json!(1);
    }
    frame
}
