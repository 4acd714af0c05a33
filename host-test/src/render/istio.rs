//! Istio: EnvoyFilters, and where Istio's own listener is kept, Gateway and VirtualService.

use anyhow::{Result, bail};

use super::plan::Target;
use super::template::fill;
use super::{Place, Plan, Rendered, Version, parts};
use crate::text::scalar;

/// Of Envoy, where none is said: what Istio 1.29 has.
pub(super) const VERSION: Version = Version(1, 37);

/// How the filter gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Way {
    /// The whole listener by one EnvoyFilter: without it there is no port. No Gateway, VirtualService, TLS or policies of Istio on it.
    Listener,
    /// Inserted into the listener of a Gateway, with a lock behind it. All of Istio is kept; with both lost everything is open.
    Inserted,
    /// Inserted first, with Istio's own checks and a lock behind it: with it and the lock lost whoever holds any valid token gets through.
    SecondWall,
    /// Refused: it cannot set what the filter needs.
    WasmPlugin,
    /// Refused: the same by another name.
    TrafficExtension,
}

/// `ads` and no time that it may take: without a policy the listener never opens.
const SOURCE: &str = "{ ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3 }";

pub(super) fn rendered(plan: &Plan, way: Way, namespace: &str, label: &[(String, String)]) -> Result<Vec<Rendered>> {
    let labels: Vec<String> =
        label.iter().map(|(name, value)| format!("{}: {}", scalar(name), scalar(value))).collect();
    let (labels, namespace) = (format!("{{ {} }}", labels.join(", ")), scalar(namespace));
    let istio = Istio { plan, namespace: &namespace, labels: &labels };
    let mut files = match way {
        Way::WasmPlugin | Way::TrafficExtension => bail!(
            "a WasmPlugin or TrafficExtension cannot set `allow_on_headers_stop_iteration`: every call that is permitted would be 503 `host_without_header_stop`, and a lost one would open the port. Use --way listener"
        ),
        Way::Listener => vec![istio.listener()?, istio.settings(&[])?],
        Way::Inserted => {
            vec![istio.settings(&istio.patches()?)?, istio.filter(false)?, istio.lock()?, istio.gateway()?]
        }
        Way::SecondWall => {
            vec![
                istio.settings(&istio.patches()?)?,
                istio.filter(true)?,
                istio.lock()?,
                istio.gateway()?,
                istio.second_wall()?,
            ]
        }
    };
    files.push(istio.policy()?);
    files.extend(parts::secrets(plan)?);
    Ok(files)
}

struct Istio<'i> {
    plan: &'i Plan,
    namespace: &'i str,
    labels: &'i str,
}

impl Istio<'_> {
    /// A template, with what all of them have.
    fn fill(&self, template: &str, holes: &[(&str, &str)]) -> Result<String> {
        let common = [("namespace", self.namespace), ("labels", self.labels)];
        fill(template, &[holes, &common].concat())
    }

    fn listener(&self) -> Result<Rendered> {
        let manager = parts::manager(self.plan, SOURCE, "BlackHoleCluster", outbound)?;
        let (address, port) =
            (scalar(&self.plan.proxy.listen.ip().to_string()), self.plan.proxy.listen.port().to_string());
        let text = self.fill(
            include_str!("templates/istio-listener.yaml"),
            &[("address", &address), ("port", &port), ("manager", &manager)],
        )?;
        Ok(Rendered { name: "listener.yaml", text })
    }

    /// The clusters that the policy names, behind these patches.
    fn settings(&self, patches: &[String]) -> Result<Rendered> {
        let clusters = parts::clusters(self.plan)?;
        let clusters = clusters
            .iter()
            .map(|(_, cluster)| fill(include_str!("templates/istio-patch-cluster.yaml"), &[("cluster", cluster)]));
        let all = [patches.concat(), clusters.collect::<Result<String>>()?].concat();
        let about = if patches.is_empty() {
            "With a listener of our own only clusters: where the filter fetches keys, and exchanges and revokes tokens."
        } else {
            "It changes with the servers, and not with the policy."
        };
        let text = self.fill(include_str!("templates/istio-settings.yaml"), &[("about", about), ("patches", &all)])?;
        Ok(Rendered { name: "settings.yaml", text })
    }

    /// What of Istio's own listener has to be otherwise.
    fn patches(&self) -> Result<Vec<String>> {
        let (routes, limit) = (scalar(&self.routes()), self.plan.body_limit.to_string());
        let manager =
            fill(include_str!("templates/istio-patch-manager.yaml"), &[("routes", &routes), ("body-limit", &limit)]);
        let each = self.plan.targets.iter().map(|target| {
            fill(
                include_str!("templates/istio-patch-route.yaml"),
                &[("routes", &routes), ("name", &scalar(&target.name))],
            )
        });
        std::iter::once(manager).chain(each).collect()
    }

    /// Istio's name for the routes of that port.
    fn routes(&self) -> String {
        let (address, port) = (self.plan.proxy.listen.ip(), self.plan.proxy.listen.port());
        if address.is_unspecified() { format!("http.{port}") } else { format!("http.{port}.{address}") }
    }

    fn filter(&self, first: bool) -> Result<Rendered> {
        let (operation, place, second) = if first {
            ("INSERT_FIRST", ANYWHERE, "whoever holds ANY VALID TOKEN gets through,")
        } else {
            ("INSERT_BEFORE", BEFORE_ROUTER, "THE PORT IS OPEN, which `--way listener` prevents,")
        };
        let patch = insert(operation, place, &parts::discovery(SOURCE)?)?;
        let text =
            self.fill(include_str!("templates/istio-filter.yaml"), &[("second", second), ("patches", &patch)])?;
        Ok(Rendered { name: "filter.yaml", text })
    }

    fn lock(&self) -> Result<Rendered> {
        let patch = insert("INSERT_BEFORE", BEFORE_ROUTER, parts::lock())?;
        let text = self.fill(include_str!("templates/istio-lock.yaml"), &[("patches", &patch)])?;
        Ok(Rendered { name: "lock.yaml", text })
    }

    fn gateway(&self) -> Result<Rendered> {
        let destination =
            |place: &Place| format!("{{ host: {}, port: {{ number: {} }} }}", scalar(&place.host), place.port);
        let routes = self.plan.targets.iter().map(|target| {
            let rewrite =
                target.rewrite().map(|path| format!("rewrite: {{ uri: {} }}", scalar(path))).unwrap_or_default();
            fill(
                include_str!("templates/istio-gateway-route.yaml"),
                &[
                    ("name", &scalar(&target.name)),
                    ("path", &scalar(&target.path)),
                    ("path-with-slash", &scalar(&format!("{}/", target.path.trim_end_matches('/')))),
                    ("rewrite", &rewrite),
                    ("destination", &destination(&target.upstream)),
                ],
            )
        });
        let routes = routes.collect::<Result<String>>()?;
        let rest = self.plan.targets.first().map(|target| destination(&target.upstream)).unwrap_or_default();
        let (address, port) = (self.plan.proxy.listen.ip(), self.plan.proxy.listen.port().to_string());
        let bind = if address.is_unspecified() {
            "bind: 0.0.0.0".to_owned()
        } else {
            format!("bind: {}", scalar(&address.to_string()))
        };
        let gateway = scalar(&format!("{}/mcp", self.namespace.trim_matches('"')));
        let text = self.fill(
            include_str!("templates/istio-gateway.yaml"),
            &[("bind", &bind), ("port", &port), ("gateway", &gateway), ("routes", &routes), ("rest", &rest)],
        )?;
        Ok(Rendered { name: "gateway.yaml", text })
    }

    fn second_wall(&self) -> Result<Rendered> {
        let mut rules = String::new();
        for (issuer, keys) in &self.plan.issuers {
            let Some(keys) = keys else {
                bail!("the keys of {issuer} are not fetched: Istio's RequestAuthentication needs their URL")
            };
            let (issuer, keys) = (scalar(issuer), scalar(keys));
            rules += &format!("- {{ issuer: {issuer}, jwksUri: {keys}, forwardOriginalToken: true }}\n");
        }
        let text = self.fill(include_str!("templates/istio-second-wall.yaml"), &[("rules", &rules)])?;
        Ok(Rendered { name: "second-wall.yaml", text })
    }

    fn policy(&self) -> Result<Rendered> {
        let text = self.fill(include_str!("templates/istio-policy.yaml"), &[("filter", &parts::filter(self.plan)?)])?;
        Ok(Rendered { name: "policy.yaml", text })
    }
}

const ANYWHERE: &str = "{ name: envoy.filters.network.http_connection_manager }";
const BEFORE_ROUTER: &str =
    "{ name: envoy.filters.network.http_connection_manager, subFilter: { name: envoy.filters.http.router } }";

/// A patch that puts a filter into Istio's listener.
fn insert(operation: &str, place: &str, filter: &str) -> Result<String> {
    let holes = [("operation", operation), ("match", place), ("filter", filter)];
    fill(include_str!("templates/istio-patch-insert.yaml"), &holes)
}

/// Istio's name for a service.
fn outbound(target: &Target) -> String {
    format!("outbound|{}||{}", target.upstream.port, target.upstream.host)
}
