//! What holds for every policy and request, whatever they say.

use serde_json::{Value as Json, json};

use super::random::{self, Case};
use super::{decided, listed, load};

/// Of the ordinary run.
const SEEDS: std::ops::Range<u64> = 0..6_000;
/// Cases that say something, at least: else the generator is not to the point.
const FEWEST: usize = 300;

fn is_allowed(decided: &str) -> bool {
    ["permit", "anonymous", "drop"].contains(&decided)
}

/// Cases that the loader takes, changed in one way; `None` where there is nothing to change, or what comes of it does not load.
fn both(seed: u64, change: impl FnOnce(&mut Case) -> Option<()>) -> Option<(Case, String, String)> {
    let case = random::case(seed);
    let before = decided(&case, &load(&case)?);
    let mut changed = random::case(seed);
    change(&mut changed)?;
    let policy = load(&changed)?;
    let after = decided(&changed, &policy);
    Some((changed, before, after))
}

/// One more raise on a rule of the policy, taken from those of another.
fn raise_more(case: &mut Case, seed: u64) -> Option<()> {
    const MAPS: [&str; 4] = ["tools", "prompts", "resources", "methods"];
    let other = random::case(seed.wrapping_add(77_777)).policy;
    let raises = |map: &&str| other[*map].as_object().into_iter().flatten().filter_map(|(_, rule)| rule.get("raise"));
    let raise =
        MAPS.iter().flat_map(raises).flat_map(|raises| raises.as_array().cloned().unwrap_or_default()).next()?;
    let mut is_more = false;
    for map in MAPS {
        for (_, rule) in case.policy[map].as_object_mut().into_iter().flatten() {
            // Who looks for the way of a rule alone would find it by chance.
            let Some(rule) = rule.as_object_mut().filter(|rule| !rule.contains_key("deny")) else { continue };
            let more = rule.entry("raise").or_insert_with(|| json!([]));
            more.as_array_mut()?.push(raise.clone());
            is_more = true;
        }
    }
    is_more.then_some(())
}

/// Any scope but the last is taken out of the token.
fn hold_less(case: &mut Case, seed: u64) -> Option<()> {
    let claims = case.claims.as_mut()?;
    let held: Vec<String> = claims["scope"].as_str()?.split(' ').map(str::to_owned).collect();
    let gone = usize::try_from(seed).ok()? % held.len().max(1);
    let left: Vec<&str> =
        held.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, scope)| scope.as_str()).collect();
    claims["scope"] = json!(left.join(" "));
    Some(())
}

fn never_permits_more(name: &str, change: impl Fn(&mut Case, u64) -> Option<()>) {
    let mut refused = 0;
    for seed in SEEDS {
        let Some((case, before, after)) = both(seed, |case| change(case, seed)) else { continue };
        if !is_allowed(&before) {
            refused += 1;
            assert!(!is_allowed(&after), "{seed}: {name}: {before}, then {after}: {:#}\n{:#}", case.policy, case.frame);
        }
    }
    assert!(refused >= FEWEST, "{name}: only {refused} refusals were tried");
}

#[test]
fn p07_one_more_raise_never_turns_a_refusal_into_a_permit() {
    never_permits_more("one more raise", raise_more);
}

/// Without `standing: refuse`, which is about who holds too much.
#[test]
fn p03_one_scope_less_never_turns_a_refusal_into_a_permit() {
    never_permits_more("one scope less", |case, seed| {
        let refuses_standing = case.policy.to_string().contains("\"standing\":\"refuse\"");
        if refuses_standing { None } else { hold_less(case, seed) }
    });
}

#[test]
fn p16_what_is_not_denied_is_listed() {
    let mut not_denied = 0;
    for seed in SEEDS {
        let mut case = random::case(seed);
        let Some(policy) = load(&case) else { continue };
        let thing = case.list.1.clone();
        let arguments = case.frame["params"]["arguments"].clone();
        let (method, params) = match case.list.0 {
            "tools" => ("tools/call", json!({ "name": thing, "arguments": arguments })),
            "prompts" => ("prompts/get", json!({ "name": thing, "arguments": arguments })),
            "resources" => ("resources/read", json!({ "uri": thing })),
            _ => ("completion/complete", {
                json!({ "ref": { "type": "ref/resource", "uri": thing }, "argument": { "name": "x", "value": "a" } })
            }),
        };
        let meta = case.frame["params"]["_meta"].clone();
        case.frame = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        if meta.is_object() {
            case.frame["params"]["_meta"] = meta;
        }
        if case.frame["params"]["arguments"] == Json::Null {
            case.frame["params"].as_object_mut().unwrap().remove("arguments");
        }
        let called = decided(&case, &policy);
        let is_reachable =
            is_allowed(&called) || ["challenge", "login", "elevate"].iter().any(|kind| called.starts_with(kind));
        if is_reachable && let Some(is_listed) = listed(&case, &policy) {
            not_denied += 1;
            let Case { policy, frame, claims, .. } = &case;
            assert!(is_listed, "{seed}: {called}, but it is not listed: {frame}\n{claims:?}\n{policy}");
        }
    }
    assert!(not_denied >= FEWEST, "only {not_denied} lists were looked at");
}
