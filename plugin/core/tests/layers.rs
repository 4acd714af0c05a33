//! The layers of the core, from below: each module may use those of the lines before it, and none of its own or a later one.
//! The picture is in ARCHITECTURE.md.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const LAYERS: [&[&str]; 14] = [
    &["time", "secret", "text", "decimal", "reason"],
    &["json", "line", "ends"],
    &["http", "mcp", "jose"],
    &["policy"],
    &["keys"],
    &["token"],
    &["obtain"],
    &["decide"],
    &["answer"],
    &["watch"],
    &["audit", "metrics"],
    &["effect"],
    &["flow"],
    &["gate"],
];

#[test]
fn each_module_uses_only_what_lies_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let floor: BTreeMap<&str, usize> =
        LAYERS.iter().enumerate().flat_map(|(at, names)| names.iter().map(move |name| (*name, at))).collect();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (module, text) in modules(&source) {
        let Some(own) = floor.get(module.as_str()) else {
            wrong.push(format!("`{module}` has no layer: give it one here and in ARCHITECTURE.md"));
            continue;
        };
        for used in uses(&text) {
            let Some(other) = floor.get(used.as_str()) else { continue };
            if used != module && other >= own {
                wrong.push(format!("`{module}` uses `{used}`, which does not lie below it"));
            }
            seen += 1;
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(seen > 100, "only {seen} uses were found: the test looks in the wrong place");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The text of each file without its tests, by its top module.
fn modules(source: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![source.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(source).unwrap().with_extension("");
            let module = inside.iter().next().expect("a name").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            if module != "lib" {
                found.push((module, text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()));
            }
        }
    }
    found
}

/// The modules named behind `crate::`.
fn uses(text: &str) -> Vec<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    text.split("crate::").skip(1).map(name).collect()
}
