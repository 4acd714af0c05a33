//! Many patterns, indexed so that a look-up costs the same with ten of them and with ten thousand.

use std::cell::Cell;
use std::cmp::Ordering;
use std::ops::Range;

use super::Pattern;

/// Patterns by position.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    all: Vec<Pattern>,
    /// Those without a gap, by text.
    exact: Vec<usize>,
    /// All others. Those with the most literal characters first, as far as a shape tells.
    shapes: Vec<Shape>,
}

/// The patterns whose first and last literals are of these lengths: `*` alone has neither.
#[derive(Debug)]
struct Shape {
    head: usize,
    tail: usize,
    /// Literal characters, at most.
    most: usize,
    /// By head, then by tail from its end.
    members: Vec<usize>,
}

impl Patterns {
    pub(crate) fn new(all: Vec<Pattern>) -> Patterns {
        let mut patterns = Patterns { all, exact: Vec::new(), shapes: Vec::new() };
        for (at, pattern) in patterns.all.iter().enumerate() {
            if pattern.exact().is_some() {
                patterns.exact.push(at);
                continue;
            }
            let (head, tail, most) = (pattern.head().len(), pattern.tail().len(), pattern.literals());
            match patterns.shapes.iter_mut().find(|shape| (shape.head, shape.tail) == (head, tail)) {
                Some(shape) => {
                    shape.most = shape.most.max(most);
                    shape.members.push(at);
                }
                None => patterns.shapes.push(Shape { head, tail, most, members: vec![at] }),
            }
        }
        let text = |at: usize| patterns.all.get(at).map(Pattern::head).unwrap_or_default();
        sort(&mut patterns.exact, &|a, b| text(a).cmp(text(b)));
        for shape in &mut patterns.shapes {
            sort(&mut shape.members, &|a, b| match (patterns.all.get(a), patterns.all.get(b)) {
                (Some(a), Some(b)) => a.order(b.head(), b.tail()),
                _ => Ordering::Equal,
            });
        }
        let mut order: Vec<usize> = (0..patterns.shapes.len()).collect();
        let key = |at: usize| patterns.shapes.get(at).map(|shape| (shape.most, shape.head));
        sort(&mut order, &|a, b| key(b).cmp(&key(a)));
        let mut shapes: Vec<Option<Shape>> = patterns.shapes.into_iter().map(Some).collect();
        let shapes = order.into_iter().filter_map(|at| shapes.get_mut(at)?.take()).collect();
        Patterns { shapes, ..patterns }
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Pattern> {
        self.all.get(at)
    }

    /// The one that is this text.
    pub(crate) fn exactly(&self, text: &str) -> Option<usize> {
        let of = |at: &usize| self.all.get(*at).map(Pattern::head);
        let found = self.exact.binary_search_by(|at| of(at).cmp(&Some(text))).ok()?;
        self.exact.get(found).copied()
    }

    /// P1: the exact one, else that with the most literal characters. The text is plain.
    pub(crate) fn select(&self, text: &str) -> Option<usize> {
        if let Some(exact) = self.exactly(text) {
            return Some(exact);
        }
        let mut best: Option<(usize, usize)> = None;
        for shape in &self.shapes {
            if best.is_some_and(|(literals, _)| literals >= shape.most) {
                break;
            }
            for at in self.of_shape(shape, text) {
                let Some(pattern) = self.all.get(*at).filter(|pattern| pattern.matches(text)) else { continue };
                let literals = pattern.literals();
                if best.is_none_or(|(most, _)| most < literals) {
                    best = Some((literals, *at));
                }
            }
        }
        best.map(|(_, at)| at)
    }

    /// All patterns with a gap that match it.
    pub(crate) fn matching(&self, text: &str) -> Vec<usize> {
        let mut found = Vec::new();
        for shape in &self.shapes {
            for at in self.of_shape(shape, text) {
                if self.all.get(*at).is_some_and(|pattern| pattern.matches(text)) {
                    found.push(*at);
                }
            }
        }
        found
    }

    /// Those that begin and end as the text does.
    fn of_shape<'s>(&'s self, shape: &'s Shape, text: &str) -> &'s [usize] {
        let Some(between) = text.len().checked_sub(shape.head + shape.tail) else { return &[] };
        let (Some(head), Some(tail)) = (text.get(..shape.head), text.get(shape.head + between..)) else { return &[] };
        // One alone is looked at sooner than searched for.
        if shape.members.len() == 1 {
            return &shape.members;
        }
        let found = self.range(shape, &|pattern| pattern.order(head, tail));
        shape.members.get(found).unwrap_or_default()
    }

    fn range(&self, shape: &Shape, order: &dyn Fn(&Pattern) -> Ordering) -> Range<usize> {
        let of = |at: &usize| self.all.get(*at).map_or(Ordering::Greater, order);
        let start = shape.members.partition_point(|at| of(at) == Ordering::Less);
        let end = shape.members.partition_point(|at| of(at) != Ordering::Greater);
        start..end.max(start)
    }

    /// The patterns with a gap that may match something that this one matches too: of their heads one begins with the other, and of
    /// their tails one ends with the other.
    pub(crate) fn near(&self, pattern: &Pattern) -> Vec<usize> {
        let (head, tail) = (pattern.head().as_bytes(), pattern.tail());
        let mut found = Vec::new();
        for shape in &self.shapes {
            let (heads, tails) = (shape.head.min(head.len()), shape.tail.min(tail.len()));
            let begins = self.range(shape, &|own| own.head().bytes().take(heads).cmp(head.iter().copied().take(heads)));
            for at in shape.members.get(begins).unwrap_or_default() {
                let end = |text: &str| text.get(text.len() - tails..).unwrap_or_default().to_owned();
                if self.all.get(*at).is_some_and(|own| end(own.tail()) == end(tail)) {
                    found.push(*at);
                }
            }
        }
        found
    }

    /// P19: which of them some URI of this template has, the most specific first; and whether some URI of it has none of them.
    pub(crate) fn reached_by(&self, template: &Pattern, is_plain: bool) -> (Vec<usize>, bool) {
        /// More patterns that lie above a rule are not looked at: with fewer of them, it is reached all the sooner.
        const MOST_ABOVE: usize = 16;
        let mut near = if is_plain { self.near(template) } else { Vec::new() };
        let text = |at: &usize| self.all.get(*at).and_then(Pattern::exact).unwrap_or_default();
        let start = self.exact.partition_point(|at| text(at) < template.head());
        let exact = self.exact.get(start..).unwrap_or_default().iter();
        near.extend(exact.take_while(|at| text(at).starts_with(template.head())));
        near.retain(|at| self.all.get(*at).is_some_and(|pattern| template.is_met_by(pattern, usize::MAX)));
        let key = |at: usize| self.all.get(at).map(|pattern| (pattern.exact().is_some(), pattern.literals()));
        sort(&mut near, &|a, b| key(b).cmp(&key(a)));
        let mut above: Vec<&Pattern> = Vec::new();
        let mut reached = Vec::new();
        for at in near {
            let Some(pattern) = self.all.get(at) else { continue };
            if template.meets(pattern, &above, usize::MAX) {
                reached.push(at);
            }
            if above.len() < MOST_ABOVE {
                above.push(pattern);
            }
        }
        (reached, template.meets(template, &above, usize::MAX))
    }
}

// One sort for whatever is sorted here: each further one is kilobytes of module. Of cells, for which the library has its small sort:
// that of plain numbers is five kilobytes longer.
#[inline(never)]
fn sort(positions: &mut [usize], order: &dyn Fn(usize, usize) -> Ordering) {
    let mut cells: Vec<Cell<usize>> = positions.iter().copied().map(Cell::new).collect();
    cells.sort_unstable_by(|a, b| order(a.get(), b.get()).then(a.cmp(b)));
    positions.iter_mut().zip(cells).for_each(|(position, cell)| *position = cell.get());
}
