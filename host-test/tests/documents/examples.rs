//! The examples of the documents, run. What the info string of a fenced block says is what becomes of it:
//!
//! - `yaml policy`: it loads. Each warning stands as a comment `# warns: ...` at the line it is about, and no other is given.
//! - `yaml refused`: it does not load. Each fault stands as a comment `# refused: ...` at its line, and there is no other.
//! - `yaml scenario`: a policy with `given` and `scenarios` in the same map, as in a file of scenarios; run on the core and on
//!   the module, with the same outcome.
//! - `yaml frame`, `yaml frame exchange`: what the fragments of the page are completed with, and what those get besides that
//!   exchange.
//!
//! A comment holds a part of the problem's text. What concerns the policy as a whole stands at the first line. `whole` in the
//! info string: nothing is added. A path in it: that policy is the frame.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use host_test::backend::{Backend, Native, Wasm};
use host_test::scenario::{Case, Given, Scenario};
use host_test::yaml;
use libtest_mimic::{Failed, Trial};
use step_up_core::json::Value;
use step_up_core::{Fault, NoEnvironment, Policy};

use crate::Complaints;
use crate::page::{Block, Page, line_at};
use crate::tree::Tree;

/// Where the frames stand.
pub const LANGUAGE: &str = "docs/policy-language.md";

/// What a block is for. `None`: it is only shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Policy,
    Refused,
    Scenario,
}

impl Kind {
    pub fn of(block: &Block) -> Option<Kind> {
        let mut words = block.info.split_whitespace();
        match (words.next(), words.next()) {
            (Some("yaml"), Some("policy")) => Some(Kind::Policy),
            (Some("yaml"), Some("refused")) => Some(Kind::Refused),
            (Some("yaml"), Some("scenario")) => Some(Kind::Scenario),
            _ => None,
        }
    }
}

/// A trial for each example.
pub fn trials(tree: &'static Tree) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (path, text) in tree.ending(".md") {
        for block in Page::read(text).blocks {
            let Some(kind) = Kind::of(&block) else {
                if path == LANGUAGE && block.info.starts_with("yaml") && !block.info.starts_with("yaml frame") {
                    let name = format!("{path}::{}", block.line);
                    trials.push(Trial::test(name, || Err("an example that nobody runs".into())));
                }
                continue;
            };
            let point = block.section.split(' ').next().unwrap_or_default();
            let name = format!("{path}::{point}::{kind:?}::{}", block.line);
            trials.push(Trial::test(name, move || run(tree, &block, kind).map_err(|error| shown(&error, &block))));
        }
    }
    trials
}

fn shown(error: &anyhow::Error, block: &Block) -> Failed {
    let mut text = format!("{error:#}\n");
    for (at, line) in block.text.lines().enumerate() {
        let _ = writeln!(text, "{:5} {line}", block.line + at);
    }
    text.into()
}

fn run(tree: &Tree, block: &Block, kind: Kind) -> Result<()> {
    if kind == Kind::Scenario {
        return scenarios(tree, block);
    }
    let (found, word) = match loaded(tree, block)? {
        Ok(policy) => (policy.warnings().to_vec(), "warns"),
        Err(faults) => (faults, "refused"),
    };
    match kind {
        Kind::Refused => ensure!(word == "refused", "it loads"),
        _ => ensure!(word == "warns", "it does not load: {found:#?}"),
    }
    let places = yaml::read_with_places(&block.text).map(|(_, places)| places).unwrap_or_default();
    let line = |fault: &Fault| line_at(&block.text, places.of(&fault.path).start);
    let mut wanted = expected(block, word);
    for fault in &found {
        // The faults of YAML say where they stand themselves.
        let at = fault.path.strip_prefix("line ").and_then(|line| line.parse().ok()).unwrap_or_else(|| line(fault));
        let met = wanted.iter().position(|(line, text)| *line == at && fault.problem.contains(text.as_str()));
        match met {
            Some(met) => drop(wanted.remove(met)),
            None => bail!("line {at} does not say `# {word}: {}` ({})", fault.problem, fault.path),
        }
    }
    ensure!(wanted.is_empty(), "not found: {wanted:?}, but {found:#?}");
    Ok(())
}

/// Line (of the block, from 1) and text of each comment of that kind.
fn expected(block: &Block, word: &str) -> Vec<(usize, String)> {
    let mark = format!("# {word}: ");
    let lines = block.text.lines().enumerate();
    lines.flat_map(|(at, line)| line.split(&mark).skip(1).map(move |text| (at + 1, text.trim().to_owned()))).collect()
}

fn loaded(tree: &Tree, block: &Block) -> Result<Result<Policy, Vec<Fault>>> {
    let document = match yaml::read(&block.text) {
        Ok(document) => document,
        Err(fault) => {
            let (path, problem) = (format!("line {}", fault.line), fault.problem);
            return Ok(Err(vec![Fault { path, problem, help: String::new() }]));
        }
    };
    let Framed { policy, .. } = complete(tree, block, document)?;
    Ok(Policy::from_value(&policy, block.text.as_bytes(), &NoEnvironment))
}

fn scenarios(tree: &Tree, block: &Block) -> Result<()> {
    let Framed { policy, given, scenarios } = complete(tree, block, yaml::read(&block.text)?)?;
    let (policy, given) = (yaml::to_json(&policy), serde_json::from_value::<Given>(yaml::to_json(&given))?);
    let scenarios: Vec<Scenario> = serde_json::from_value(yaml::to_json(&scenarios))?;
    ensure!(!scenarios.is_empty(), "no scenario");
    for mut scenario in scenarios {
        scenario.given = given.overridden(&scenario.given);
        let case = Case::of(scenario, policy.clone());
        let run =
            |backend: &dyn Backend| case.run(backend).with_context(|| format!("{}: {}", case.name, backend.name()));
        let (native, wasm) = (run(&Native)?, run(&Wasm::new()?)?);
        for (outcome, host) in [(&native, "native"), (&wasm, "wasm")] {
            if let Some(difference) = case.check(outcome).first() {
                bail!("{}: {host}: {difference}\n{:#}", case.name, serde_json::json!(outcome.requests));
            }
        }
        if let Some(difference) = native.compare(&wasm).first() {
            bail!("{}: native and wasm differ: {difference}", case.name);
        }
    }
    Ok(())
}

/// A fragment within its frame.
struct Framed {
    policy: Value<'static>,
    given: Value<'static>,
    scenarios: Value<'static>,
}

fn complete(tree: &Tree, block: &Block, mut fragment: Value<'static>) -> Result<Framed> {
    let words: Vec<&str> = block.info.split_whitespace().skip(2).collect();
    let given = taken(&mut fragment, "given");
    let scenarios = taken(&mut fragment, "scenarios").unwrap_or_else(|| Value::List(Vec::new()));
    let mut whole = if words.contains(&"whole") {
        Value::Map(Vec::new())
    } else if let Some(policy) = words.iter().find(|word| word.contains('/')) {
        yaml::read(tree.text(policy))?
    } else {
        let page = Page::read(tree.text(LANGUAGE));
        let frame = |info: &str| -> Result<Value<'static>> {
            let block = page.blocks.iter().find(|block| block.info == info).with_context(|| format!("no `{info}`"))?;
            Ok(yaml::read(&block.text)?)
        };
        let is_exchange = yaml::to_json(&fragment).to_string().contains("exchange");
        let common = frame("yaml frame")?;
        if is_exchange { merged(common, frame("yaml frame exchange")?) } else { common }
    };
    if fragment.get("servers").is_some() {
        for name in ["resource", "baseline", "tools"] {
            taken(&mut whole, name);
        }
    }
    let common = taken(&mut whole, "given").unwrap_or_else(|| Value::Map(Vec::new()));
    let given = merged(common, given.unwrap_or_else(|| Value::Map(Vec::new())));
    Ok(Framed { policy: merged(whole, fragment), given, scenarios })
}

fn taken(map: &mut Value<'static>, name: &str) -> Option<Value<'static>> {
    let Value::Map(members) = map else { return None };
    let at = members.iter().position(|(member, _)| member == name)?;
    Some(members.remove(at).1)
}

/// Map by map, in the order that is written; but rules are the fragment's own, because they look at each other.
fn merged(mut frame: Value<'static>, fragment: Value<'static>) -> Value<'static> {
    if !matches!((&frame, &fragment), (Value::Map(_), Value::Map(_))) {
        return fragment;
    }
    let Value::Map(members) = fragment else { return frame };
    for (name, value) in members {
        let old = taken(&mut frame, &name).filter(|_| name != "tools");
        let value = old.map_or(value.clone(), |old| merged(old, value));
        if let Value::Map(members) = &mut frame {
            members.push((name, value));
        }
    }
    frame
}

/// The example policies.
pub fn policies(tree: &Tree) -> Complaints {
    let mut complaints = Vec::new();
    let mut seen = 0;
    for (path, text) in tree.ending("/policy.yaml").filter(|(path, _)| path.starts_with("policies/")) {
        seen += 1;
        match yaml::read(text).map(|document| Policy::from_value(&document, text.as_bytes(), &NoEnvironment)) {
            Ok(Ok(policy)) => complaints.extend(policy.warnings().iter().map(|warning| format!("{path}: {warning}"))),
            Ok(Err(faults)) => complaints.extend(faults.iter().map(|fault| format!("{path}: {fault}"))),
            Err(fault) => complaints.push(format!("{path}:{fault}")),
        }
    }
    // What a reader meets first.
    for (page, kind) in [("README.md", Kind::Policy), ("policies/README.md", Kind::Scenario)] {
        if !Page::read(tree.text(page)).blocks.iter().any(|block| Kind::of(block) == Some(kind)) {
            complaints.push(format!("{page} has no example of the kind {kind:?}"));
        }
    }
    if seen < 6 {
        complaints.push(format!("only {seen} policies were found"));
    }
    complaints
}
