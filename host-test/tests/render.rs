//! `stepup render`: what is written is YAML that says what it should, that `check --envoy` has nothing against, and that equals the
//! examples in `envoy/`. That it runs is shown by the trials of `--test envoy`.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use host_test::backend::{Backend as _, Wasm};
use host_test::render::CAPABILITIES;
use host_test::{artifact, paths, yaml};
use serde_json::{Value, json};

const POLICY: &str = "envoy/policy.yaml";
/// The same, for routes that do not name the server.
const BY_HOST: &str = "envoy/envoy-gateway/policy.yaml";
/// After a change on purpose: with this variable the examples are written, and `git diff` shows what changed.
const RENEW: &str = "UPDATE_RENDERED";

fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepup"));
    let Output { status, stdout, stderr } = command.current_dir(paths::workspace()).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("render").join(name);
    if folder.is_dir() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

const PLACES: [&str; 6] = [
    "--upstream",
    "everything=127.0.0.1:8810/mcp",
    "--upstream",
    "notes=127.0.0.1:8811/mcp",
    "--listen",
    "127.0.0.1:10000",
];
const SERVICES: [&str; 6] = [
    "--upstream",
    "everything=everything.mcp.test:8810/mcp",
    "--upstream",
    "notes=notes.mcp.test:8811/mcp",
    "--listen",
    "127.0.0.1:10000",
];

/// The documents of what is rendered, by their files.
fn rendered(name: &str, arguments: &[&str]) -> BTreeMap<String, Vec<Value>> {
    let folder = folder(name);
    let out = ["--out", folder.to_str().unwrap()];
    let (code, _, error) = run(&[&["render"], arguments, &out].concat());
    assert_eq!(code, 0, "{error}");
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let documents = text.split("\n---\n").map(|text| yaml::to_json(&yaml::read(text).unwrap()));
        files.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), documents.collect());
    }
    files
}

fn istio(name: &str, more: &[&str]) -> BTreeMap<String, Vec<Value>> {
    rendered(name, &[&["istio", POLICY], &SERVICES[..], more].concat())
}

/// The values of the patches that are applied to that.
fn patches<'f>(documents: &'f [Value], kind: &str) -> Vec<&'f Value> {
    let patches = documents.iter().flat_map(|document| document["spec"]["configPatches"].as_array().unwrap());
    patches.filter(|patch| patch["applyTo"] == kind).collect()
}

#[test]
fn the_examples_are_what_is_rendered() {
    let of = |target: &str, places: &[&str], more: &[&str]| {
        let policy = if target == "envoy-gateway" { BY_HOST } else { POLICY };
        [&[target, policy], places, more].concat().join(" ")
    };
    for (folder, arguments) in [
        ("istio", of("istio", &SERVICES, &[])),
        ("istio/inserted", of("istio", &SERVICES, &["--way", "inserted"])),
        ("istio/second-wall", of("istio", &SERVICES, &["--way", "second-wall"])),
        ("envoy-gateway", of("envoy-gateway", &PLACES, &[])),
    ] {
        let there = paths::envoy().join(folder);
        let fresh = self::folder(&format!("example-{}", folder.replace('/', "-")));
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let (code, _, error) = run(&[&["render"], &arguments[..], &["--out", fresh.to_str().unwrap()]].concat());
        assert_eq!(code, 0, "{error}");
        if std::env::var_os(RENEW).is_some() {
            fs::create_dir_all(&there).unwrap();
            for entry in fs::read_dir(&fresh).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, there.join(path.file_name().unwrap())).unwrap();
            }
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&fresh).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_owned();
            let there = fs::read_to_string(there.join(&name)).unwrap_or_default();
            assert_eq!(there, fs::read_to_string(&path).unwrap(), "{folder}/{}", name.display());
            names.push(name);
        }
        if folder == "envoy-gateway" {
            names.push("policy.yaml".into());
        }
        for entry in fs::read_dir(&there).unwrap().map(|entry| entry.unwrap()) {
            assert!(
                entry.path().is_dir() || names.contains(&entry.file_name()),
                "{folder} has {entry:?}, not rendered"
            );
        }
    }
}

/// The policy of the examples is that of the sample, and what is discovered has it as a text.
#[test]
fn the_policy_is_a_text_and_nothing_is_lost_of_it() {
    let sample = yaml::load(&paths::envoy().join("step-up.ecds.yaml")).unwrap();
    let configuration = &sample["resources"][0]["typed_config"]["config"]["configuration"];
    let policy = yaml::load(&paths::workspace().join(POLICY)).unwrap();
    assert_eq!(policy, configuration["value"]);
    let mut by_host = yaml::load(&paths::workspace().join(BY_HOST)).unwrap();
    assert_eq!(by_host.as_object_mut().unwrap().remove("select"), Some(json!("host")));
    assert_eq!(policy, by_host);

    let files = rendered("envoy-policy", &[&["envoy", POLICY], &PLACES[..]].concat());
    let of_envoy = &files["step-up.ecds.yaml"][0]["resources"][0]["typed_config"]["config"];
    let files = istio("istio-policy", &[]);
    let of_istio = &patches(&files["policy.yaml"], "EXTENSION_CONFIG")[0]["patch"]["value"]["typed_config"]["config"];
    for config in [of_envoy, of_istio] {
        let configuration = &config["configuration"];
        assert_eq!(configuration["@type"], "type.googleapis.com/google.protobuf.StringValue");
        let text: Value = serde_json::from_str(configuration["value"].as_str().unwrap()).unwrap();
        assert_eq!(text, policy);
        assert_eq!(config["allow_on_headers_stop_iteration"], true);
        assert_eq!(config["failure_policy"], "FAIL_RELOAD");
        assert_eq!(config["vm_config"]["vm_id"], "step-up");
    }
}

/// One Envoy, from files, and one that a control plane would make of the EnvoyFilter that adds the listener.
#[test]
fn check_has_nothing_against_it() {
    let folder = folder("checked");
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let out = ["--out", folder.to_str().unwrap()];
    let (code, _, error) = run(&[&["render", "envoy", POLICY], &PLACES[..], &out].concat());
    assert_eq!(code, 0, "{error}");
    let (code, out, error) =
        run(&["check", "--strict", "--envoy", &at("envoy.yaml"), "--envoy", &at("step-up.ecds.yaml")]);
    assert_eq!(code, 0, "{out}{error}");

    let files = istio("checked-istio", &[]);
    let listener = &patches(&files["listener.yaml"], "LISTENER")[0]["patch"]["value"];
    let mut clusters: Vec<Value> =
        patches(&files["settings.yaml"], "CLUSTER").iter().map(|patch| patch["patch"]["value"].clone()).collect();
    // What Istio makes of services.
    for name in ["outbound|8810||everything.mcp.test", "outbound|8811||notes.mcp.test", "BlackHoleCluster"] {
        clusters.push(json!({ "name": name, "type": "STATIC" }));
    }
    let filter = patches(&files["policy.yaml"], "EXTENSION_CONFIG")[0]["patch"]["value"].clone();
    let dump = json!({ "static_resources": { "listeners": [listener], "clusters": clusters } });
    let discovered = json!({ "resources": [filter] });
    fs::write(at("istio.json"), dump.to_string()).unwrap();
    fs::write(at("istio-filter.json"), discovered.to_string()).unwrap();
    let (code, out, error) = run(&["check", "--envoy", &at("istio.json"), "--envoy", &at("istio-filter.json")]);
    assert_eq!(code, 0, "{out}{error}");
}

/// The only way that is not closed by construction says so, and what can be closed is.
#[test]
fn a_lost_filter_is_no_open_door() {
    let locked = |manager: &Value| {
        let filters: Vec<&str> =
            manager["http_filters"].as_array().unwrap().iter().map(|filter| filter["name"].as_str().unwrap()).collect();
        assert!(filters.ends_with(&["step-up", "step-up-lock", "envoy.filters.http.router"]), "{filters:?}");
        let lock = manager["http_filters"].as_array().unwrap().iter().find(|filter| filter["name"] == "step-up-lock");
        let principal = &lock.unwrap()["typed_config"]["rules"]["policies"]["permitted"]["principals"][0];
        assert_eq!(principal["filter_state"]["string_match"]["contains"], r#""verdict":"permit""#);
    };
    let files = rendered("envoy-lock", &[&["envoy", POLICY], &PLACES[..]].concat());
    let listener = &files["envoy.yaml"][0]["static_resources"]["listeners"][0];
    locked(&listener["filter_chains"][0]["filters"][0]["typed_config"]);
    let files = istio("istio-lock", &[]);
    let listener = &patches(&files["listener.yaml"], "LISTENER")[0]["patch"]["value"];
    locked(&listener["filter_chains"][0]["filters"][0]["typed_config"]);

    let two = ["--listener", "10000", "--listener", "10443"];
    let files = rendered("gateway-lock", &[&["envoy-gateway", BY_HOST], &PLACES[..], &two].concat());
    let policy = &files["lock.yaml"][0];
    assert_eq!(policy["spec"]["authorization"]["defaultAction"], "Deny");
    let patches = files["patch.yaml"][0]["spec"]["jsonPatches"].as_array().unwrap();
    for listener in ["tcp-10000", "tcp-10443"] {
        let names: Vec<&Value> = patches
            .iter()
            .filter(|patch| patch["name"] == listener)
            .map(|patch| &patch["operation"]["value"]["name"])
            .collect();
        assert_eq!(names, ["step-up-lock", "step-up"], "{listener}");
    }
    for way in ["inserted", "second-wall"] {
        let (code, out, _) = run(&[&["render", "istio", POLICY, "--way", way], &SERVICES[..]].concat());
        assert!(code == 0 && out.contains("NOT closed by construction"), "{out}");
    }
}

#[test]
fn ways_that_are_open_or_do_not_work_are_refused_by_name() {
    for (arguments, part) in [
        (vec!["istio", POLICY, "--way", "wasm-plugin"], "host_without_header_stop"),
        (vec!["istio", POLICY, "--way", "traffic-extension"], "host_without_header_stop"),
        (vec!["envoy-gateway", BY_HOST, "--way", "extension-policy"], "a route's own one replaces it"),
        (vec!["envoy-gateway", POLICY], "select: host"),
        (vec!["envoy", POLICY, "--envoy-version", "1.36"], "1.37 is the oldest"),
        (vec!["envoy", POLICY, "--upstream", "nobody=127.0.0.1:1"], "no server nobody"),
        (vec!["envoy", POLICY, "--cluster", "nobody=127.0.0.1:1"], "no cluster nobody"),
        (vec!["envoy", "host-test/tests/deployed/02-rule-twice.yaml"], "no policy that could be rendered"),
    ] {
        let (code, out, error) = run(&[&["render"], &arguments[..], &PLACES[..4]].concat());
        assert!(code == 2 && out.is_empty() && error.contains(part), "{arguments:?}: {code} {error}");
    }
    let (code, _, error) = run(&["render", "envoy", POLICY, "--upstream", "notes=127.0.0.1:8811"]);
    assert!(code == 2 && error.contains("--upstream everything=HOST:PORT"), "{error}");
}

/// As an image volume brings it.
#[test]
fn the_module_can_lie_elsewhere() {
    let file = |name: &str, more: &[&str]| {
        let files = rendered(name, &[&["envoy", POLICY], &PLACES[..], more].concat());
        let config = &files["step-up.ecds.yaml"][0]["resources"][0]["typed_config"]["config"];
        config.pointer("/vm_config/code/local/filename").unwrap().clone()
    };
    assert_eq!(file("module-beside", &["--folder", "/opt"]), "/opt/step_up_filter.wasm");
    assert_eq!(file("module-elsewhere", &["--module", "/opt/step-up/plugin.wasm"]), "/opt/step-up/plugin.wasm");
}

#[test]
fn a_capability_restriction_is_exactly_what_the_module_has() {
    let module = artifact::load(&artifact::module().unwrap()).unwrap();
    let mut functions = module.functions();
    // What Envoy does not ask about.
    functions.retain(|name| name != "_initialize" && !name.starts_with("proxy_abi_version"));
    functions.sort_unstable();
    functions.dedup();
    assert_eq!(functions, CAPABILITIES);
    let sample = yaml::load(&paths::envoy().join("step-up.ecds.yaml")).unwrap();
    let place = "/resources/0/typed_config/config/vm_config/capability_restriction_config/allowed_capabilities";
    let of_sample: Vec<&String> = sample.pointer(place).unwrap().as_object().unwrap().keys().collect();
    assert_eq!(of_sample, CAPABILITIES);
    assert_eq!(Wasm::new().unwrap().name(), "wasm");
    let (old, new) = ("/capability_restriction_config", "/vm_config/capability_restriction_config");
    for (target, version, place) in [
        ("envoy", None, new),
        ("envoy", Some("1.40"), new),
        ("envoy", Some("1.39"), old),
        ("envoy", Some("1.37"), old),
        // What it brings.
        ("envoy-gateway", None, old),
        ("envoy-gateway", Some("1.40"), new),
    ] {
        let policy = if target == "envoy" { POLICY } else { BY_HOST };
        let said: Vec<&str> = version.into_iter().flat_map(|version| ["--envoy-version", version]).collect();
        let name = format!("capabilities-{target}-{version:?}");
        let files = rendered(&name, &[&[target, policy], &said[..], &PLACES[..]].concat());
        let config = &files["step-up.ecds.yaml"][0]["resources"][0]["typed_config"]["config"];
        let allowed = config.pointer(place).unwrap()["allowed_capabilities"].as_object().unwrap();
        assert_eq!(allowed.len(), CAPABILITIES.len());
        assert_eq!([old, new].iter().filter(|place| config.pointer(place).is_some()).count(), 1);
    }
}

/// Servers of several teams, a file each.
#[test]
fn servers_in_files_of_their_own_are_joined() {
    let folder = folder("teams");
    let at = |name: &str| folder.join(name);
    let mut base = yaml::load(&paths::workspace().join(POLICY)).unwrap();
    let servers = base["servers"].take();
    base.as_object_mut().unwrap().remove("servers");
    fs::write(at("base.yaml"), base.to_string()).unwrap();
    fs::create_dir(at("servers")).unwrap();
    for name in ["everything", "notes"] {
        fs::write(at("servers").join(format!("{name}.yaml")), servers[name].to_string()).unwrap();
    }
    let (base, teams) = (at("base.yaml").display().to_string(), at("servers").display().to_string());
    let arguments =
        |base: &str| [vec!["render", "envoy", base, "--servers", &teams], PLACES.to_vec()].concat().join(" ");
    let rendered = |base: &str| run(&arguments(base).split(' ').collect::<Vec<_>>());
    let (code, joined, error) = rendered(&base);
    assert_eq!(code, 0, "{error}");
    let (_, whole, _) = run(&[&["render", "envoy", POLICY], &PLACES[..]].concat());
    assert_eq!(joined, whole);

    let (code, _, error) = rendered(POLICY);
    assert!(code == 2 && error.contains("a second time"), "{error}");
    fs::write(at("servers/notes.yaml"), json!({ "resource": "http://127.0.0.1:10000/mcp" }).to_string()).unwrap();
    let (code, _, error) = rendered(&base);
    assert!(code == 2 && error.contains("servers.notes"), "{error}");
    fs::write(at("servers/README.md"), "x").unwrap();
    let (code, _, error) = rendered(&base);
    assert!(code == 2 && error.contains("nothing else"), "{error}");
}

/// Names and URLs of a policy are texts, whatever they look like.
#[test]
fn nothing_of_a_policy_is_read_as_yaml() {
    let mut policy = yaml::load(&paths::workspace().join(POLICY)).unwrap();
    policy["select"] = json!("host");
    let hostile = "x: y - \"a' # b";
    policy["token_service"]["client"] = json!({ "id": hostile, "secret_env": "A_SECRET" });
    policy["token_service"]["cluster"] = json!("outbound|443||as: {x}");
    for name in [hostile, "\u{202e}${policy}\u{2028}", "---", "  |", "%YAML"] {
        policy["servers"]["notes"]["tools"][name] = json!("deny");
    }
    let file = folder("hostile").join("policy.json");
    fs::write(&file, policy.to_string()).unwrap();
    let name = file.to_str().unwrap();
    for target in ["envoy", "istio", "envoy-gateway"] {
        let files = rendered(&format!("hostile-{target}"), &[&[target, name], &PLACES[..]].concat());
        let text = serde_json::to_string(&files).unwrap();
        assert!(text.contains("outbound|443||as: {x}"), "{target}: {text}");
        let config = match target {
            "istio" => {
                &patches(&files["policy.yaml"], "EXTENSION_CONFIG")[0]["patch"]["value"]["typed_config"]["config"]
            }
            _ => &files["step-up.ecds.yaml"][0]["resources"][0]["typed_config"]["config"],
        };
        let inside: Value = serde_json::from_str(config["configuration"]["value"].as_str().unwrap()).unwrap();
        assert_eq!(inside, policy, "{target}");
        assert_eq!(config["vm_config"]["environment_variables"]["host_env_keys"], json!(["A_SECRET"]));
    }
}
