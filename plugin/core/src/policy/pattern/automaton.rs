//! What patterns have in common: all of them are run at once over every text that makes a difference.

use std::collections::BTreeSet;

use super::plain::is_unreserved;
use super::{Part, Pattern};

/// More states than this are not looked at. A policy's own patterns stay far below.
const MOST_STATES: usize = 20_000;

/// One step of a pattern.
#[derive(Clone, Copy)]
enum Step {
    /// This byte.
    One(u8),
    /// Any number of these, none too.
    Some(Class),
    /// One of these.
    First(Class),
}

#[derive(Clone, Copy)]
enum Class {
    Unreserved,
    /// All but `?`, where the pattern has no query.
    Path,
    All,
}

impl Class {
    fn has(self, byte: u8) -> bool {
        match self {
            Class::Unreserved => is_unreserved(byte),
            Class::Path => byte != b'?',
            Class::All => true,
        }
    }
}

/// Where patterns may be: for each of them, by the number of steps behind it, whether it may be there.
type State = Vec<Vec<bool>>;

/// Is there a text of at most `longest` bytes that `both` match and none of `above` does?
pub(super) fn common(both: [&Pattern; 2], above: &[&Pattern], longest: usize) -> bool {
    let mut programs: Vec<Vec<Step>> = Vec::new();
    both.iter().chain(above).for_each(|pattern| programs.push(steps(pattern)));
    let bytes = representatives(&programs);
    let mut start = State::new();
    for program in &programs {
        let mut places = vec![false; program.len() + 1];
        reach(program, &mut places, 0);
        start.push(places);
    }
    let mut seen = BTreeSet::from([name(&start)]);
    let mut front = vec![start];
    for _ in 0..=longest {
        if front.iter().any(is_found) {
            return true;
        }
        let mut next = Vec::new();
        for state in &front {
            for byte in (0..=u8::MAX).filter(|byte| bytes.get(usize::from(*byte)) == Some(&true)) {
                let after = advanced(&programs, state, byte);
                if is_alive(&after) && seen.insert(name(&after)) {
                    next.push(after);
                }
            }
        }
        if next.is_empty() || seen.len() > MOST_STATES {
            return !next.is_empty();
        }
        front = next;
    }
    false
}

/// The first two are done, and none of the others.
fn is_found(state: &State) -> bool {
    let is_done = |places: &Vec<bool>| places.last() == Some(&true);
    state.iter().take(2).all(is_done) && !state.iter().skip(2).any(is_done)
}

fn is_alive(state: &State) -> bool {
    state.iter().take(2).all(|places| places.contains(&true))
}

/// A text for each state.
fn name(state: &State) -> String {
    let mut name = String::new();
    for places in state {
        places.iter().for_each(|place| name.push(if *place { '1' } else { '0' }));
        name.push(' ');
    }
    name
}

fn steps(pattern: &Pattern) -> Vec<Step> {
    let path = if pattern.has_query() { Class::All } else { Class::Path };
    let mut steps = Vec::new();
    for part in &pattern.parts {
        match part {
            Part::Literal(text) => steps.extend(text.bytes().map(Step::One)),
            Part::Star => steps.push(Step::Some(path)),
            Part::Variable(_) => steps.extend([Step::First(Class::Unreserved), Step::Some(Class::Unreserved)]),
            Part::Anything => steps.push(Step::Some(Class::All)),
        }
    }
    steps
}

/// Every byte that some pattern names, and one of each class beside them.
fn representatives(programs: &[Vec<Step>]) -> Vec<bool> {
    let mut bytes = vec![false; 256];
    let mut add = |byte: u8| bytes.get_mut(usize::from(byte)).into_iter().for_each(|there| *there = true);
    for step in programs.iter().flatten() {
        if let Step::One(byte) = step {
            add(*byte);
        }
    }
    [b'?', b'!'].into_iter().for_each(&mut add);
    let is_unnamed = |byte: &u8| is_unreserved(*byte) && bytes.get(usize::from(*byte)) == Some(&false);
    let unnamed = (b'0'..=b'z').find(is_unnamed);
    unnamed.and_then(|byte| bytes.get_mut(usize::from(byte))).into_iter().for_each(|there| *there = true);
    bytes
}

/// This place, and those that are reached from it without a byte.
fn reach(program: &[Step], places: &mut [bool], mut place: usize) {
    while let Some(there) = places.get_mut(place).filter(|there| !**there) {
        *there = true;
        if !matches!(program.get(place), Some(Step::Some(_))) {
            return;
        }
        place += 1;
    }
}

fn advanced(programs: &[Vec<Step>], state: &State, byte: u8) -> State {
    let mut next = State::new();
    for (program, places) in programs.iter().zip(state) {
        let mut after = vec![false; places.len()];
        for (place, step) in program.iter().enumerate().filter(|(place, _)| places.get(*place) == Some(&true)) {
            match step {
                Step::One(own) if *own == byte => reach(program, &mut after, place + 1),
                Step::First(class) if class.has(byte) => reach(program, &mut after, place + 1),
                Step::Some(class) if class.has(byte) => reach(program, &mut after, place),
                _ => {}
            }
        }
        next.push(after);
    }
    next
}
