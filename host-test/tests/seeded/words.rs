//! Every word of the language, read and without effect, or with another one than it says: some scenario notices, or some test.

use step_up_core::{MAPS, Map, Shape, Word};

/// Where a word is taken from a map, and what stands there in a copy with [`PLANTED`].
pub const PLACE: (&str, &str, &str) = (
    "plugin/core/src/policy/document/mod.rs",
    "        let members = self.named(report)?;\n        Some(Fields {",
    "        let members = planted::planted(self.named(report)?, known, &self.path);\n        Some(Fields {",
);
pub const MODULE: (&str, &str) = ("mod notation;\n", "mod notation;\nmod planted;\n");
pub const PLANTED: (&str, &str) = ("plugin/core/src/policy/document/planted.rs", include_str!("words/planted.rs"));

/// One word that does not do what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    pub map: &'static str,
    pub word: &'static str,
    pub kind: &'static str,
}

/// What nobody can notice, and why.
const NOT_NOTICED: [(&str, &str, &str, &str); 1] = [(
    "ToolTerms",
    "anonymous",
    "ignored",
    "it is looked for in the value, before the map is read where seeds are planted",
)];

/// All of them. A word that must be there cannot be ignored: without it nothing loads.
pub fn seeds() -> Vec<Seed> {
    let of = |map: &'static Map, word: &'static Word| {
        let kinds = [("ignored", !word.required), ("inverted", has_opposite(map, word))];
        let kinds = kinds.into_iter().filter(|(_, makes_sense)| *makes_sense);
        kinds.map(|(kind, _)| Seed { map: map.name, word: word.name, kind }).collect::<Vec<_>>()
    };
    let all = MAPS.iter().flat_map(|map| map.words.iter().flat_map(move |word| of(map, word)));
    all.filter(|seed| {
        !NOT_NOTICED.iter().any(|(map, word, kind, _)| (*map, *word, *kind) == (seed.map, seed.word, seed.kind))
    })
    .collect()
}

fn has_opposite(map: &Map, word: &Word) -> bool {
    const OF_CONDITIONS: [&str; 17] = [
        "when",
        "unless",
        "all",
        "any",
        "not",
        "every",
        "some",
        "prefix",
        "suffix",
        "equals",
        "in",
        "within",
        "host",
        "client",
        "client_origin",
        "source",
        "claim",
    ];
    let is_test = ["Condition", "Test", "Raise"].contains(&map.name) && OF_CONDITIONS.contains(&word.name);
    is_test
        || matches!(word.shape, Shape::Boolean | Shape::Duration | Shape::Size | Shape::Number)
        || matches!(word.shape, Shape::Choice(words) if words.len() > 1)
}
