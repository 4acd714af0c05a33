//! What the key of a rule stands for: one name, or all that fit between its literals (P1, P19, P20).

mod automaton;
mod index;
mod plain;
mod read;

use std::cmp::Ordering;

pub(crate) use index::Patterns;
pub(crate) use plain::{has_plain_characters, is_plain, is_plain_uri};

/// A key, taken apart. Without a gap it is exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `*`: any text, the empty one too; without a query where the pattern has none.
    Star,
    /// `{name}`: 1 to 64 unreserved characters (RFC 3986 2.3).
    Variable(String),
    /// What a template of the server's has beyond RFC 6570 level 1: anything.
    Anything,
}

/// The most characters of a variable's value (P19).
const LONGEST_VALUE: usize = 64;

impl Pattern {
    /// `None` where there is a gap.
    pub(crate) fn exact(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// How many literal characters it has: the more, the more specific (P1).
    pub(crate) fn literals(&self) -> usize {
        self.literal_parts().map(str::len).sum()
    }

    /// What every text begins with that it matches.
    fn head(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            _ => "",
        }
    }

    /// What every such text ends with, behind the last gap.
    fn tail(&self) -> &str {
        match self.parts.last() {
            Some(Part::Literal(text)) if self.parts.len() > 1 => text,
            _ => "",
        }
    }

    /// One of the texts that it matches.
    pub(crate) fn sample(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            text.push_str(match part {
                Part::Literal(literal) => literal,
                Part::Anything if text.is_empty() => "any:value",
                Part::Anything | Part::Star | Part::Variable(_) => "any-value",
            });
        }
        text
    }

    /// A text that this one and another match, each with one gap. `None`: there is none, or it is not as simple as that.
    pub(crate) fn common_sample(&self, other: &Pattern) -> Option<String> {
        let longer = |one: &str, two: &str| {
            let (long, short) = if one.len() >= two.len() { (one, two) } else { (two, one) };
            (long.to_owned(), short.to_owned())
        };
        let (head, shorter_head) = longer(self.head(), other.head());
        let (tail, shorter_tail) = longer(self.tail(), other.tail());
        if !head.starts_with(&shorter_head) || !tail.ends_with(&shorter_tail) {
            return None;
        }
        let text = format!("{head}any-value{tail}");
        (self.matches(&text) && other.matches(&text)).then_some(text)
    }

    /// How it lies to one that begins and ends so: by head, then by tail from its end.
    fn order(&self, head: &str, tail: &str) -> Ordering {
        self.head().cmp(head).then_with(|| self.tail().bytes().rev().cmp(tail.bytes().rev()))
    }

    fn literal_parts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(text.as_str()),
            Part::Star | Part::Variable(_) | Part::Anything => None,
        })
    }

    /// The same in ASCII lower case, for P1's second look.
    pub(crate) fn folded(&self) -> Pattern {
        let fold = |part: &Part| match part {
            Part::Literal(text) => Part::Literal(text.to_ascii_lowercase()),
            other => other.clone(),
        };
        Pattern { parts: self.parts.iter().map(fold).collect() }
    }

    /// Is it a pattern for this text? The text is plain.
    pub(crate) fn matches(&self, text: &str) -> bool {
        if let Some(exact) = self.exact() {
            return exact == text;
        }
        if self.has_variables() {
            return self.ways(text).is_some();
        }
        let rest = text.strip_prefix(self.head()).and_then(|rest| rest.strip_suffix(self.tail()));
        rest.is_some_and(|rest| !rest.contains('?') || self.has_query())
    }

    /// The variables of a template and what they stand for in this URI. `None`: it does not match, or in more than one way, so that
    /// nobody knows what they stand for.
    pub(crate) fn variables<'t>(&self, text: &'t str) -> Option<Vec<(&str, &'t str)>> {
        let ends = self.ways(text)??;
        let mut values = Vec::new();
        let mut start = 0;
        for (part, end) in self.parts.iter().zip(ends) {
            if let Part::Variable(name) = part {
                values.push((name.as_str(), text.get(start..end)?));
            }
            start = end;
        }
        Some(values)
    }

    /// Of its variables.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) | Part::Star | Part::Anything => None,
        })
    }

    pub(crate) fn has_variables(&self) -> bool {
        self.names().next().is_some()
    }

    fn has_query(&self) -> bool {
        self.literal_parts().any(|text| text.contains('?'))
    }

    /// Where each part ends, if there is exactly one way; `Some(None)`: there are several. Linear in the text for one template.
    fn ways(&self, text: &str) -> Option<Option<Vec<usize>>> {
        /// A place up to which the parts so far fit: where the last of them began, and whether it could have begun elsewhere.
        type Reached = Vec<(usize, usize, bool)>;
        let mut steps: Vec<Reached> = vec![vec![(0, 0, true)]];
        for part in &self.parts {
            let from = steps.last()?;
            let mut next: Reached = Vec::new();
            let mut reach = |end: usize, start: usize, is_only: bool| match next.binary_search_by_key(&end, |way| way.0)
            {
                Ok(at) => next.get_mut(at).into_iter().for_each(|way| way.2 = false),
                Err(at) => next.insert(at, (end, start, is_only)),
            };
            for (start, _, is_only) in from {
                let rest = text.get(*start..)?;
                match part {
                    Part::Literal(literal) if rest.starts_with(literal.as_str()) => {
                        reach(start + literal.len(), *start, *is_only);
                    }
                    Part::Variable(_) => {
                        let fits = rest.bytes().take(LONGEST_VALUE).take_while(|byte| plain::is_unreserved(*byte));
                        (1..=fits.count()).for_each(|length| reach(start + length, *start, *is_only));
                    }
                    Part::Literal(_) | Part::Star | Part::Anything => {}
                }
            }
            steps.push(next);
        }
        let mut at = text.len();
        let mut ends = Vec::new();
        let mut is_only = true;
        for reached in steps.iter().skip(1).rev() {
            let found = reached.binary_search_by_key(&at, |way| way.0).ok()?;
            let (end, start, only) = reached.get(found)?;
            is_only &= only;
            ends.push(*end);
            at = *start;
        }
        ends.reverse();
        Some(is_only.then_some(ends))
    }

    /// Is there a text of at most `longest` bytes that this one and `other` match, and none of `above` does? Where that is too much to
    /// find out, there is.
    pub(crate) fn meets(&self, other: &Pattern, above: &[&Pattern], longest: usize) -> bool {
        automaton::common([self, other], above, longest)
    }

    /// The same, of patterns that are near each other: most have one `*`, and need no search.
    pub(crate) fn is_met_by(&self, other: &Pattern, longest: usize) -> bool {
        let is_simple = |own: &Pattern| !own.has_variables() && !own.has_query();
        let length = self.head().len().max(other.head().len()) + self.tail().len().max(other.tail().len());
        (is_simple(self) && is_simple(other) && length <= longest) || self.meets(other, &[], longest)
    }
}
