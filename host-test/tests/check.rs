//! What `stepup check` says of broken policies, and of what Envoy loads: each message must read as help.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use annotate_snippets::Renderer;
use host_test::check::{Findings, check};

/// After a change on purpose: `INSTA_UPDATE=always cargo test -p host-test --test check`, and read the difference.
fn bind(folder: &str, test: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path(folder);
    // Grows with every reason; `docs/wire.md` says how.
    settings.add_filter("at most [0-9]+ metric series", "at most N metric series");
    settings.bind(test);
}

fn found(path: &Path) -> (String, Findings) {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap();
    let found = check(Path::new(name), &text, &Renderer::plain());
    (name.to_string_lossy().into_owned(), found)
}

#[test]
fn broken_policies() {
    bind("broken", || {
        insta::glob!("broken/*.yaml", |path| {
            let (name, found) = found(path);
            let is_warning = name.contains("-warning-");
            assert_eq!((found.errors == 0, found.warnings > 0), (is_warning, is_warning), "{}", found.text);
            insta::assert_snapshot!(found.text);
        });
    });
}

/// What a file of Envoy's can hide: the filter gets what Envoy makes of it, and says nothing of what was beside it.
#[test]
fn p18_files_of_envoy() {
    bind("deployed", || {
        insta::glob!("deployed/*.{yaml,json}", |path| {
            let (name, found) = found(path);
            let (is_warning, has_none) =
                (name.contains("-warning-"), name.contains("no-policy") || name.contains("not-a-policy"));
            let is_good = name.contains("-good.") || is_warning || has_none;
            assert_eq!((found.errors == 0, found.warnings > 0), (is_good, is_warning), "{name}\n{}", found.text);
            assert_eq!(found.policies == 0, has_none, "{name}\n{}", found.text);
            insta::assert_snapshot!(found.text);
        });
    });
}

/// One policy, however it is delivered, has one name (P18): records of instances can be joined.
#[test]
fn p18_a_delivered_policy_has_the_digest_of_what_it_says() {
    let digest = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deployed");
        let (_, found) = found(&folder.join(name));
        let digest = found.text.split("digest ").nth(1).unwrap_or_else(|| panic!("{}", found.text));
        digest.split(',').next().unwrap().to_owned()
    };
    let files =
        ["01-struct-good.yaml", "03-json-good.yaml", "07-json-in-one-line-good.json", "09-struct-in-json-good.json"];
    let digests = files.map(digest);
    assert!(digests.iter().all(|digest| *digest == digests[0] && digest.len() == 12), "{digests:?}");
}
