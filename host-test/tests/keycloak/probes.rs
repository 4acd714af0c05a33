//! `stepup probe` at a real Keycloak: a good exchange, and each surprise of a realm that is set up otherwise, by its name and with
//! what mends it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use host_test::paths;
use host_test::probe::{Caller, Finding, Probe};
use host_test::serve::Served;
use host_test::stack::{Request, send};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::issuer::{Issuer, basic, new_name};
use super::policy::{GIT, believe_defaults, policy};
use super::realm::{OLD, SECRET};
use super::server::keycloak;
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("probes::a_good_exchange_has_no_surprise", good),
        trial("probes::each_surprise_has_its_name_and_what_mends_it", surprises),
        trial("probes::who_introspects_must_be_named_by_the_token", introspection),
        trial("probes::a_caller_logs_in", login),
    ]
}

const MCP: &str = "https://mcp.example.test/mcp";

/// Who the filter is, whose token is tried, and what is otherwise in the policy.
struct Case {
    filter: &'static str,
    secret: &'static str,
    caller: fn(&Issuer) -> Result<String>,
    change: fn(&Issuer, &mut Value),
    /// Who asks about the token.
    introspects: &'static str,
}

impl Default for Case {
    fn default() -> Case {
        Case { filter: "step-up-filter", secret: SECRET, caller: alice, change: |_, _| (), introspects: MCP }
    }
}

fn alice(issuer: &Issuer) -> Result<String> {
    issuer.password("agent", "mcp:connect repo:read", "alice")
}

fn realm() -> Result<Issuer> {
    Issuer::create(&Arc::clone(&keycloak()?), &new_name(), MCP)
}

impl Case {
    fn policy(&self, issuer: &Issuer) -> Value {
        let mut policy = policy(&issuer.url, MCP, self.filter);
        (self.change)(issuer, &mut policy);
        policy
    }

    fn findings(&self, issuer: &Issuer) -> Result<Vec<Finding>> {
        // The key that fits `private_key_env`, for who wants one.
        let key = host_test::signing::Key::for_tests("ES256")?.text();
        let policy = self.policy(issuer);
        let mut credentials = BTreeMap::from([("as-token".to_owned(), basic(self.filter, self.secret))]);
        credentials.retain(|cluster, _| policy["token_service"]["cluster"] == **cluster);
        let probe = Probe {
            policy: Served::with(&policy, vec![("KEYCLOAK_KEY".to_owned(), key)])?,
            server: None,
            tool: "show-token".to_owned(),
            caller: Caller::Token((self.caller)(issuer)?),
            credentials,
            clusters: BTreeMap::new(),
            introspection: Some((issuer.endpoint("token/introspect"), basic(self.introspects, SECRET))),
        };
        probe.findings()
    }
}

fn of<'f>(findings: &'f [Finding], what: &str) -> Result<&'f Finding> {
    let found = findings.iter().find(|finding| finding.what == what);
    found.with_context(|| format!("nothing of {what}: {findings:#?}"))
}

fn good(_: &str) -> Result<()> {
    let issuer = realm()?;
    let findings = Case::default().findings(&issuer)?;
    ensure!(findings.iter().all(|finding| !finding.is_surprise), "{findings:#?}");
    for (what, found) in [
        ("audience", MCP),
        ("client", "step-up-filter"),
        ("scopes", "asked for repo:admin; got repo:admin"),
        ("introspection", "alive"),
        ("revocation", "revoked when the call had ended"),
        ("and afterwards", "dead"),
    ] {
        ensure!(of(&findings, what)?.found == found, "{what}: {findings:#?}");
    }
    Ok(())
}

/// What the decision is, what Keycloak says, and what of the advice must be there.
type Row = (&'static str, &'static str, &'static str, Case);

fn tool(policy: &mut Value) -> &mut Value {
    &mut policy["servers"]["notes"]["tools"]["show-token"]
}

fn of_callers() -> Vec<Row> {
    vec![
        // A fresh realm signs so.
        (
            "algorithm_not_allowed",
            "",
            "RS256",
            Case {
                caller: |issuer| issuer.password("agent-default", "mcp:connect", "alice"),
                change: |issuer, policy| policy["issuers"][&issuer.url]["algorithms"] = json!(["ES256"]),
                ..Case::default()
            },
        ),
        (
            "token_type",
            "",
            "`token_type: jwt`",
            Case {
                caller: |issuer| issuer.password("agent-default", "mcp:connect", "alice"),
                change: |issuer, policy| policy["issuers"][&issuer.url]["token_type"] = json!("at+jwt"),
                ..Case::default()
            },
        ),
        (
            "claim_missing",
            "",
            "`client_id`",
            Case {
                caller: |issuer| issuer.password("agent-azp", "mcp:connect", "alice"),
                change: |issuer, policy| policy["issuers"][&issuer.url]["token_type"] = json!("at+jwt"),
                ..Case::default()
            },
        ),
        (
            "claim_missing",
            "",
            "lightweight",
            Case { caller: |issuer| issuer.password("agent-light", "mcp:connect", "alice"), ..Case::default() },
        ),
        (
            "audience_mismatch",
            "",
            "audience mapper",
            Case {
                change: |_, policy| policy["servers"]["notes"]["resource"] = json!("https://other.example.test/mcp"),
                ..Case::default()
            },
        ),
        ("token_bound", "", "DPoP", Case { caller: Issuer::bound, ..Case::default() }),
        (
            "not_an_access_token",
            "",
            "ID token",
            Case { caller: |issuer| issuer.login("agent", "openid mcp:connect")?.text("id_token"), ..Case::default() },
        ),
        (
            "algorithm_not_allowed",
            "",
            "refresh token",
            Case {
                caller: |issuer| issuer.login("agent", "openid mcp:connect")?.text("refresh_token"),
                ..Case::default()
            },
        ),
        (
            "not_eligible",
            "",
            "`azp`",
            Case { change: |_, policy| tool(policy)["may_elevate"] = json!({ "client": ["ci"] }), ..Case::default() },
        ),
        // By password there is no `auth_time`.
        (
            "login_too_old",
            "",
            "`auth_time`",
            Case { change: |_, policy| tool(policy)["max_age"] = json!("5m"), ..Case::default() },
        ),
    ]
}

fn of_the_filter() -> Vec<Row> {
    vec![
        (
            "elevation_refused",
            "Client is not within the token audience",
            "audience mapper",
            Case { filter: "step-up-filter-unnamed", ..Case::default() },
        ),
        (
            "elevation_refused",
            "Standard token exchange is not enabled",
            "switch on",
            Case { filter: "step-up-filter-off", ..Case::default() },
        ),
        (
            "elevation_refused",
            "Missing consents",
            "Consent required",
            Case { filter: "step-up-filter-consent", ..Case::default() },
        ),
        (
            "elevation_refused",
            "Invalid scopes: repo:read",
            "optional client scopes",
            Case { change: |_, policy| tool(policy)["scope"] = json!("repo:read"), ..Case::default() },
        ),
        (
            "elevation_refused",
            "Requested audience not available",
            "must bring this audience",
            Case { change: |_, policy| tool(policy)["audience"] = json!(GIT), ..Case::default() },
        ),
        (
            "elevation_refused",
            "Audience not found",
            "a slash more",
            Case { change: |_, policy| tool(policy)["audience"] = json!(format!("{MCP}/")), ..Case::default() },
        ),
        (
            "elevation_refused",
            "Client disabled",
            "switched off",
            Case { change: |_, policy| tool(policy)["audience"] = json!(OLD), ..Case::default() },
        ),
        (
            "elevation_refused",
            "Unable to load public key",
            "private_key_env",
            Case {
                filter: "step-up-filter-keyless",
                change: |_, policy| {
                    policy["token_service"]["cluster"] = json!("as-keys");
                    policy["token_service"]["client"] =
                        json!({ "id": "step-up-filter-keyless", "private_key_env": "KEYCLOAK_KEY" });
                },
                ..Case::default()
            },
        ),
        ("filter_not_accepted", "Invalid client", "--credential", Case { secret: "wrong", ..Case::default() }),
        ("filter_not_accepted", "Invalid client", "its id", Case { filter: "nobody", ..Case::default() }),
        (
            "elevation_refused",
            "Invalid token",
            "Take a fresh one",
            Case {
                caller: |issuer| {
                    let token = alice(issuer)?;
                    issuer.revoke("agent", &token).map(|()| token)
                },
                ..Case::default()
            },
        ),
        (
            "elevation_refused",
            "Invalid token",
            "logged out",
            Case {
                caller: |issuer| {
                    let token = issuer.password("agent", "mcp:connect", "bob")?;
                    issuer.log_out(&token).map(|()| token)
                },
                ..Case::default()
            },
        ),
        (
            "elevation_refused",
            "Invalid token",
            "expired",
            Case {
                caller: |issuer| {
                    let token = issuer.password("agent-short", "mcp:connect", "alice")?;
                    sleep(Duration::from_millis(3500));
                    Ok(token)
                },
                ..Case::default()
            },
        ),
    ]
}

/// What it gives is not what was asked for.
fn of_tokens() -> Vec<Row> {
    vec![
        // `resource` is ignored, and each scope brings its audience.
        (
            "elevated_audience",
            "",
            "request: { target: audience }",
            Case {
                change: |_, policy| {
                    policy["token_service"]["request"] = json!({ "target": "resource" });
                    tool(policy)["scope"] = json!(["repo:admin", "git:admin"]);
                },
                ..Case::default()
            },
        ),
        // A client that was clicked together.
        (
            "elevated_lifetime",
            "",
            "Access token lifespan",
            Case {
                filter: "step-up-filter-default",
                change: |_, policy| policy["token_service"]["also_granted"] = json!(["profile", "email"]),
                ..Case::default()
            },
        ),
        (
            "granted_too_wide",
            "",
            "`also_granted`",
            Case {
                filter: "step-up-filter-default",
                change: |_, policy| policy["tiers"]["danger"]["ttl"] = json!("300s"),
                ..Case::default()
            },
        ),
        (
            "elevated_signature",
            "",
            "`algorithms`",
            Case {
                filter: "step-up-filter-default",
                change: |issuer, policy| {
                    believe_defaults(policy);
                    policy["issuers"][&issuer.url]["algorithms"] = json!(["ES256"]);
                },
                ..Case::default()
            },
        ),
    ]
}

fn surprises(_: &str) -> Result<()> {
    let issuer = realm()?;
    for (reason, words, mend, case) in [of_callers(), of_the_filter(), of_tokens()].into_iter().flatten() {
        let findings = case.findings(&issuer).with_context(|| format!("{reason} {words}"))?;
        let decision = of(&findings, "decision")?;
        let advice = decision.mend.as_deref().unwrap_or_default();
        println!("{reason:<22} {words:<42} {advice}");
        ensure!(decision.is_surprise && decision.found.starts_with(reason), "{reason}: {findings:#?}");
        ensure!(advice.contains(mend), "{reason} {words}: no `{mend}` in {advice}");
        if !words.is_empty() {
            ensure!(of(&findings, "it said")?.found.contains(words), "{reason}: no `{words}`: {findings:#?}");
        }
    }
    Ok(())
}

/// The client that the token was issued to is told that it is dead, unless it is in `aud`.
fn introspection(_: &str) -> Result<()> {
    let issuer = realm()?;
    let findings = Case { introspects: "step-up-filter", ..Case::default() }.findings(&issuer)?;
    let during = of(&findings, "introspection")?;
    let advice = during.mend.as_deref().unwrap_or_default();
    ensure!(during.is_surprise && during.found == "dead during its call" && advice.contains("`aud`"), "{findings:#?}");
    // The resource's own client is a good filter as well: it may ask.
    let case = Case { filter: MCP, introspects: MCP, ..Case::default() };
    let findings = case.findings(&issuer)?;
    ensure!(findings.iter().all(|finding| !finding.is_surprise), "{findings:#?}");
    Ok(())
}

/// With a browser, as a client of its own; and what Keycloak says where that cannot be.
fn login(_: &str) -> Result<()> {
    let issuer = realm()?;
    let (code, said) = probed(&issuer, &["--client-id", "agent-default"], true)?;
    ensure!(code == Some(0) && said.contains("asking for mcp:connect") && said.contains("ok revocation"), "{said}");
    let (code, said) = probed(&issuer, &["--client-id", "ci", "--client-secret-env", "CI_SECRET"], false)?;
    ensure!(code == Some(0) && said.contains("ok revocation"), "{said}");
    // A scope that the client may not ask for.
    let wide = ["--client-id", "agent-default", "--scope", "mcp:connect repo:admin"];
    let (code, said) = probed(&issuer, &wide, true)?;
    ensure!(code == Some(2) && said.contains("invalid_scope"), "{said}");
    // A realm trusts no host to register clients, unless told to.
    let (code, said) = probed(&issuer, &[], false)?;
    ensure!(code == Some(2) && said.contains("takes no new client"), "{said}");
    Ok(())
}

/// The command itself, and Alice where it says.
fn probed(issuer: &Issuer, login: &[&str], in_a_browser: bool) -> Result<(Option<i32>, String)> {
    let folder = paths::target().join("tests");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{}.json", new_name()));
    fs::write(&file, Case::default().policy(issuer).to_string())?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_stepup"))
        .arg("probe")
        .arg(&file)
        .args(["--tool", "show-token", "--credential", "as-token=FILTER", "--login"])
        .args(login)
        .envs([("FILTER", basic("step-up-filter", SECRET).as_str()), ("CI_SECRET", SECRET)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(child.stderr.take().context("no stderr")?);
    let (mut line, mut all) = (String::new(), String::new());
    while in_a_browser && said.read_line(&mut line)? > 0 {
        if line.starts_with("http") {
            let redirect = match issuer.log_in_at(line.trim()) {
                Ok(redirect) => redirect,
                // Refused before any page: the answer itself goes back.
                Err(_) => {
                    let answer = send(&Request::get(line.trim()))?;
                    answer.header("location").with_context(|| format!("{answer:?}"))?.to_owned()
                }
            };
            ensure!(send(&Request::get(redirect))?.status == 200, "nobody listens");
            break;
        }
        all += &line;
        line.clear();
    }
    said.read_to_string(&mut all)?;
    let output = child.wait_with_output()?;
    fs::remove_file(&file)?;
    Ok((output.status.code(), all + &String::from_utf8(output.stdout)?))
}
