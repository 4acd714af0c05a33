//! Older versions of Envoy: what `stepup render` writes for them, the sample, and what was rendered for the control planes that bring
//! them. They are installed when they are asked for.

use std::fs;
use std::path::Path;
use std::process::Command;

use annotate_snippets::Renderer;
use anyhow::{Context as _, Result, ensure};
use host_test::check::check_envoy;
use host_test::fixtures::{self, OLDER_ENVOYS};
use host_test::stack::{EnvoyStack, Given, Options, Request, send, shipped_beside};
use host_test::{paths, yaml};
use libtest_mimic::Trial;
use serde_json::json;

use crate::mesh::{gateway, istio, missing_capability, plain_for, statuses, tells, unknown_fields};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("versions::envoy_1_37", || as_rendered("1.37")),
        trial("versions::envoy_1_38", || as_rendered("1.38")).with_ignored_flag(true),
        trial("versions::envoy_1_39", || as_rendered("1.39")).with_ignored_flag(true),
        trial("versions::the_sample", the_sample).with_ignored_flag(true),
        trial("versions::neighbours", neighbours).with_ignored_flag(true),
        trial("versions::istio_1_29", || on("1.37", istio::given(&[])?).map(drop)),
        trial("versions::istio_1_29_inserted", || on("1.37", istio::given(&["--way", "inserted"])?).map(drop))
            .with_ignored_flag(true),
        trial("versions::istio_1_29_second_wall", || on("1.37", istio::given(&["--way", "second-wall"])?).map(drop))
            .with_ignored_flag(true),
        trial("versions::envoy_gateway_1_9", || on("1.39", gateway::given()?).map(drop)).with_ignored_flag(true),
        trial("versions::a_restriction_in_the_place_of_a_newer_one", newer_restriction),
        trial("versions::an_envoy_without_the_runtime_is_closed", other_runtime),
    ]
}

fn on(version: &'static str, given: Given) -> Result<EnvoyStack> {
    tells(&Options { envoy: Some(version), given: Some(given), ..Options::default() })
}

/// The story, bodies, a changed and a faulty policy; what `check` says of its dump; and a function that the module may not call.
fn as_rendered(version: &'static str) -> Result<()> {
    let stack = on(version, plain_for(Some(version))?)?;
    let dump = send(&Request::get(stack.admin_url("/config_dump?include_eds")))?;
    let found = check_envoy(&[(Path::new("config_dump.json"), dump.body)], &[], &Renderer::plain())?;
    ensure!(found.errors == 0 && found.text.contains("2 routes to servers"), "{}", found.text);
    drop(stack);
    missing_capability(Some(version))
}

/// The files of `envoy/`, with the restriction of capabilities where it was before 1.40: no other word of them has to be moved or left out.
fn the_sample() -> Result<()> {
    for version in OLDER_ENVOYS {
        tells(&Options { envoy: Some(version), ..Options::default() }).with_context(|| format!("Envoy {version}"))?;
    }
    Ok(())
}

/// What an older Envoy does not know of the filters around ours: its `mcp_router` forwards no header, and spans have no id in a format.
const UNKNOWN: [(&str, &str, &str); 4] = [
    ("1.37", "tracing.yaml", "SPAN_ID"),
    ("1.37", "mcp-router.yaml", "header_forwarding"),
    ("1.38", "mcp-router.yaml", "header_forwarding"),
    ("1.39", "mcp-router.yaml", "header_forwarding"),
];

/// The settings of `envoy/neighbours/`, as Envoy reads them at its start; nothing is sent through them here.
fn neighbours() -> Result<()> {
    let fixtures = fixtures::install()?;
    let folder = paths::target().join("stacks/neighbours");
    fs::create_dir_all(&folder)?;
    fs::copy(host_test::artifact::module()?, folder.join("step_up_filter.wasm"))?;
    for name in ["step-up.ecds.yaml", "token-service.sds.yaml"] {
        fs::copy(paths::envoy().join(name), folder.join(name))?;
    }
    for version in OLDER_ENVOYS {
        let fixtures = fixtures.clone().with_older_envoy(version)?;
        for entry in fs::read_dir(paths::envoy().join("neighbours"))? {
            let path = entry?.path();
            fs::write(folder.join("envoy.yaml"), shipped_beside(&yaml::load(&path)?)?)?;
            let arguments = ["--mode", "validate", "-c", "envoy.yaml", "--use-dynamic-base-id"];
            let output = Command::new(fixtures.envoy()).current_dir(&folder).args(arguments).output()?;
            let name = path.file_name().and_then(|name| name.to_str()).context("no name")?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            match UNKNOWN.iter().find(|(of, file, _)| (*of, *file) == (version, name)) {
                None => ensure!(output.status.success(), "Envoy {version}, {name}:\n{text}"),
                Some((.., field)) => {
                    ensure!(!output.status.success() && text.contains(field), "Envoy {version} takes {name}:\n{text}");
                }
            }
        }
    }
    Ok(())
}

/// Rendered for 1.40, the restriction is an unknown field: it is refused, and the default answers.
fn newer_restriction() -> Result<()> {
    let start = |given| EnvoyStack::start(&Options { envoy: Some("1.37"), given: Some(given), ..Options::default() });
    let stack = start(plain_for(None)?)?;
    ensure!(statuses(&stack)? == (403, 403), "{:?}", statuses(&stack)?);
    drop(stack);
    // Where unknown fields are dropped, as is Envoy's default, the filter works, and nothing restricts it.
    let stack = start(Given { arguments: Vec::new(), ..plain_for(None)? })?;
    ensure!(statuses(&stack)? == (401, 200), "{:?}", statuses(&stack)?);
    ensure!(unknown_fields(&stack)? > 0, "Envoy knows it");
    Ok(())
}

/// An Envoy that was built without V8, as some are: nothing is served. Here a runtime that none of ours has stands for it.
fn other_runtime() -> Result<()> {
    let mut given = plain_for(None)?;
    let place = "/resources/0/typed_config/config/vm_config/runtime";
    *given.files[1].1.pointer_mut(place).context("no runtime")? = json!("envoy.wasm.runtime.wamr");
    let stack = EnvoyStack::start(&Options { given: Some(given), ..Options::default() })?;
    ensure!(statuses(&stack)? == (403, 403), "{:?}", statuses(&stack)?);
    let log = fs::read_to_string(stack.folder().join("envoy.log"))?;
    ensure!(log.contains("compiled without support"), "{log}");
    Ok(())
}
