//! A policy as the text of a StringValue: read as the filter reads it.

use std::borrow::Cow;
use std::ops::Range;

use step_up_core::{Fault, Policy};

use super::page::{Item, Page, Verdict, offset};
use super::{Assumed, Findings, inside};
use crate::yaml::{self, Kind, Oddity, Scan};

/// Checks such a text, which is written at `around` in the file.
pub(super) fn check(page: &Page<'_>, title: &str, bytes: &[u8], around: Range<usize>, found: &mut Findings) {
    let text = String::from_utf8_lossy(bytes);
    // JSON is YAML, and this reader knows where everything stands.
    let scan = yaml::scan(&text).ok();
    let text = Text { page, around, text, scan };
    let (loaded, twice) = (Policy::load(bytes, &Assumed), text.twice());
    if loaded.is_err() && !twice.is_empty() {
        return page.errors(title, &twice, &Verdict::Refused, found);
    }
    page.loaded(title, &loaded, |fault| text.fault(fault), found);
}

struct Text<'t> {
    page: &'t Page<'t>,
    around: Range<usize>,
    text: Cow<'t, str>,
    scan: Option<Scan>,
}

impl Text<'_> {
    fn twice(&self) -> Vec<Item> {
        let oddities = self.scan.iter().flat_map(|scan| &scan.oddities);
        let item = |odd: &Oddity| self.item(&odd.path, &odd.problem, "keep one of them", Some(odd.range.clone()));
        oddities.filter(|odd| odd.kind == Kind::Twice).map(item).collect()
    }

    fn fault(&self, fault: &Fault) -> Item {
        let of_value = || self.scan.as_ref().map(|scan| scan.places.of(&fault.path)).filter(|range| !range.is_empty());
        self.item(&fault.path, &fault.problem, &fault.help, self.end_of_json().or_else(of_value))
    }

    /// Where the text stops being JSON.
    fn end_of_json(&self) -> Option<Range<usize>> {
        let error = serde_json::from_str::<serde::de::IgnoredAny>(&self.text).err()?;
        let at = offset(&self.text, error.line(), error.column());
        Some(at..at + 1)
    }

    /// Shown where it stands; where that is not known, by its path.
    fn item(&self, path: &str, problem: &str, help: &str, part: Option<Range<usize>>) -> Item {
        let place = part.and_then(|part| inside::place(self.page.text, self.around.clone(), &self.text, part));
        match place {
            Some(place) => Item::new(problem, help, place),
            None => {
                let problem = if path.is_empty() { problem.to_owned() } else { format!("{path}: {problem}") };
                Item::new(&problem, help, self.page.first_line(self.around.clone()))
            }
        }
    }
}
