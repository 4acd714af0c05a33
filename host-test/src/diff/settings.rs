//! What differs beside rules: whose tokens count, what bounds them, who gives tokens.

use step_up_core::{Became, Direction, Setting};

use super::Finding;
use super::findings::said;

/// Of the policy, its issuers and token services. What only one of them has is in the list of those, which differs.
pub(super) fn compare(old: &[Setting], new: &[Setting]) -> Vec<Finding> {
    let of_both =
        |setting: &&Setting| new.iter().find(|other| other.about == setting.about && other.name == setting.name);
    old.iter().filter_map(|setting| finding(&setting.about, setting, of_both(&setting)?)).collect()
}

/// Of one server, which may be called otherwise.
pub(super) fn of_servers(about: &str, old: &[Setting], new: &[Setting]) -> Vec<Finding> {
    let pairs = old.iter().filter_map(|old| Some((old, new.iter().find(|new| new.name == old.name)?)));
    let mut found: Vec<Finding> = pairs.filter_map(|(old, new)| finding(about, old, new)).collect();
    if let (Some(old), Some(new)) = (old.first(), new.first())
        && old.about != new.about
    {
        let (was, now) = (vec![old.about.clone()], vec![new.about.clone()]);
        let (about, what, client) = (about.to_owned(), "name of the server".to_owned(), String::new());
        found.push(Finding { became: Became::Changed, about, what, client, was, now });
    }
    found
}

fn finding(about: &str, old: &Setting, new: &Setting) -> Option<Finding> {
    let became = became(old, new)?;
    let only = |own: &Setting, other: &Setting| -> Vec<String> {
        match own.direction {
            Direction::More | Direction::Fewer => {
                own.value.iter().filter(|value| !other.value.contains(value)).cloned().collect()
            }
            Direction::Larger | Direction::Neither => said(&own.value, own.number),
        }
    };
    let (was, now) = (only(old, new), only(new, old));
    Some(Finding { became, about: about.to_owned(), what: old.name.to_owned(), client: String::new(), was, now })
}

fn became(old: &Setting, new: &Setting) -> Option<Became> {
    if old.value == new.value {
        return None;
    }
    let lacks = |own: &Setting, other: &Setting| own.value.iter().any(|value| !other.value.contains(value));
    let by_list = |weaker, stronger| match (lacks(new, old), lacks(old, new)) {
        (true, false) => weaker,
        (false, true) => stronger,
        _ => Became::Changed,
    };
    Some(match old.direction {
        Direction::More => by_list(Became::Weaker, Became::Stronger),
        Direction::Fewer => by_list(Became::Stronger, Became::Weaker),
        Direction::Neither => Became::Changed,
        Direction::Larger => {
            let bound = |setting: &Setting| setting.number.unwrap_or(u64::MAX);
            if bound(new) > bound(old) { Became::Weaker } else { Became::Stronger }
        }
    })
}
