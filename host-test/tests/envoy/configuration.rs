//! What becomes of good and bad policies, by each way they can reach Envoy.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use annotate_snippets::Renderer;
use anyhow::{Context as _, Result, ensure};
use host_test::check::check_envoy;
use host_test::stack::{EnvoyStack, Options, Request, Server, Setup, Stack as _, send};
use libtest_mimic::Trial;
use serde_json::json;

use crate::changes;
use crate::support::{
    DISCOVERY, apply, call, expect, is_open, open_event_stream, reloads, stack, stack_with, wait_for,
};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("configuration::shipped_files_are_valid", shipped_files_are_valid),
        trial("configuration::the_running_envoy_has_the_settings", the_running_envoy_has_the_settings),
        trial("configuration::deviations_are_taken_by_envoy", deviations_are_taken),
        trial("configuration::static_faults_stop_envoy_and_are_all_listed", static_faults),
        trial("configuration::discovered_faults_at_start_close_the_route", discovered_faults_at_start),
        trial("configuration::a_faulty_update_changes_nothing", a_faulty_update_changes_nothing),
        trial("configuration::a_good_update_cuts_no_stream", a_good_update_cuts_no_stream),
        trial("configuration::a_host_that_keeps_bodies_back_is_named", a_host_that_keeps_bodies_back_is_named),
        trial("configuration::a_body_that_does_not_come_is_not_waited_for", a_body_that_does_not_come),
    ]
}

/// Five mistakes, and what the log must say of each: path, problem, help.
const FAULTS: [[&str; 3]; 5] = [
    ["version:", "not a version this filter knows", "write `version: 1`"],
    ["servers.git.tools.push:", "`exchange` needs `token_service`", "say at the top who exchanges tokens"],
    [
        "servers.git.tools.push.scope:",
        "a space inside a scope",
        "for several scopes write a list: [repo:read, repo:write]",
    ],
    ["servers.git.tools.wipe:", "an empty rule", "write `{ scope: [] }`"],
    ["servers.git.basline:", "unknown field `basline`", "did you mean `baseline`?"],
];

fn five_mistakes() -> Setup {
    let policy = json!({
        "version": 2,
        "issuers": { "https://as.example.com": {
            "jwks": { "cluster": "as-keys", "url": "https://as.example.com/jwks" }, "algorithms": ["ES256"],
        } },
        "tiers": { "write": { "step_up": "exchange" } },
        "servers": { "git": {
            "resource": "https://mcp.example.com/mcp",
            "baseline": ["mcp:connect"],
            "basline": [],
            "tools": { "push": { "scope": "repo:read repo:write", "tier": "write" }, "wipe": null },
        } },
    });
    Setup::Configuration(policy.to_string())
}

fn ensure_all_listed(log: &str) -> Result<()> {
    for parts in FAULTS {
        let found = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        ensure!(found, "the log does not say {parts:?}:\n{log}");
    }
    Ok(())
}

/// The files of `envoy/` as they are, not as the stack rewrites them.
fn shipped_files_are_valid() -> Result<()> {
    let fixtures = host_test::fixtures::install()?;
    let module = host_test::artifact::module()?;
    let folder = host_test::paths::target().join("stacks/shipped");
    std::fs::create_dir_all(&folder)?;
    for file in ["envoy.yaml", "step-up.ecds.yaml", "token-service.sds.yaml"] {
        std::fs::copy(host_test::paths::envoy().join(file), folder.join(file))?;
    }
    std::fs::copy(module, folder.join("step_up_filter.wasm"))?;
    let arguments = ["--mode", "validate", "-c", "envoy.yaml", "--use-dynamic-base-id"];
    let output = Command::new(fixtures.envoy()).current_dir(&folder).args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && text.contains("OK"), "{text}");
    Ok(())
}

/// What `/config_dump` says of it, held to the README.
fn the_running_envoy_has_the_settings() -> Result<()> {
    let dumped = |stack: &EnvoyStack| {
        let dump = send(&Request::get(stack.admin_url("/config_dump?include_eds")))?;
        ensure!(dump.status == 200, "{dump:?}");
        check_envoy(&[(Path::new("config_dump.json"), dump.body)], &[], &Renderer::plain())
    };
    let found = dumped(&stack()?)?;
    let seen = "1 connection manager with the filter, 2 routes to servers: 0 faults, 0 warnings, 0 notes";
    ensure!(found.errors == 0 && found.warnings == 0 && found.text.contains(seen), "{}", found.text);

    // The same, where the policy stands in the listener.
    let found = dumped(&EnvoyStack::start(&Options { without_discovery: true, ..Options::default() })?)?;
    let (first, _) = found.text.split_once("warning[").context("no warning")?;
    ensure!(found.errors == 0 && found.warnings == 1, "{}", found.text);
    ensure!(!first.contains("fault[") && found.text.contains("warning[discovery]"), "{}", found.text);
    Ok(())
}

/// What `stepup check --envoy` is tried on is what Envoy takes without a word: the names of fields and messages are its own.
fn deviations_are_taken() -> Result<()> {
    let fixtures = host_test::fixtures::install()?;
    let folder = host_test::paths::target().join("stacks/deviations");
    std::fs::create_dir_all(&folder)?;
    for name in ["step_up_filter.wasm", "other.wasm"] {
        std::fs::copy(host_test::artifact::module()?, folder.join(name))?;
    }
    let secret = std::fs::read_to_string(host_test::paths::envoy().join("token-service.sds.yaml"))?;
    for name in ["token-service", "own"] {
        std::fs::write(folder.join(format!("{name}.sds.yaml")), secret.replace("token-service", name))?;
    }
    std::fs::copy(changes::folder().join("good/ca.crt"), folder.join("ca.crt"))?;
    let mut many = 0;
    for path in changes::files()? {
        let (bootstrap, filter) = changes::changed(&path)?;
        if bootstrap.contains("\nconfigs:") {
            continue; // A dump is Envoy's answer.
        }
        std::fs::write(folder.join("envoy.yaml"), bootstrap)?;
        std::fs::write(folder.join("step-up.yaml"), filter)?;
        let arguments = ["--mode", "validate", "-c", "envoy.yaml", "--use-dynamic-base-id"];
        let node = ["--service-node", "step-up", "--service-cluster", "step-up"];
        let output = Command::new(fixtures.envoy()).current_dir(&folder).args(arguments).args(node).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        // Its own certificate needs a key, and there is none here.
        let lacks_certificate = text.contains("path: tls.");
        ensure!(output.status.success() || lacks_certificate, "{}:\n{text}", path.display());
        many += 1;
    }
    ensure!(many > 80, "only {many} files");
    Ok(())
}

fn static_faults() -> Result<()> {
    let options = Options {
        setup: five_mistakes(),
        without_discovery: true,
        servers: false,
        authorization_server: false,
        ..Options::default()
    };
    let mut stack = EnvoyStack::prepare(&options)?;
    let code = stack.envoy().wait_for_end()?;
    ensure!(code == Some(1), "Envoy ended with {code:?}");
    ensure_all_listed(&stack.envoy().log())
}

fn discovered_faults_at_start() -> Result<()> {
    let mut stack = EnvoyStack::start(&Options { setup: five_mistakes(), ..Options::default() })?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let harmless = call(&stack, Server::Notes, &token, "echo");
    let answer = send(&harmless)?;
    ensure!(answer.status == 403 && answer.body.contains("RBAC"), "{answer:?}");
    ensure_all_listed(&stack.envoy().log())?;
    // A good document takes over by itself.
    stack.update(&Setup::Sample)?;
    wait_for("the good policy", || Ok(send(&harmless)?.status == 200))
}

fn a_faulty_update_changes_nothing() -> Result<()> {
    let mut stack = stack()?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let (harmless, denied) =
        (call(&stack, Server::Notes, &token, "echo"), call(&stack, Server::Notes, &token, "delete_record"));
    let fails = |stack: &EnvoyStack| stack.stat(&format!("{DISCOVERY}config_fail"));
    ensure!(fails(&stack)? == 0);
    stack.update(&five_mistakes())?;
    wait_for("the update to be refused", || Ok(fails(&stack)? > 0))?;
    ensure_all_listed(&stack.envoy().log())?;
    expect(&harmless, 200, "")?;
    expect(&denied, 403, "not_allowed")?;
    Ok(())
}

fn a_good_update_cuts_no_stream() -> Result<()> {
    let stack = stack()?;
    let token = stack.token(Server::Everything, "mcp:connect")?;
    let mut events = open_event_stream(&stack, &token)?;
    let echo = call(&stack, Server::Notes, &stack.token(Server::Notes, "mcp:connect")?, "echo");
    expect(&echo, 200, "")?;

    let mut policy = stack.sample_policy()?;
    policy["servers"]["notes"]["tools"]["echo"] = json!("deny");
    apply(&stack, &policy)?;
    wait_for("the new policy", || Ok(send(&echo)?.status == 403))?;

    ensure!(stack.stat("listener_manager.listener_modified")? == 0);
    ensure!(stack.stat("listener_manager.total_listeners_draining")? == 0);
    is_open(&mut events)?;
    // And it is the same stream the server knows: a call that notifies arrives on it or on its own, but the session lives.
    Ok(())
}

/// Without `allow_on_headers_stop_iteration` a POST would hang; here it is answered, and the answer names the cause.
fn a_host_that_keeps_bodies_back_is_named() -> Result<()> {
    let stack = stack()?;
    let mut policy = stack.sample_policy()?;
    policy["limits"] = json!({ "body_wait": "1s" });
    let before = reloads(&stack)?;
    stack.update_document(&Setup::Configuration(policy.to_string()), |document| {
        let config = &mut document["resources"][0]["typed_config"]["config"];
        config["allow_on_headers_stop_iteration"] = json!(false);
        // A new VM, that has never seen a body.
        config["vm_config"]["vm_id"] = json!("without-header-stop");
    })?;
    wait_for("the policy to be taken", || Ok(reloads(&stack)? > before))?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    expect(&call(&stack, Server::Notes, &token, "echo"), 503, "host_without_header_stop")?;
    Ok(())
}

fn a_body_that_does_not_come() -> Result<()> {
    let stack = stack_with(|policy| policy["limits"] = json!({ "body_wait": "1s" }))?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    // Nothing of it, in workers that have seen no body, and then a part. Neither is Envoy's doing, and raises its alarm.
    for part in ["", "", "", "", "{"] {
        let mut stream = TcpStream::connect(("127.0.0.1", stack.port()))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "POST /notes/mcp HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: 100\r\n\r\n{part}"
        )?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).context("no answer")?;
        ensure!(&answer == b"HTTP/1.1 408", "{part:?}: {}", String::from_utf8_lossy(&answer));
    }
    let blamed = r#"stepup_faults_total{kind="host_without_header_stop"} 0"#;
    let counts = send(&Request::get(stack.admin_url("/stats/prometheus")))?.body;
    ensure!(counts.contains(blamed), "{counts}");
    Ok(())
}
