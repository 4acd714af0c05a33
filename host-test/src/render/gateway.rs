//! Envoy Gateway: two locks, the patch, limits and routes.

use anyhow::{Result, bail};

use super::plan::Target;
use super::template::fill;
use super::{Plan, Rendered, Version, parts};
use crate::text::scalar;

/// Of Envoy, where none is said: what Envoy Gateway 1.9 brings.
pub(super) const VERSION: Version = Version(1, 39);

/// How the filter gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Way {
    /// An EnvoyPatchPolicy with a lock of its own, beside a SecurityPolicy that locks.
    Patch,
    /// Refused: it cannot set what the filter needs.
    ExtensionPolicy,
}

impl Way {
    pub(super) fn or_say(self) -> Result<()> {
        if self == Way::ExtensionPolicy {
            bail!(
                "an EnvoyExtensionPolicy cannot set `allow_on_headers_stop_iteration`, `failure_policy` and `reload_config`, and a route's own one replaces it: that route is open then. Use the patch"
            );
        }
        Ok(())
    }
}

pub(super) fn rendered(plan: &Plan, namespace: &str, gateway: &str, listeners: &[u16]) -> Result<Vec<Rendered>> {
    if plan.needs_named_routes {
        bail!(
            "no resource of Envoy Gateway gives a route the metadata that names the server, and this policy goes by nothing else: write `select: host` (P34)"
        );
    }
    let (namespace, gateway) = (scalar(namespace), scalar(gateway));
    let limit = match plan.body_limit {
        bytes if bytes % 1024 == 0 => format!("{}Ki", bytes / 1024),
        bytes => bytes.to_string(),
    };
    let common = [("namespace", namespace.as_str()), ("gateway", gateway.as_str()), ("body-limit", limit.as_str())];
    let filled = |template: &str, holes: &[(&str, &str)]| fill(template, &[holes, &common].concat());
    let (lock, discovery) = (parts::lock(), parts::discovery(&parts::from_file(plan))?);
    let mut patches = String::new();
    for port in listeners {
        let name = scalar(&format!("tcp-{port}"));
        let holes = [("listener", name.as_str()), ("lock", lock), ("discovery", &discovery)];
        patches += &fill(include_str!("templates/gateway-patch-listener.yaml"), &holes)?;
    }
    for (name, cluster) in parts::clusters(plan)? {
        let holes = [("name", name.as_str()), ("cluster", &cluster)];
        patches += &fill(include_str!("templates/gateway-patch-cluster.yaml"), &holes)?;
    }
    let routes = plan.targets.iter().map(|target| route(target, &common)).collect::<Result<String>>()?;
    let rest = plan.targets.first().map(|target| scalar(&target.name)).unwrap_or_default();
    let mut files = vec![
        Rendered { name: "lock.yaml", text: filled(include_str!("templates/gateway-lock.yaml"), &[])? },
        Rendered { name: "traffic.yaml", text: filled(include_str!("templates/gateway-traffic.yaml"), &[])? },
        Rendered {
            name: "patch.yaml",
            text: filled(include_str!("templates/gateway-patch.yaml"), &[("patches", &patches)])?,
        },
        Rendered {
            name: "routes.yaml",
            text: filled(include_str!("templates/gateway-routes.yaml"), &[("routes", &routes), ("rest", &rest)])?,
        },
        Rendered { name: "step-up.ecds.yaml", text: parts::policy_file(plan)? },
    ];
    files.extend(parts::secrets(plan)?);
    Ok(files)
}

fn route(target: &Target, common: &[(&str, &str)]) -> Result<String> {
    let rewrite = target.rewrite().map(|path| {
        let path = scalar(path);
        format!("- type: URLRewrite\n  urlRewrite: {{ path: {{ type: ReplaceFullPath, replaceFullPath: {path} }} }}")
    });
    let (host, port) = (scalar(&target.upstream.host), target.upstream.port);
    let endpoint = if target.upstream.is_address() {
        format!("{{ ip: {{ address: {host}, port: {port} }} }}")
    } else {
        format!("{{ fqdn: {{ hostname: {host}, port: {port} }} }}")
    };
    let (name, path) = (scalar(&target.name), scalar(&target.path));
    let with_slash = scalar(&format!("{}/", target.path.trim_end_matches('/')));
    let holes = [
        ("name", name.as_str()),
        ("path", &path),
        ("path-with-slash", &with_slash),
        ("rewrite", rewrite.as_deref().unwrap_or_default()),
        ("endpoint", &endpoint),
    ];
    fill(include_str!("templates/gateway-route.yaml"), &[&holes, common].concat())
}
