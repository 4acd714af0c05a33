//! What `stepup render` writes, applied to what real control planes made of the rest (`host-test/tests/mesh`), in real Envoy: the story of
//! the demo, and what becomes of it when a part is lost.

mod compare;
pub mod gateway;
pub mod istio;
mod variants;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use host_test::stack::{EnvoyStack, Given, Options, Request, Server, Setup, Stack as _, send};
use host_test::{paths, story, yaml};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::{apply, call, is_open, open_event_stream, wait_for};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let mut trials = variants::trials();
    trials.extend([
        trial("mesh::plain_envoy_as_rendered", || goes_as_told(plain()?)),
        trial("mesh::plain_envoy_without_the_filter_is_closed", plain_without_the_filter),
        trial("mesh::a_capability_that_is_missing", || missing_capability(None)),
        trial("mesh::istio_with_a_listener_of_its_own", || goes_as_told(istio::given(&[])?)),
        trial("mesh::istio_inserted", || goes_as_told(istio::given(&["--way", "inserted"])?)),
        trial("mesh::istio_second_wall", || goes_as_told(istio::given(&["--way", "second-wall"])?)),
        trial("mesh::istio_as_istiod_made_it", istio::as_recorded),
        trial("mesh::istio_patches_that_match_nothing", istio::unmatched),
        trial("mesh::istio_with_a_part_lost", istio::lost),
        trial("mesh::envoy_gateway", || goes_as_told(gateway::given()?)),
        trial("mesh::envoy_gateway_as_it_made_it", gateway::as_recorded),
        trial("mesh::envoy_gateway_with_a_part_lost", gateway::lost),
        trial("mesh::envoy_gateway_patches_that_match_nothing", gateway::unmatched),
    ]);
    trials
}

/// The documents of what is rendered, by their files.
fn rendered(arguments: &[&str]) -> Result<Vec<(String, Vec<Value>)>> {
    static RENDERED: AtomicUsize = AtomicUsize::new(0);
    let number = RENDERED.fetch_add(1, Ordering::Relaxed);
    let folder = paths::target().join("stacks").join(format!("rendered-{}-{number}", std::process::id()));
    if folder.is_dir() {
        fs::remove_dir_all(&folder)?;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_stepup"))
        .current_dir(paths::workspace())
        .arg("render")
        .args(arguments)
        .args(["--listen", "127.0.0.1:10000", "--folder", "@DIR@", "--out"])
        .arg(&folder)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path)?.replace("/dev/stdout", "./access.log");
            let documents = text.split("\n---\n").map(|text| Ok(yaml::to_json(&yaml::read(text)?)));
            let name = path.file_name().and_then(|name| name.to_str()).context("no name")?.to_owned();
            Ok((name, documents.collect::<Result<Vec<_>>>()?))
        })
        .collect()
}

fn file<'f>(files: &'f [(String, Vec<Value>)], name: &str) -> Result<&'f [Value]> {
    let found = files.iter().find(|(other, _)| other == name);
    found.map(|(_, documents)| documents.as_slice()).with_context(|| format!("no {name} is rendered"))
}

/// The credential of the stack, in place of the one to be edited.
fn credential() -> Result<(String, Value)> {
    Ok(("token-service.sds.yaml".to_owned(), yaml::load(&paths::envoy().join("token-service.sds.yaml"))?))
}

/// Misspelt fields are refused, as they would be dropped with a warning otherwise.
fn strict() -> Vec<String> {
    vec!["--reject-unknown-dynamic-fields".to_owned()]
}

const UPSTREAMS: [&str; 4] = ["--upstream", "everything=127.0.0.1:8810/mcp", "--upstream", "notes=127.0.0.1:8811/mcp"];

fn plain() -> Result<Given> {
    plain_for(None)
}

/// As it is rendered for that version of Envoy.
pub fn plain_for(version: Option<&str>) -> Result<Given> {
    let said: Vec<&str> = version.into_iter().flat_map(|version| ["--envoy-version", version]).collect();
    let files = rendered(&[&["envoy", "envoy/policy.yaml"], &UPSTREAMS[..], &said].concat())?;
    let one = |name: &str| Ok::<_, anyhow::Error>((name.to_owned(), file(&files, name)?[0].clone()));
    Ok(Given {
        files: vec![one("envoy.yaml")?, one("step-up.ecds.yaml")?, credential()?],
        clusters: ["everything".to_owned(), "notes".to_owned()],
        arguments: strict(),
    })
}

fn start(given: Given) -> Result<EnvoyStack> {
    EnvoyStack::start(&Options { given: Some(given), ..Options::default() })
}

fn goes_as_told(given: Given) -> Result<()> {
    tells(&Options { given: Some(given), ..Options::default() }).map(drop)
}

/// The demo's story, and what a real server gets beside: long bodies, bodies that wait to be asked for, a stream over a change of the
/// policy, and a change that is no good.
pub fn tells(options: &Options) -> Result<EnvoyStack> {
    let mut stack = EnvoyStack::start(options)?;
    ensure!(statuses(&stack)? == (401, 200), "{:?}", statuses(&stack)?);
    ensure!(unknown_fields(&stack)? == 0, "Envoy does not know a field");
    bodies(&stack)?;
    changes(&stack)?;
    // What came before is not the story's.
    sleep(Duration::from_millis(300));
    stack.last_record()?;
    let mut story = story::Story::new(&mut stack);
    for step in story::STEPS {
        let told = story.tell(step)?;
        ensure!(told.surprise.is_none(), "{}: {:?}", told.title, told.surprise);
    }
    Ok(stack)
}

/// Of what Envoy discovered. In its bootstrap it takes none.
pub fn unknown_fields(stack: &EnvoyStack) -> Result<u64> {
    stack.stat("server.dynamic_unknown_fields")
}

fn bodies(stack: &EnvoyStack) -> Result<()> {
    let token = stack.token(Server::Notes, "mcp:connect")?;
    for (length, status) in [(40 << 10, 200), (2 << 20, 413)] {
        let mut request = call(stack, Server::Notes, &token, "echo");
        let long = format!("\"{}\"", "x".repeat(length));
        request.body = request.body.map(|body| body.replace("\"hi\"", &long));
        let answer = send(&request)?;
        ensure!(answer.status == status, "a body of {length}: {answer:?}");
        if status == 413 {
            ensure!(answer.body.contains("41300"), "not the filter's own: {answer:?}");
        }
    }
    let (status, was_asked) = expecting(stack)?;
    ensure!(status == 200 && was_asked, "Expect: 100-continue: {status}, asked for the body: {was_asked}");
    // Both control planes switch upgrades on, and then the filter refuses them; else Envoy does.
    let upgrade = call(stack, Server::Notes, &token, "echo").with("upgrade", "websocket").with("connection", "upgrade");
    let answer = send(&upgrade)?;
    ensure!(matches!(answer.status, 400 | 403), "an upgrade: {answer:?}");
    Ok(())
}

/// What a client gets that waits until it is asked for the body, and whether it was.
fn expecting(stack: &EnvoyStack) -> Result<(u16, bool)> {
    let (url, token) = (stack.url(Server::Notes), stack.token(Server::Notes, "mcp:connect")?);
    let body = call(stack, Server::Notes, &token, "echo").body.context("no body")?;
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "8", "--expect100-timeout", "6", "--output", "/dev/null"])
        .args(["--dump-header", "-", &url, "-H", "Expect: 100-continue"])
        .args(["-H", "content-type: application/json", "-H", "accept: application/json, text/event-stream"])
        .args(["-H", "mcp-protocol-version: 2026-07-28", "-H", "mcp-method: tools/call", "-H", "mcp-name: echo"])
        .args(["-H", &format!("authorization: Bearer {token}"), "-d", &body])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let statuses: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)).collect();
    let status = statuses.last().with_context(|| said.clone())?;
    Ok((status.parse()?, statuses.contains(&"100")))
}

/// A good policy is taken up, a faulty one changes nothing, and neither cuts a stream.
fn changes(stack: &EnvoyStack) -> Result<()> {
    let mut events = open_event_stream(stack, &stack.token(Server::Everything, "mcp:connect")?)?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let echo = call(stack, Server::Notes, &token, "echo");
    let mut policy = stack.sample_policy()?;
    policy["select"] = json!("host");
    let good = policy.clone();
    policy["servers"]["notes"]["tools"]["echo"] = json!("deny");
    apply(stack, &policy)?;
    ensure!(send(&echo)?.status == 403, "the change is not in force");
    let refused = || stack.stat("extension_config_discovery.http_filter.step-up.config_fail");
    let before = refused()?;
    stack.update(&Setup::Configuration("{ \"version\": 1 }".to_owned()))?;
    wait_for("the faulty policy to be refused", || Ok(refused()? > before))?;
    ensure!(send(&echo)?.status == 403, "a faulty policy has changed something");
    apply(stack, &good)?;
    ensure!(send(&echo)?.status == 200, "the old policy is not back");
    is_open(&mut events)
}

/// What `stepup guard` says of the URL.
fn guard(stack: &EnvoyStack) -> Result<String> {
    let token = stack.folder().join("guard-token");
    fs::write(&token, stack.token(Server::Notes, "mcp:connect")?)?;
    let output = Command::new(env!("CARGO_BIN_EXE_stepup"))
        .args([
            "guard",
            &stack.url(Server::Notes),
            "--json",
            "--permitted",
            "echo",
            "--refused",
            "delete_record",
            "--token",
        ])
        .arg(&token)
        .output()?;
    let found: Value = serde_json::from_slice(&output.stdout)?;
    Ok(found["state"].as_str().context("no state")?.to_owned())
}

/// What a call without a token, and one that would be permitted, come to. `stepup guard` sees it.
pub fn statuses(stack: &EnvoyStack) -> Result<(u16, u16)> {
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let permitted = call(stack, Server::Notes, &token, "echo");
    let mut stranger = call(stack, Server::Notes, &token, "delete_record");
    stranger.headers.retain(|(name, _)| name != "authorization");
    let found = (send(&stranger)?.status, send(&permitted)?.status);
    let state = match found {
        (401, 200) => "guarded",
        (200, _) => "open",
        _ => "does_not_work",
    };
    ensure!(guard(stack)? == state, "{found:?}, and guard says {}", guard(stack)?);
    Ok(found)
}

/// The connection managers in a tree, wherever they are.
fn managers(tree: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    match tree {
        Value::Object(members) => {
            if members.contains_key("http_filters") && members.contains_key("stat_prefix") {
                change(tree);
            } else {
                members.values_mut().for_each(|value| managers(value, change));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| managers(item, change)),
        _ => {}
    }
}

/// Takes filters out of every connection manager.
pub fn without(tree: &mut Value, names: &[&str]) {
    managers(tree, &mut |manager| {
        if let Some(filters) = manager["http_filters"].as_array_mut() {
            filters.retain(|filter| !names.iter().any(|name| filter["name"] == *name));
        }
    });
}

fn plain_without_the_filter() -> Result<()> {
    let mut given = plain()?;
    without(&mut given.files[0].1, &["step-up"]);
    let stack = start(given)?;
    ensure!(statuses(&stack)? == (403, 403), "{:?}", statuses(&stack)?);
    drop(stack);
    // Switched off on the routes, which needs no rights on the listener.
    let mut given = plain()?;
    managers(&mut given.files[0].1, &mut |manager| {
        manager["route_config"]["typed_per_filter_config"] = json!({ "step-up": {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true,
        } });
    });
    let stack = start(given)?;
    ensure!(statuses(&stack)? == (403, 403), "{:?}", statuses(&stack)?);
    Ok(())
}

/// With one function less nothing is served.
pub fn missing_capability(version: Option<&'static str>) -> Result<()> {
    let mut given = plain_for(version)?;
    let place = if version.is_none() { "/vm_config" } else { "" };
    let allowed = given.files[1]
        .1
        .pointer_mut(&format!(
            "/resources/0/typed_config/config{place}/capability_restriction_config/allowed_capabilities"
        ))
        .and_then(Value::as_object_mut)
        .context("no restriction is rendered")?;
    ensure!(allowed.remove("proxy_set_tick_period_milliseconds").is_some(), "it is not in the list");
    let stack = EnvoyStack::start(&Options { envoy: version, given: Some(given), ..Options::default() })?;
    wait_for("Envoy to say so", || {
        let log = fs::read_to_string(stack.folder().join("envoy.log")).unwrap_or_default();
        Ok(log.contains("proxy_set_tick_period_milliseconds"))
    })?;
    ensure!(statuses(&stack)? == (403, 403), "{:?}", statuses(&stack)?);
    Ok(())
}

/// Nobody answers there.
fn is_closed(stack: &EnvoyStack) -> Result<()> {
    sleep(Duration::from_secs(2));
    let answer = send(&Request::post(stack.url(Server::Notes), json!({})));
    ensure!(answer.is_err(), "somebody answers: {answer:?}");
    Ok(())
}
