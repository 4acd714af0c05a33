//! `stepup render`: what a proxy or a control plane is to be given, with every setting that the filter relies on. `plan` is what is
//! known of a deployment, `parts` what all of them have in common, and each kind of target has a module of its own; `template` fills the
//! YAML of `templates/`.

mod capabilities;
mod envoy;
mod gateway;
mod istio;
mod joined;
mod parts;
mod plan;
mod template;

use std::fs;
use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

pub use capabilities::CAPABILITIES;
use plan::{Place, Plan, Proxy, Version};

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// For what.
    #[command(subcommand)]
    target: Target,
}

/// What is rendered for.
#[derive(Clone, Debug, clap::Subcommand)]
enum Target {
    /// A bootstrap of plain Envoy.
    Envoy(Common),
    /// Istio: by default a listener of its own, which is closed by construction.
    Istio {
        #[command(flatten)]
        common: Common,
        /// How the filter gets in.
        #[arg(long, value_enum, default_value_t = istio::Way::Listener)]
        way: istio::Way,
        /// The namespace of the gateway.
        #[arg(long, default_value = "mcp")]
        namespace: String,
        /// The labels of the gateway's pods.
        #[arg(long, value_name = "LABEL=VALUE", value_parser = crate::serve::pair, default_value = "app=mcp-gw")]
        label: Vec<(String, String)>,
    },
    /// Envoy Gateway: a patch with its own lock, and a SecurityPolicy that locks beside it.
    EnvoyGateway {
        #[command(flatten)]
        common: Common,
        /// How the filter gets in. There is one way; the others are refused, with the reason.
        #[arg(long, value_enum, default_value_t = gateway::Way::Patch)]
        way: gateway::Way,
        /// The namespace of the Gateway.
        #[arg(long, default_value = "default")]
        namespace: String,
        /// The Gateway.
        #[arg(long, default_value = "mcp")]
        gateway: String,
        /// The Gateway's listeners by their port. Each needs operations of its own: name them all.
        #[arg(long, value_name = "PORT", default_value = "10000")]
        listener: Vec<u16>,
    },
}

/// What every target has to be told.
#[derive(Clone, Debug, clap::Args)]
struct Common {
    /// The policy.
    policy: PathBuf,
    /// Further servers, a file each, by their teams: `NAME.yaml` has what stands under `servers: { NAME: .. }`.
    #[arg(long, value_name = "FOLDER")]
    servers: Option<PathBuf>,
    /// The MCP server behind a server of the policy, with the path that it has there. Once for each.
    #[arg(long, value_name = "SERVER=HOST:PORT/PATH", value_parser = Place::pair, required = true)]
    upstream: Vec<(String, Place)>,
    /// Where a cluster of the policy is, if not where its URLs say.
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = Place::pair)]
    cluster: Vec<(String, Place)>,
    /// Where the proxy listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:10000")]
    listen: std::net::SocketAddr,
    /// The folder in which the proxy finds the module, the credential and, where it is a file, the policy.
    #[arg(long, value_name = "FOLDER", default_value = "/etc/step-up")]
    folder: String,
    /// Where the proxy finds the module, if not as step_up_filter.wasm in that folder.
    #[arg(long, value_name = "FILE")]
    module: Option<String>,
    /// The certificates by which https peers are verified.
    #[arg(long, value_name = "FILE", default_value = "/etc/ssl/certs/ca-certificates.crt")]
    ca: String,
    /// The version of Envoy: some settings have moved. Otherwise the one that this target was run with: 1.40, and for Istio 1.29's
    /// Envoy 1.37, for Envoy Gateway 1.9's 1.39.
    #[arg(long, value_name = "VERSION")]
    envoy_version: Option<Version>,
    /// Write a file each into this folder; otherwise all of them to standard output.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// A file that is rendered.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Its name.
    pub name: &'static str,
    /// YAML.
    pub text: String,
}

/// Renders. An error if the policy is not good, or something is not said.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let (common, files) = match arguments.target {
        Target::Envoy(common) => {
            let files = envoy::rendered(&common.plan(envoy::VERSION)?)?;
            (common, files)
        }
        Target::Istio { common, way, namespace, label } => {
            let files = istio::rendered(&common.plan(istio::VERSION)?, way, &namespace, &label)?;
            (common, files)
        }
        Target::EnvoyGateway { common, way, namespace, gateway, listener } => {
            way.or_say()?;
            let files = gateway::rendered(&common.plan(gateway::VERSION)?, &namespace, &gateway, &listener)?;
            (common, files)
        }
    };
    match common.out {
        None => {
            for (at, Rendered { name, text }) in files.iter().enumerate() {
                let between = if at == 0 { "" } else { "---\n" };
                write!(stdout(), "{between}# {name}\n{text}")?;
            }
        }
        Some(folder) => {
            fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            for Rendered { name, text } in files {
                let file = folder.join(name);
                fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
                eprintln!("{}", file.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Common {
    /// With the version of Envoy where none is said.
    fn plan(&self, version: Version) -> Result<Plan> {
        let document = joined::document(&self.policy, self.servers.as_deref())?;
        if self.folder.is_empty() {
            bail!("name a folder");
        }
        let folder = self.folder.trim_end_matches('/').to_owned();
        let proxy = Proxy {
            listen: self.listen,
            module: self.module.clone().unwrap_or_else(|| format!("{folder}/step_up_filter.wasm")),
            folder,
            ca: self.ca.clone(),
            version: self.envoy_version.unwrap_or(version),
        };
        Plan::of(&document, &self.upstream, &self.cluster, proxy)
    }
}
