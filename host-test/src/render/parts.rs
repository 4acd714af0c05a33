//! What every target has in common.

use anyhow::Result;

use super::capabilities::restriction;
use super::plan::{Cluster, Plan, Target, Version};
use super::template::fill;
use crate::shown::plain_json;
use crate::text::scalar;

/// The secret of the filter's credential, and its file. More than one is refused ([`secrets`]).
const SECRET: &str = "token-service";
const SECRET_FILE: &str = "token-service.sds.yaml";

/// The filter itself: settings, policy and module.
pub(super) fn filter(plan: &Plan) -> Result<String> {
    let policy = plain_json(&format!("{:#}", plan.policy));
    let module = scalar(&plan.proxy.module);
    let variables: Vec<String> = plan.variables.iter().map(|variable| scalar(variable)).collect();
    let environment = match variables.is_empty() {
        true => String::new(),
        false => format!("environment_variables: {{ host_env_keys: [{}] }}", variables.join(", ")),
    };
    let restriction = restriction();
    // Envoy 1.40 has moved it, and still takes the old place. Before, the new place is an unknown field: refused, or dropped, and then
    // nothing is restricted.
    let (of_plugin, of_vm) =
        if plan.proxy.version >= Version(1, 40) { ("", restriction.as_str()) } else { (restriction.as_str(), "") };
    fill(
        include_str!("templates/filter.yaml"),
        &[
            ("policy", &policy),
            ("module", &module),
            ("environment", &environment),
            ("capabilities-of-plugin", of_plugin),
            ("capabilities-of-vm", of_vm),
        ],
    )
}

/// The filter in a listener: its name, and where the rest comes from.
pub(super) fn discovery(source: &str) -> Result<String> {
    fill(include_str!("templates/discovery.yaml"), &[("source", source)])
}

/// From a file of that folder, which may be a mount.
pub(super) fn from_file(plan: &Plan) -> String {
    let (file, folder) = (scalar(&format!("{}/step-up.ecds.yaml", plan.proxy.folder)), scalar(&plan.proxy.folder));
    format!("{{ path_config_source: {{ path: {file}, watched_directory: {{ path: {folder} }} }} }}")
}

/// What passes only what the filter let through.
pub(super) fn lock() -> &'static str {
    include_str!("templates/lock.yaml")
}

/// The file that is discovered, where it is a file.
pub(super) fn policy_file(plan: &Plan) -> Result<String> {
    fill(include_str!("templates/policy-file.yaml"), &[("filter", &filter(plan)?)])
}

/// The clusters that the policy names.
pub(super) fn clusters(plan: &Plan) -> Result<Vec<(String, String)>> {
    plan.clusters.iter().map(|cluster| Ok((scalar(&cluster.name), of_policy(cluster, plan)?))).collect()
}

fn of_policy(cluster: &Cluster, plan: &Plan) -> Result<String> {
    let tls = cluster.tls.as_ref().map(|host| {
        fill(include_str!("templates/tls.yaml"), &[("host", &scalar(host)), ("ca", &scalar(&plan.proxy.ca))])
    });
    let credential = cluster.injects.then(|| {
        let (file, folder) = (scalar(&format!("{}/{SECRET_FILE}", plan.proxy.folder)), scalar(&plan.proxy.folder));
        let holes = [("secret", SECRET), ("file", &file), ("folder", &folder)];
        fill(include_str!("templates/credential.yaml"), &holes)
    });
    let (tls, credential) = (tls.transpose()?.unwrap_or_default(), credential.transpose()?.unwrap_or_default());
    cluster_at(&cluster.name, &cluster.place, &credential, &tls)
}

/// A cluster of one endpoint.
pub(super) fn cluster_at(name: &str, place: &super::Place, credential: &str, tls: &str) -> Result<String> {
    fill(
        include_str!("templates/cluster.yaml"),
        &[
            ("name", &scalar(name)),
            ("type", if place.is_address() { "STATIC" } else { "STRICT_DNS" }),
            ("host", &scalar(&place.host)),
            ("port", &place.port.to_string()),
            ("credential", credential),
            ("tls", tls),
        ],
    )
}

/// A file with a credential to be edited, if a cluster injects one.
pub(super) fn secrets(plan: &Plan) -> Result<Option<super::Rendered>> {
    let injecting: Vec<&Cluster> = plan.clusters.iter().filter(|cluster| cluster.injects).collect();
    match injecting.as_slice() {
        [] => Ok(None),
        [one] => {
            let holes = [("cluster", scalar(&one.name)), ("secret", SECRET.to_owned())];
            let holes = holes.each_ref().map(|(name, value)| (*name, value.as_str()));
            Ok(Some(super::Rendered { name: SECRET_FILE, text: fill(include_str!("templates/secret.yaml"), &holes)? }))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|cluster| cluster.name.as_str()).collect();
            anyhow::bail!(
                "the proxy authenticates the filter at several clusters ({}): one is rendered; write the others after it, or let the filter authenticate itself (`secret_env`, `private_key_env`)",
                names.join(", ")
            )
        }
    }
}

/// The connection manager of a listener that is all ours.
pub(super) fn manager(plan: &Plan, source: &str, nowhere: &str, cluster: impl Fn(&Target) -> String) -> Result<String> {
    let mut hosts: Vec<&str> = plan.targets.iter().map(|target| target.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let only_one = hosts.len() == 1;
    let hosts = hosts.iter().map(|host| {
        let targets = plan.targets.iter().filter(|target| target.host == **host);
        // A longer path first: a route takes what lies below its path.
        let mut targets: Vec<&Target> = targets.collect();
        targets.sort_by_key(|target| std::cmp::Reverse(target.path.len()));
        let routes =
            targets.iter().map(|target| route(target, &cluster(target), nowhere)).collect::<Result<String>>()?;
        let domains = if only_one {
            "[\"*\"]".to_owned()
        } else {
            format!("[{}, {}]", scalar(host), scalar(&format!("{host}:*")))
        };
        let name = if only_one { "mcp".to_owned() } else { scalar(host) };
        let (limit, cors) = (plan.body_limit.to_string(), cors(&targets)?);
        fill(
            include_str!("templates/host.yaml"),
            &[("name", &name), ("domains", &domains), ("body-limit", &limit), ("routes", &routes), ("cors", &cors)],
        )
    });
    let hosts = hosts.collect::<Result<String>>()?;
    let has_pages = plan.targets.iter().any(|target| !target.origins.is_empty());
    let cors_filter = if has_pages { include_str!("templates/cors-filter.yaml") } else { "" };
    fill(
        include_str!("templates/manager.yaml"),
        &[("cors", cors_filter), ("hosts", &hosts), ("discovery", &discovery(source)?), ("lock", lock())],
    )
}

fn route(target: &Target, cluster: &str, nowhere: &str) -> Result<String> {
    let rewrite = target.rewrite().map(|path| format!("prefix_rewrite: {}, ", scalar(path))).unwrap_or_default();
    fill(
        include_str!("templates/route.yaml"),
        &[
            ("name", &scalar(&target.name)),
            ("path", &scalar(&target.path)),
            ("cluster", &scalar(cluster)),
            ("rewrite", &rewrite),
            ("nowhere", &scalar(nowhere)),
            ("metadata-name", &scalar(&format!("{}-metadata", target.name))),
            ("metadata-path", &scalar(&format!("/.well-known/oauth-protected-resource{}", target.path))),
        ],
    )
}

/// What the cors filter says to pages.
fn cors(targets: &[&Target]) -> Result<String> {
    let mut origins: Vec<&String> = targets.iter().flat_map(|target| &target.origins).collect();
    origins.sort();
    origins.dedup();
    if origins.is_empty() {
        return Ok(String::new());
    }
    let origins: Vec<String> = origins.iter().map(|origin| format!("{{ exact: {} }}", scalar(origin))).collect();
    fill(include_str!("templates/cors.yaml"), &[("origins", &origins.join(", "))])
}
