//! Templates: YAML with holes, `${name}`.

use anyhow::{Context as _, Result, bail};

/// The template with its holes filled. A hole that has the rest of its line for itself takes several lines, which are indented as it
/// is; with nothing in it, a line of nothing but the hole is left out. Texts of others must have been made scalars before.
pub(super) fn fill(template: &str, holes: &[(&str, &str)]) -> Result<String> {
    let mut filled = String::with_capacity(template.len() * 2);
    for line in template.lines() {
        match line.split_once("${").filter(|(_, rest)| rest.strip_suffix('}').is_some_and(|name| !name.contains('}'))) {
            Some((before, rest)) => {
                let before = within(before, holes)?;
                let value = value(rest.trim_end_matches('}'), holes)?;
                let is_alone = before.trim().is_empty();
                if value.is_empty() && is_alone {
                    continue;
                }
                let indent = " "
                    .repeat(before.len() - before.trim_start().len() + if before.trim_start() == "- " { 2 } else { 0 });
                for (at, part) in value.lines().enumerate() {
                    let lead = if at == 0 { before.as_str() } else { indent.as_str() };
                    // An empty line inside of a text stays one.
                    filled.push_str(if part.is_empty() { "" } else { lead });
                    filled.push_str(part);
                    filled.push('\n');
                }
            }
            None => {
                filled.push_str(&within(line, holes)?);
                filled.push('\n');
            }
        }
    }
    Ok(filled)
}

/// A line, with each of its holes filled by one line.
fn within(line: &str, holes: &[(&str, &str)]) -> Result<String> {
    let (mut filled, mut rest) = (String::new(), line);
    while let Some((before, behind)) = rest.split_once("${") {
        let (name, behind) = behind.split_once('}').context("a hole has no end")?;
        let value = value(name, holes)?;
        if value.contains('\n') {
            bail!("{name} has several lines");
        }
        filled.push_str(before);
        filled.push_str(value);
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value<'h>(name: &str, holes: &[(&str, &'h str)]) -> Result<&'h str> {
    let found = holes.iter().find(|(other, _)| *other == name);
    found.map(|(_, value)| *value).with_context(|| format!("nobody fills {name}"))
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn a_hole_is_filled_where_it_stands() {
        let filled = |template: &str, holes: &[(&str, &str)]| fill(template, holes).unwrap();
        assert_eq!(filled("a: ${x} # ${y}", &[("x", "1"), ("y", "2")]), "a: 1 # 2\n");
        assert_eq!(
            filled("a:\n  ${x}\nb: 1", &[("x", "c: 1\nd: |\n  e\n\n  f")]),
            "a:\n  c: 1\n  d: |\n    e\n\n    f\nb: 1\n"
        );
        assert_eq!(filled("a:\n- ${x}", &[("x", "c: 1\nd: 2")]), "a:\n- c: 1\n  d: 2\n");
        assert_eq!(filled("a: 1\n${x}\nb: 2", &[("x", "")]), "a: 1\nb: 2\n");
        assert_eq!(filled("a: ${x}", &[("x", "1")]), "a: 1\n");
        assert!(fill("a: ${x}", &[]).is_err());
        assert!(fill("a: ${x} b", &[("x", "1\n2")]).is_err());
    }
}
