//! `stepup check`: everything that is wrong with a policy, at once, where it stands; in the file that Envoy loads too.

mod deployed;
pub mod envoy;
mod file;
mod inside;
mod page;
mod text;

use std::fs;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use annotate_snippets::Renderer;
use anyhow::{Context as _, Result, bail};
use step_up_core::json::Value;
use step_up_core::{Environment, Millis, Policy};

use crate::policy::AnyCredential;
use crate::yaml;
use deployed::Content;
pub use envoy::guard;
use page::Page;

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Policies, as YAML; or what Envoy loads, with policies in it: discovery files, bootstraps, listeners.
    #[arg(required_unless_present = "envoy")]
    policies: Vec<PathBuf>,
    /// What Envoy runs: bootstraps, what a control plane serves it, the answer of `/config_dump?include_eds`. What of it is otherwise
    /// than the filter relies on, and what comes of that? Several files are one Envoy.
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
    let mut print = |findings: &Findings| {
        errors += findings.errors;
        warnings += findings.warnings;
        write!(stdout(), "{}", findings.text)
    };
    let mut policies = Vec::new();
    for path in &arguments.policies {
        let text = read(path)?;
        let findings = check(path, &text, &renderer);
        print(&findings)?;
        if findings.policies == 0 {
            without.push(path.display().to_string());
        }
        policies.push((path.as_path(), text));
    }
    if !arguments.envoy.is_empty() {
        let files: Result<Vec<_>> = arguments.envoy.iter().map(|path| Ok((path.as_path(), read(path)?))).collect();
        print(&check_envoy(&files?, &policies, &renderer)?)?;
    }
    if !without.is_empty() {
        bail!("{}: {NO_POLICY}", without.join(", "));
    }
    let failed = errors > 0 || (arguments.strict && warnings > 0);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Checks what an Envoy runs: these files, each with its text. The policies are those of the other files and those in these.
/// An error is about a file that cannot be read at all.
pub fn check_envoy(envoy: &[(&Path, String)], policies: &[(&Path, String)], renderer: &Renderer) -> Result<Findings> {
    let (mut found, mut files, mut known) = (Findings::default(), Vec::new(), Vec::new());
    for (path, text) in policies {
        // What is wrong with it has been said.
        let Ok(scan) = yaml::scan(text) else { continue };
        known.extend(self::known(&scan, text));
        if !deployed::is_policy(&scan.value) {
            files.push(envoy::File::read(path, text.clone(), true)?);
        }
    }
    for (path, text) in envoy {
        let file = envoy::File::read(path, text.clone(), false)?;
        file.policies(renderer, &mut found);
        known.extend(file.known());
        files.push(file);
    }
    envoy::check(&files, &known, renderer, &mut found);
    Ok(found)
}

/// The policies that a file is, or has, as far as they load.
pub fn that_load(text: &str) -> Vec<Policy> {
    let known = yaml::scan(text).map(|scan| known(&scan, text)).unwrap_or_default();
    known.into_iter().map(|known| known.policy).collect()
}

/// The same, with what the checks of Envoy want to know of them.
fn known(scan: &yaml::Scan, text: &str) -> Vec<envoy::Known> {
    let of = |tree: &Value<'static>| {
        Some(envoy::Known::new(Policy::from_value(tree, text.as_bytes(), &Assumed).ok()?, tree))
    };
    if deployed::is_policy(&scan.value) {
        return of(&scan.value).into_iter().collect();
    }
    let load = |content: &Content<'_>| match content {
        Content::Struct(tree) => of(tree),
        Content::Json(bytes) => {
            let tree = step_up_core::json::read_long(bytes).ok()?;
            Some(envoy::Known::new(Policy::load(bytes, &Assumed).ok()?, &tree))
        }
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
