//! Keys change while callers call.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use host_test::stack::send;
use libtest_mimic::Trial;
use serde_json::json;

use super::trial;
use super::world::{Filter, World};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("rotation::twice_within_ten_seconds_under_traffic", |name| twice(name, true)),
        // No caller's token tells of the new key: the first that has it is one that was obtained.
        trial("rotation::twice_within_ten_seconds_under_exchanges_alone", |name| twice(name, false)),
    ]
}

/// What a call came to, and when.
struct Outcome {
    at: Duration,
    /// The status, and the reason that the client was told.
    what: String,
    good: bool,
}

/// Old tokens, new tokens and exchanges for old tokens.
#[derive(Default)]
struct Outcomes(Mutex<BTreeMap<&'static str, Vec<Outcome>>>);

impl Outcomes {
    fn call(&self, world: &World, begin: Instant, kind: &'static str, tool: &str, token: &str) -> Result<()> {
        let answer = send(&world.request(tool, token))?;
        let what = format!("{} {}", answer.status, answer.reason().unwrap_or_default());
        let outcome = Outcome { at: begin.elapsed(), what, good: answer.status == 200 };
        self.0.lock().unwrap().entry(kind).or_default().push(outcome);
        Ok(())
    }

    /// How many calls there were, and the refusals.
    fn of(&self, kind: &str) -> (usize, Vec<(Duration, String)>) {
        let outcomes = self.0.lock().unwrap();
        let all = outcomes.get(kind).map(Vec::as_slice).unwrap_or_default();
        let refused = all.iter().filter(|outcome| !outcome.good);
        (all.len(), refused.map(|outcome| (outcome.at, outcome.what.clone())).collect())
    }
}

const FIRST: Duration = Duration::from_secs(4);
const SECOND: Duration = Duration::from_secs(12);
const END: Duration = Duration::from_secs(35);
/// How long callers with a token of a new key may be put off.
const SECONDS: Duration = Duration::from_secs(5);

fn twice(name: &str, new_callers: bool) -> Result<()> {
    // The limits are not what this is about.
    let world = World::start_as(
        name,
        |_| Filter::good(),
        |_, policy| {
            policy["limits"] = json!({ "exchange_rate": 10_000, "exchanges_per_caller": 64 });
        },
    )?;
    let old = world.issuer.password("agent", "mcp:connect", "alice")?;
    world.elevated(&old)?;
    let (outcomes, done) = (Outcomes::default(), AtomicBool::new(false));
    let begin = Instant::now();
    scope(|threads| -> Result<()> {
        let running: Vec<_> = (0..4)
            .map(|_| {
                threads.spawn(|| -> Result<()> {
                    while !done.load(Ordering::Relaxed) {
                        outcomes.call(&world, begin, "old token", "echo", &old)?;
                        outcomes.call(&world, begin, "exchange", "show-token", &old)?;
                        if new_callers {
                            let new = world.issuer.password("agent", "mcp:connect", "bob")?;
                            outcomes.call(&world, begin, "new token", "echo", &new)?;
                        }
                        sleep(Duration::from_millis(100));
                    }
                    Ok(())
                })
            })
            .collect();
        let rotated = [(FIRST, 300), (SECOND, 400)].into_iter().try_for_each(|(at, priority)| {
            sleep(at.saturating_sub(begin.elapsed()));
            world.issuer.rotate(priority)
        });
        if rotated.is_ok() {
            sleep(END.saturating_sub(begin.elapsed()));
        }
        done.store(true, Ordering::Relaxed);
        for thread in running {
            thread.join().map_err(|_| anyhow::anyhow!("a caller panicked"))??;
        }
        rotated
    })?;

    let said = ["old token", "exchange", "new token"].map(|kind| (kind, outcomes.of(kind)));
    for (kind, (calls, refused)) in &said {
        println!("{kind}: {calls} calls, {} refused: {}", refused.len(), summary(refused));
    }
    println!("reasons in the records: {:?}", reasons(&world)?);
    let [(_, old), (_, exchanges), (_, new)] = said;
    ensure!(old.1.is_empty(), "tokens of the old key were refused: {}", summary(&old.1));
    ensure!(
        exchanges.1.is_empty(),
        "{} of {} exchanges were refused: {}",
        exchanges.1.len(),
        exchanges.0,
        summary(&exchanges.1)
    );
    let late = new.1.iter().filter(|(at, _)| ![FIRST, SECOND].iter().any(|from| (*from..*from + SECONDS).contains(at)));
    let late: Vec<_> = late.cloned().collect();
    ensure!(late.is_empty(), "tokens of a new key were refused after more than {SECONDS:?}: {}", summary(&late));
    Ok(())
}

/// How often each was the true one.
fn reasons(world: &World) -> Result<BTreeMap<String, usize>> {
    let mut reasons = BTreeMap::new();
    for entry in world.stack.access_log()? {
        *reasons.entry(entry["stepup"]["reason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    Ok(reasons)
}

/// What, how often, from when to when.
fn summary(refused: &[(Duration, String)]) -> String {
    let mut kinds: BTreeMap<&str, (usize, Duration, Duration)> = BTreeMap::new();
    for (at, what) in refused {
        let (count, _, last) = kinds.entry(what).or_insert((0, *at, *at));
        (*count, *last) = (*count + 1, *at);
    }
    let kinds = kinds.into_iter().map(|(what, (count, first, last))| {
        format!("{count} x {what} ({:.1} s to {:.1} s)", first.as_secs_f64(), last.as_secs_f64())
    });
    kinds.collect::<Vec<_>>().join(", ")
}
