//! What the trials share: the command, and servers that answer with documents.

use std::path::PathBuf;
use std::process::{Command, Output};

use annotate_snippets::Renderer;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Json};
use axum::{Router, routing::any};
use host_test::check::check;
use host_test::stack::{Request, send};
use host_test::{paths, yaml};
use serde_json::{Map, Value, json};
use step_up_core::json::{items, members};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// `stepup init`, not yet started.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepup"));
    command.current_dir(paths::workspace()).arg("init").args(arguments);
    command
}

/// Its exit code, and what it says.
pub fn init(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The policy, and what the user hears.
pub fn proposed(arguments: &[&str]) -> (String, String) {
    let (code, out, error) = init(arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    (out, error)
}

/// As `check --strict` takes it, read.
pub fn strict(text: &str) -> Value {
    let found = check("proposed.yaml".as_ref(), text, &Renderer::plain());
    assert_eq!((found.errors, found.warnings, found.policies), (0, 0, 1), "{}\n{text}", found.text);
    yaml::to_json(&yaml::read(text).unwrap())
}

/// A place of this run's own.
pub fn temporary(name: &str) -> String {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("init");
    std::fs::create_dir_all(&place).unwrap();
    place.join(name).display().to_string()
}

/// The answer to `tools/list`, asked without an SDK.
pub fn listed_by_hand(url: &str) -> String {
    let initialize = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } },
    });
    let opened = send(&Request::post(url, initialize)).unwrap();
    assert_eq!(opened.status, 200, "{}", opened.body);
    let session = opened.header("mcp-session-id").unwrap_or_default().to_owned();
    let within = |body: Value| {
        let request = Request::post(url, body).with("mcp-protocol-version", "2025-11-25");
        send(&if session.is_empty() { request } else { request.with("mcp-session-id", &session) }).unwrap()
    };
    within(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    let listed = within(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }));
    let events = listed.body.lines().filter_map(|line| line.strip_prefix("data:"));
    events.map(str::trim).find(|data| data.contains("\"tools\"")).unwrap_or(&listed.body).to_owned()
}

/// The digests of an answer to `tools/list`.
pub fn pins_of(answer: &str) -> Value {
    let member =
        |text: &str, name: &str| members(text).unwrap().into_iter().find(|(key, _)| key == name).unwrap().1.to_owned();
    let tools = member(&member(answer.trim(), "result"), "tools");
    let pins = items(&tools).unwrap().into_iter().map(|tool| {
        let name: String = serde_json::from_str(&member(tool, "name")).unwrap();
        (name, Value::from(step_up_core::pin(tool).unwrap()))
    });
    Value::Object(pins.collect::<Map<_, _>>())
}

/// A server on loopback.
pub struct World {
    pub base: String,
    _runtime: Runtime,
}

impl World {
    /// With a document at each path.
    pub fn start(documents: impl Fn(&str) -> Vec<(String, Value)>) -> World {
        World::of(|base| {
            let documents = documents(base);
            let answer = move |uri: Uri| {
                let found = documents.iter().find(|(path, _)| path == uri.path()).map(|(_, document)| document.clone());
                async move {
                    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |found| Json(found).into_response())
                }
            };
            Router::new().fallback(any(answer))
        })
    }

    /// With what is made for the place where it is.
    pub fn of(router: impl FnOnce(&str) -> Router) -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = router(&base);
        runtime.spawn(async move { axum::serve(listener, router).await });
        World { base, _runtime: runtime }
    }
}
