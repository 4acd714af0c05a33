//! An EnvoyPatchPolicy on what Envoy Gateway made without it, as Envoy Gateway applies it.

use anyhow::{Context as _, Result, bail, ensure};
use host_test::stack::Given;
use host_test::yaml;
use serde_json::{Value, json};

use super::{UPSTREAMS, compare, credential, file, rendered, start, statuses, strict, without};

/// As Envoy Gateway has it: no route names its server.
const POLICY: &str = "envoy/envoy-gateway/policy.yaml";

fn recorded(name: &str) -> Result<[Value; 3]> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh/envoy-gateway").join(name);
    Ok([yaml::load(&path.join("lds.json"))?, yaml::load(&path.join("cds.json"))?, yaml::load(&path.join("rds.json"))?])
}

/// Resources of listeners and clusters, as they were without the patch. `lost-lock`: with the SecurityPolicy.
fn base(name: &str) -> Result<[Value; 3]> {
    let [listeners, mut clusters, routes] = recorded(name)?;
    // Its operations on clusters were applied all the same: each stands alone.
    let resources = clusters["resources"].as_array_mut().context("no clusters")?;
    resources.retain(|cluster| cluster["name"] != "as-keys" && cluster["name"] != "as-token");
    Ok([listeners, clusters, routes])
}

fn patch() -> Result<Value> {
    let files = rendered(&[&["envoy-gateway", POLICY], &UPSTREAMS[..]].concat())?;
    Ok(file(&files, "patch.yaml")?[0].clone())
}

/// Every operation. One that is not understood, or fits nothing, is a fault here; Envoy Gateway serves the listener without it.
fn apply([listeners, clusters, _]: &mut [Value; 3], patch: &Value) -> Result<()> {
    for one in patch["spec"]["jsonPatches"].as_array().context("no patches")? {
        let (kind, name, operation) = (one["type"].as_str().unwrap_or_default(), &one["name"], &one["operation"]);
        ensure!(operation["op"] == "add", "an operation that is not understood: {operation}");
        if kind.ends_with(".Cluster") {
            ensure!(operation["path"] == "", "a path that is not understood: {operation}");
            let mut cluster = operation["value"].clone();
            cluster["@type"] = json!(kind);
            clusters["resources"].as_array_mut().context("no clusters")?.push(cluster);
            continue;
        }
        let path = operation["jsonPath"].as_str().unwrap_or_default();
        let before = path.strip_prefix("..http_filters[?(@.name == '").and_then(|rest| rest.strip_suffix("')]"));
        let Some(before) = before else { bail!("a path that is not understood: {path}") };
        let mut hits = 0;
        let all = listeners["resources"].as_array_mut().context("no listeners")?;
        for listener in all.iter_mut().filter(|listener| listener["name"] == *name) {
            super::managers(listener, &mut |manager| {
                let Some(filters) = manager["http_filters"].as_array_mut() else { return };
                if let Some(at) = filters.iter().position(|filter| filter["name"] == before) {
                    filters.insert(at, operation["value"].clone());
                    hits += 1;
                }
            });
        }
        ensure!(hits > 0, "an operation fits nothing: {name} {path}");
    }
    Ok(())
}

fn files([listeners, clusters, routes]: [Value; 3]) -> Result<Given> {
    let files = rendered(&[&["envoy-gateway", POLICY], &UPSTREAMS[..]].concat())?;
    let discovered = |name: &str| json!({ "path_config_source": { "path": format!("@DIR@/{name}") } });
    let bootstrap = json!({
        "node": { "id": "step-up", "cluster": "envoy-gateway-system/mcp" },
        "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 9901 } } },
        "dynamic_resources": { "lds_config": discovered("lds.json"), "cds_config": discovered("cds.json") },
    });
    let files = vec![
        ("lds.json".to_owned(), listeners),
        ("cds.json".to_owned(), clusters),
        ("rds.json".to_owned(), routes),
        ("envoy.yaml".to_owned(), bootstrap),
        ("step-up.ecds.yaml".to_owned(), file(&files, "step-up.ecds.yaml")?[0].clone()),
        credential()?,
    ];
    let clusters = ["everything", "notes"].map(|name| format!("httproute/envoy-gateway-system/{name}/rule/0"));
    Ok(Given { files, clusters, arguments: strict() })
}

pub fn given() -> Result<Given> {
    let mut base = base("patch-lost-lock")?;
    apply(&mut base, &patch()?)?;
    files(base)
}

/// What is rendered equals what ran, but for what is named here.
pub fn as_recorded() -> Result<()> {
    let mut ours = base("patch-lost-lock")?;
    apply(&mut ours, &patch()?)?;
    let whole = |[listeners, clusters, routes]: [Value; 3]| json!({ "listeners": listeners["resources"], "clusters": clusters["resources"], "routes": routes["resources"] });
    compare::same("envoy-gateway", &whole(ours), &whole(recorded("guarded")?), &[compare::WATCHED])
}

/// Two locks: one of them may be lost.
pub fn lost() -> Result<()> {
    // The patch is lost, and the SecurityPolicy is there.
    ensure!(statuses(&start(files(recorded("patch-lost-lock")?)?)?)? == (403, 403), "the patch is lost");
    // The SecurityPolicy's filter is lost: the filter has no place, and the lock in the patch answers.
    let mut base = base("patch-lost-no-lock")?;
    let mut patch = patch()?;
    let operations = patch["spec"]["jsonPatches"].as_array_mut().context("no patches")?;
    operations.retain(|one| one["operation"]["value"]["name"] != "step-up");
    apply(&mut base, &patch)?;
    ensure!(statuses(&start(files(base)?)?)? == (403, 403), "the SecurityPolicy is lost");
    // Both: what nothing prevents.
    ensure!(
        statuses(&start(files(recorded("patch-lost-no-lock")?)?)?)? == (200, 200),
        "both are lost, and it is not open"
    );
    // The filter alone is taken out, by somebody else's patch.
    let mut given = given()?;
    without(&mut given.files[0].1, &["step-up"]);
    ensure!(statuses(&start(given)?)? == (403, 403), "the filter is lost");
    Ok(())
}

pub fn unmatched() -> Result<()> {
    for (place, value) in [
        ("/spec/jsonPatches/0/name", "default/mcp/http"),
        ("/spec/jsonPatches/0/operation/jsonPath", "..http_filters[?(@.name == 'envoy.filters.http.ruter')]"),
        ("/spec/jsonPatches/1/operation/op", "ad"),
    ] {
        let mut changed = patch()?;
        *changed.pointer_mut(place).context("no such place")? = json!(value);
        ensure!(apply(&mut base("patch-lost-lock")?, &changed).is_err(), "{place}: {value}");
    }
    Ok(())
}
