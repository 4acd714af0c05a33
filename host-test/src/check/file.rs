//! A file: it is a policy, or has some.

use std::ops::Range;

use step_up_core::{Fault, Policy, join};

use super::deployed::{self, Content, Delivery};
use super::page::{Item, Page, Verdict, offset};
use super::{Assumed, Findings, text};
use crate::yaml::{self, Kind, Oddity, Scan};

pub(super) fn unreadable(page: &Page<'_>, fault: &yaml::Fault, found: &mut Findings) {
    let at = offset(page.text, fault.line, fault.column);
    let help = match fault.problem.as_str() {
        problem if problem.contains("tab") => "indent with spaces",
        problem if problem.contains("escape code") => "write the character itself",
        yaml::SEVERAL => "Envoy reads the first one only; check each as a file of its own",
        _ => "",
    };
    let word = page.text.get(at..).and_then(|rest| rest.find([' ', ':', '\n']));
    let place = at..at + word.unwrap_or(1).max(1);
    found.policies = 1;
    let verdict = if fault.problem == yaml::SEVERAL { Verdict::Unclear } else { Verdict::Refused };
    page.errors(&page.name, &[Item::new(&fault.problem, help, place)], &verdict, found);
}

/// The file is a policy.
pub(super) fn policy(page: &Page<'_>, scan: &Scan, found: &mut Findings) {
    found.policies = 1;
    let odd = scan.oddities.iter().filter(|odd| odd.kind != Kind::TwoReadings);
    let odd: Vec<_> = odd.collect();
    let loaded = Policy::from_value(&scan.value, page.text.as_bytes(), &Assumed);
    // P18: all faults at once; what an oddity hides has been said.
    if !odd.is_empty() {
        let faults = loaded.as_ref().err().into_iter().flatten();
        let faults = faults.map(|fault| (fault, page.place(&scan.places, &fault.path)));
        let is_said = |fault: &Fault, place: &Range<usize>| {
            let is_there = |odd: &&&Oddity| odd.range.start < place.end && place.start < odd.range.end;
            odd.iter().filter(is_there).any(|odd| is_within(&fault.path, &odd.path))
        };
        let mut items: Vec<_> = odd.iter().map(|odd| Item::new(&odd.problem, &help(odd), odd.range.clone())).collect();
        items.extend(
            faults.filter(|(fault, place)| !is_said(fault, place)).map(|(fault, place)| Item::of(fault, place)),
        );
        return page.errors(&page.name, &items, &Verdict::Refused, found);
    }
    page.loaded(&page.name, &loaded, |fault| Item::of(fault, page.place(&scan.places, &fault.path)), found);
}

/// What to do about it in a policy, and where it is.
fn help(odd: &Oddity) -> String {
    let what = match odd.kind {
        Kind::Twice => "keep one of them",
        Kind::Merge | Kind::Indirect => "write out what is meant, here",
        Kind::Key => "put it in quotes, if it is a name",
        Kind::TwoReadings => "put it in quotes",
    };
    if odd.path.is_empty() { what.to_owned() } else { format!("{what} (`{}`)", odd.path) }
}

/// The file is Envoy's.
pub(super) fn deployed(page: &Page<'_>, scan: &Scan, is_json: bool, found: &mut Findings) {
    let deliveries = deployed::deliveries(&scan.value);
    for delivery in &deliveries {
        Deployed { page, scan, is_json, delivery }.check(found);
    }
    let policies = || deliveries.iter().filter(|delivery| !matches!(delivery.content, Content::Foreign));
    let is_elsewhere = |odd: &&Oddity| !policies().any(|delivery| is_within(&odd.path, &delivery.path));
    // An anchor is Envoy's affair; what is said twice may be the filter itself.
    let odd = scan.oddities.iter().filter(|odd| matches!(odd.kind, Kind::Twice | Kind::Merge)).filter(is_elsewhere);
    let odd: Vec<_> = odd.map(explained).collect();
    if !odd.is_empty() {
        page.errors(&format!("{}: outside of policies", page.name), &odd, &Verdict::Unclear, found);
    }
}

/// One configuration of a wasm filter.
struct Deployed<'d> {
    page: &'d Page<'d>,
    scan: &'d Scan,
    is_json: bool,
    delivery: &'d Delivery<'d>,
}

impl Deployed<'_> {
    fn check(&self, found: &mut Findings) {
        let title = self.title();
        if let Content::Foreign = self.delivery.content {
            found.text += &format!("{title}: its configuration is not a policy, and was not checked\n");
            return;
        }
        found.policies += 1;
        let unclear = self.unclear();
        match &self.delivery.content {
            _ if !unclear.is_empty() => self.page.errors(&title, &unclear, &Verdict::Unclear, found),
            Content::Struct(tree) => {
                let text = yaml::to_json(tree).to_string();
                let loaded = Policy::from_value(tree, text.as_bytes(), &Assumed);
                self.page.loaded(&title, &loaded, |fault| Item::of(fault, self.place(&fault.path)), found);
            }
            Content::Json(bytes) => text::check(self.page, &title, bytes, self.place(""), found),
            _ => {
                let help = "put the policy under `value`, beside the `@type` of a Struct";
                let misplaced = Item::new("a policy where Envoy does not look for it", help, self.configuration());
                self.page.errors(&title, &[misplaced], &Verdict::Refused, found);
            }
        }
    }

    fn title(&self) -> String {
        let before = self.page.text.get(..self.configuration().start).unwrap_or_default();
        format!("{}: filter {}, line {}", self.page.name, self.delivery.filter, before.matches('\n').count() + 1)
    }

    /// What Envoy may hand over otherwise than it is written.
    fn unclear(&self) -> Vec<Item> {
        let odd = self.scan.oddities.iter().filter(|odd| is_within(&odd.path, &self.delivery.path));
        odd.filter(|odd| !(self.is_json && odd.kind == Kind::TwoReadings)).map(explained).collect()
    }

    fn configuration(&self) -> Range<usize> {
        self.page.place(&self.scan.places, &self.delivery.path)
    }

    /// Of a value of the policy.
    fn place(&self, path: &str) -> Range<usize> {
        let value = join(&self.delivery.path, "value");
        let dot = if path.is_empty() { "" } else { "." };
        self.page.place(&self.scan.places, &format!("{value}{dot}{path}"))
    }
}

fn explained(odd: &Oddity) -> Item {
    let help = match odd.kind {
        Kind::Twice => "keep one of them: Envoy takes the last one, and says nothing",
        Kind::TwoReadings => {
            "put a text in quotes; of numbers, a Struct of YAML keeps small whole ones, and JSON in a StringValue keeps all"
        }
        Kind::Merge | Kind::Indirect | Kind::Key => "",
    };
    Item::new(&odd.problem, help, odd.range.clone())
}

/// Is that the place of this value, or of one inside of it?
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
