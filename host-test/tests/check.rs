//! What `stepup check` says of broken policies: each message must read as help.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use annotate_snippets::Renderer;
use host_test::check::check;

/// After a change on purpose: `INSTA_UPDATE=always cargo test -p host-test --test check`, and read the difference.
#[test]
fn broken_policies() {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("broken");
    settings.bind(|| {
        insta::glob!("broken/*.yaml", |path| {
            let text = std::fs::read_to_string(path).unwrap();
            let name = path.file_name().unwrap();
            let found = check(std::path::Path::new(name), &text, &Renderer::plain());
            let is_warning = name.to_string_lossy().contains("-warning-");
            assert_eq!((found.errors == 0, found.warnings > 0), (is_warning, is_warning), "{}", found.text);
            insta::assert_snapshot!(found.text);
        });
    });
}
