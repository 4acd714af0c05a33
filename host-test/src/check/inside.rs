//! Where a part of a text stands in the file that has the text in it.

use std::ops::Range;

/// The bytes of `part` of `text`, in `source`, where the text is written at `around`; as a block, it may go on behind that. `None`
/// where it is written with escapes or folded.
pub(super) fn place(source: &str, around: Range<usize>, text: &str, part: Range<usize>) -> Option<Range<usize>> {
    let written = source.get(around.clone())?;
    if let Some(at) = written.find(text) {
        let start = around.start + at;
        return Some(start + part.start..start + part.end);
    }
    let block = around.start + source.get(around.start..)?.find('\n')? + 1;
    let start = in_block(source.get(block..)?, text, part.start)?;
    let line = text.get(part.clone())?.split('\n').next()?;
    Some(block + start..block + start + line.len())
}

/// A block scalar (`|`) has the lines of the text, each behind the same white space.
fn in_block(block: &str, text: &str, at: usize) -> Option<usize> {
    let before = text.get(..at)?;
    let number = before.matches('\n').count();
    let column = at - before.rfind('\n').map_or(0, |end| end + 1);
    let mut lines = block.split_inclusive('\n');
    let start: usize = lines.by_ref().take(number).map(str::len).sum();
    let line = lines.next()?.trim_end_matches(['\n', '\r']);
    let indent = line.strip_suffix(text.split('\n').nth(number)?)?;
    indent.bytes().all(|byte| byte == b' ').then_some(start + indent.len() + column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str, text: &str, part: &str) -> Option<usize> {
        let at = text.find(part).unwrap();
        let around = 0..source.find('\n').unwrap_or(source.len());
        let range = place(source, around, text, at..at + part.len())?;
        assert_eq!(source.get(range.clone()), Some(part), "{range:?}");
        Some(source.get(..range.start).unwrap().matches('\n').count() + 1)
    }

    #[test]
    fn a_text_is_found_as_it_is_written() {
        assert_eq!(shown("value: '{\"a\": 1}'", "{\"a\": 1}", "\"a\""), Some(1));
        assert_eq!(
            shown(
                "value: |\n    {\n      \"a\": 1,\n\n      \"b\": 2 }\n",
                "{\n  \"a\": 1,\n\n  \"b\": 2 }\n",
                "\"b\""
            ),
            Some(5)
        );
    }

    #[test]
    fn what_is_written_otherwise_has_no_place() {
        assert_eq!(shown("value: \"{\\\"a\\\": 1}\"", "{\"a\": 1}", "\"a\""), None);
        assert_eq!(shown("value: >\n  {\n  \"a\": 1}\n", "{ \"a\": 1}\n", "\"a\""), None);
    }
}
