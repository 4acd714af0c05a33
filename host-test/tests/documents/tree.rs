//! The files of the repository.

use std::collections::BTreeMap;

use host_test::paths;

/// Every text file, by its path from the root.
#[derive(Debug)]
pub struct Tree {
    pub texts: BTreeMap<String, String>,
    /// All files and folders, those that are no text too.
    pub paths: Vec<String>,
}

impl Tree {
    pub fn read() -> Tree {
        let root = paths::workspace();
        let mut tree = Tree { texts: BTreeMap::new(), paths: Vec::new() };
        // `.ci` is hidden, and part of it; what `.gitignore` names is not.
        let walk =
            ignore::WalkBuilder::new(&root).hidden(false).filter_entry(|entry| entry.file_name() != ".git").build();
        for entry in walk {
            let entry = entry.expect("the tree can be read");
            let path = entry.path().strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
            if path.is_empty() {
                continue;
            }
            if entry.path().is_file()
                && let Ok(text) = std::fs::read_to_string(entry.path())
            {
                tree.texts.insert(path.clone(), text);
            }
            tree.paths.push(path);
        }
        tree.paths.sort();
        tree
    }

    /// The text of a file that must be there.
    pub fn text(&self, path: &str) -> &str {
        self.texts.get(path).unwrap_or_else(|| panic!("there is no {path}"))
    }

    /// Is there a file or folder of that path?
    pub fn has(&self, path: &str) -> bool {
        self.paths.binary_search_by(|other| other.as_str().cmp(path)).is_ok()
    }

    /// Files whose names end so, in order.
    pub fn ending<'t>(&'t self, end: &'t str) -> impl Iterator<Item = (&'t str, &'t str)> {
        self.texts
            .iter()
            .filter(move |(path, _)| path.ends_with(end))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}
