//! `stepup check`: everything that is wrong with a policy, at once, where it stands; in the file that Envoy loads too.

mod deployed;
mod file;
mod inside;
mod page;
mod routes;
mod text;

use std::fs;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use annotate_snippets::Renderer;
use anyhow::{Context as _, Result, bail};
use step_up_core::{Environment, Millis, Policy};

use crate::policy::AnyCredential;
use crate::yaml;
use deployed::Content;
use page::Page;

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Policies, as YAML; or what Envoy loads, with policies in it: discovery files, bootstraps, listeners.
    #[arg(required = true)]
    policies: Vec<PathBuf>,
    /// What Envoy runs: bootstraps, listeners, route configurations, dumps of them. Do their routes send a path with a final slash
    /// and the one without it alike, as the filter judges them (P29)?
    #[arg(long, value_name = "FILE")]
    envoy: Vec<PathBuf>,
    /// Warnings are errors.
    #[arg(long)]
    strict: bool,
}

/// What was found in one file.
#[derive(Debug, Default)]
pub struct Findings {
    /// As it is printed.
    pub text: String,
    /// Faults: the filter would refuse the policy, or Envoy would hand it another one.
    pub errors: usize,
    /// What is allowed and rarely meant.
    pub warnings: usize,
    /// How many policies there are. Without any, nothing was checked.
    pub policies: usize,
}

/// Checks all of them. 0: they will load; 1: one will not. An error if a file has no policy.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let renderer = renderer();
    let (mut errors, mut warnings, mut without) = (0, 0, Vec::new());
    let mut policies = Vec::new();
    for path in &arguments.policies {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let findings = check(path, &text, &renderer);
        write!(stdout(), "{}", findings.text)?;
        errors += findings.errors;
        warnings += findings.warnings;
        if findings.policies == 0 {
            without.push(path.display().to_string());
        }
        policies.extend(that_load(&text));
    }
    for path in &arguments.envoy {
        let findings = check_routes(path, &policies)?;
        write!(stdout(), "{}", findings.text)?;
        errors += findings.errors;
        warnings += findings.warnings;
    }
    if !without.is_empty() {
        bail!("{}: {NO_POLICY}", without.join(", "));
    }
    let failed = errors > 0 || (arguments.strict && warnings > 0);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Do the routes in this file send both spellings of the policies' paths alike?
pub fn check_routes(path: &Path, policies: &[Policy]) -> Result<Findings> {
    let mut found = Findings::default();
    routes::check(&path.display().to_string(), &yaml::load(path)?, policies, &mut found);
    Ok(found)
}

/// The policies that a file is, or has, as far as they load.
pub fn that_load(text: &str) -> Vec<Policy> {
    let Ok(scan) = yaml::scan(text) else { return Vec::new() };
    if deployed::is_policy(&scan.value) {
        return Policy::from_value(&scan.value, text.as_bytes(), &Assumed).into_iter().collect();
    }
    let load = |content: &Content<'_>| match content {
        Content::Struct(tree) => Policy::from_value(tree, text.as_bytes(), &Assumed).ok(),
        Content::Json(bytes) => Policy::load(bytes, &Assumed).ok(),
        Content::Alias | Content::Misplaced | Content::Foreign => None,
    };
    deployed::deliveries(&scan.value).iter().filter_map(|delivery| load(&delivery.content)).collect()
}

const NO_POLICY: &str = "there is no policy to check: the file is none, and no wasm filter in it has one as its \
    `configuration`. Name a policy.yaml, or the file that has the configuration of the filter: the discovery file, where it \
    comes by discovery";

/// In colour for people.
pub(crate) fn renderer() -> Renderer {
    if stdout().is_terminal() { Renderer::styled() } else { Renderer::plain() }
}

/// Checks the policy that a file is, or those in it. Secrets from the environment are taken to be there.
pub fn check(path: &Path, text: &str, renderer: &Renderer) -> Findings {
    let page = Page { name: path.display().to_string(), text, renderer };
    let mut found = Findings::default();
    match yaml::scan(text) {
        Err(fault) => file::unreadable(&page, &fault, &mut found),
        Ok(scan) if deployed::is_policy(&scan.value) => file::policy(&page, &scan, &mut found),
        Ok(scan) => file::deployed(&page, &scan, is_json(path), &mut found),
    }
    found
}

/// Envoy goes by the name.
fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// What a policy reads from its environment when it is loaded.
struct Assumed;

impl Environment for Assumed {
    fn variable(&self, name: &str) -> Option<String> {
        AnyCredential.variable(name)
    }

    fn session_key(&self, name: &str) -> Option<String> {
        AnyCredential.session_key(name)
    }

    fn now(&self) -> Option<Millis> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok().map(Millis)
    }
}
