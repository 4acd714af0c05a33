//! Policy tests: one YAML file with what is given, what happens, and what must come of it.
//!
//! ```yaml
//! given:
//!   policy: ../policy.yaml
//!   tokens:
//!     reader: { scope: mcp:connect repo:read }
//! scenarios:
//!   - name: a write asks for its scope
//!     when: { tool: create_issue, token: reader }
//!     then: { status: 403, reason: scope_missing, challenge: { scope: mcp:connect repo:write } }
//! ```
//!
//! Everything a file may say is in `file.rs`; `world.rs` plays the token service and the upstream; `outcome.rs` says what is
//! compared, with the file and between hosts.

mod file;
mod outcome;
mod script;
mod world;

pub use file::{File, Given, Scenario};
pub use outcome::{Difference, Outcome};

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{fs, io};

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;
use simulated_proxy::Network;
use step_up_core::{RuleView, ServerView};

use crate::backend::{Backend, Script, in_time};
use crate::{policy, yaml};

/// A scenario with everything it needs, ready to be run again and again.
#[derive(Clone, Debug)]
pub struct Case {
    /// `file::name of the scenario`, as tests are filtered by.
    pub name: String,
    given: Given,
    scenario: Scenario,
    policy: Value,
    policy_file: PathBuf,
}

impl Case {
    /// A scenario that stands in no file.
    pub fn of(scenario: Scenario, policy: Value) -> Case {
        Case {
            name: scenario.name.clone(),
            given: scenario.given.clone(),
            scenario,
            policy,
            policy_file: PathBuf::new(),
        }
    }

    /// The same under another policy.
    pub fn under(&self, change: impl FnOnce(&mut Value)) -> Case {
        let mut case = self.clone();
        change(&mut case.policy);
        case
    }

    /// Another scenario under the same policy, with nothing given but what it says itself.
    pub fn instead(&self, scenario: Scenario) -> Case {
        Case { policy_file: self.policy_file.clone(), ..Case::of(scenario, self.policy.clone()) }
    }

    /// What becomes of it on a host.
    pub fn run(&self, backend: &dyn Backend) -> Result<Outcome> {
        let (run, (plan, world)) = in_time(backend, |clock| {
            let (plan, world) = self.set_up(clock)?;
            let run = backend.run(&plan.script, Rc::<RefCell<world::World>>::clone(&world))?;
            Ok((run, (plan, world)))
        })?;
        Ok(Outcome::of(&run, &plan, &world.borrow()))
    }

    /// What happens in it, spelled out, with the last request made so many times; and the world it happens in.
    pub fn script(&self, times: usize) -> Result<(Script, Rc<RefCell<dyn Network>>)> {
        let (plan, world) = self.set_up(None)?;
        let mut script = plan.script;
        let last = script.requests.last().cloned();
        script.requests.extend(last.into_iter().cycle().take(times.saturating_sub(1)));
        Ok((script, world))
    }

    fn set_up(&self, clock: Option<u64>) -> Result<(script::Plan, Rc<RefCell<world::World>>)> {
        let plan = script::Plan::new(&self.given, &self.scenario, &self.policy, clock)?;
        let world = Rc::new(RefCell::new(world::World::new(&self.given, &plan)?));
        Ok((plan, world))
    }

    /// Why real Envoy cannot be asked to repeat it, if it cannot.
    pub fn not_on_envoy(&self) -> Option<String> {
        self.scenario.needs_simulation(&self.given)
    }

    /// What is not as the file says.
    pub fn check(&self, outcome: &Outcome) -> Vec<Difference> {
        outcome.differences(&self.scenario.then)
    }

    /// What is wrong with what came of it in real Envoy: not as the file says, or not as it came out simulated.
    pub fn complaints(&self, real: &Outcome, simulated: Option<&Outcome>) -> Vec<String> {
        let wrong = self.check(real).into_iter().map(|difference| format!("envoy: {difference}"));
        let unlike = simulated.into_iter().flat_map(|simulated| simulated.compare(real));
        wrong.chain(unlike.map(|difference| format!("simulated and real differ: {difference}"))).collect()
    }

    /// The file of its policy.
    pub fn policy_name(&self) -> String {
        self.policy_file.display().to_string()
    }

    /// Rules that scenarios can exercise: server and pattern.
    pub fn rules(&self) -> Result<Vec<(String, String)>> {
        let policy = policy::loaded(&self.policy)?;
        let name = |server: ServerView<'_>, rule: RuleView<'_>| (server.name().to_owned(), rule.pattern().to_owned());
        let rules = |server: ServerView<'_>| server.rules().map(|rule| name(server, rule)).collect::<Vec<_>>();
        Ok(policy.view().servers().flat_map(rules).collect())
    }
}

/// All scenarios of a file, or of the files below a folder.
pub fn load(path: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for file in files(path)? {
        cases.extend(read(&file).with_context(|| file.display().to_string())?);
    }
    Ok(cases)
}

/// Files with scenarios: `*.yaml` and `*.yml` in folders that are called `tests`.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let entry = entry.path();
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if path.file_name().is_some_and(|name| name == "tests")
            && entry.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            found.push(entry);
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<Case>> {
    let file: File = serde_json::from_value(yaml::load(path)?)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    // policies/NAME/tests/FILE.yaml
    let owner = folder.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let prefix = owner.map_or_else(|| stem.to_string(), |owner| format!("{owner}::{stem}"));
    let (mut cases, mut policies) = (Vec::new(), BTreeMap::<PathBuf, Value>::new());
    for scenario in file.scenarios {
        if let Some(fault) = scenario.then.all().iter().find_map(file::Then::fault) {
            return Err(anyhow!("`{}`: {fault}", scenario.name));
        }
        let given = file.given.overridden(&scenario.given);
        let policy_file = folder.join(given.policy.as_deref().unwrap_or("../policy.yaml"));
        let policy = match policies.entry(policy_file.clone()) {
            Entry::Occupied(read) => read.get().clone(),
            Entry::Vacant(place) => place.insert(yaml::load(&policy_file)?).clone(),
        };
        let name = format!("{prefix}::{}", scenario.name);
        if cases.iter().any(|case: &Case| case.name == name) {
            return Err(anyhow!("two scenarios are called `{}`", scenario.name));
        }
        cases.push(Case { name, given, scenario, policy, policy_file });
    }
    Ok(cases)
}
