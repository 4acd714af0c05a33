//! Documents are held to what is true: their examples are run, their links and paths lead somewhere, and every point of the
//! policy language is cited, shown and tested.
//!
//! `docs/traceability.md` and `docs/wire.md` are written here too. After a change on purpose:
//! `UPDATE_DOCUMENTS=1 cargo test -p host-test --test documents`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod decisions;
mod examples;
mod layers;
mod manners;
mod page;
mod points;
mod references;
mod traceability;
mod tree;
mod wire;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use tree::Tree;

/// Whatever is wrong, a line each.
type Complaints = Vec<String>;

fn main() -> ExitCode {
    if std::env::var_os(traceability::RENEW).is_some() {
        // What is generated is written first: the checks must not look at the old pages.
        let before = Tree::read();
        traceability::complaints(&before);
        wire::complaints(&before);
    }
    let tree: &'static Tree = Box::leak(Box::new(Tree::read()));
    let mut trials = vec![
        whole("decisions::every_record_is_in_the_index", || decisions::complaints(tree)),
        whole("examples::every_policy_of_the_tree_loads_without_warnings", || examples::policies(tree)),
        whole("layers::the_picture_is_the_list_of_the_test", || layers::complaints(tree)),
        whole("manners::every_test_of_the_simulated_proxy_has_a_row", || manners::complaints(tree)),
        whole("points::what_is_cited_is_a_point", || points::unknown(tree)),
        whole("points::every_point_has_its_row", || points::rows(tree)),
        whole("points::every_point_has_an_example", || points::without_example(tree)),
        whole("points::the_words_are_those_of_the_schema", || points::words(tree)),
        whole("points::what_is_built_is_cited_and_tested", || points::untested(tree)),
        whole("references::links_lead_somewhere", || references::links(tree)),
        whole("references::files_that_are_named_are_there", || references::files(tree)),
        whole("traceability::is_up_to_date", || traceability::complaints(tree)),
        whole("wire::is_up_to_date", || wire::complaints(tree)),
        whole("wire::its_fields_are_those_of_the_records", wire::fields),
    ];
    trials.extend(examples::trials(tree));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn whole(name: &str, find: impl FnOnce() -> Complaints + Send + 'static) -> Trial {
    Trial::test(name, move || none(&find()))
}

/// Fails with all of them.
fn none(complaints: &[String]) -> Result<(), Failed> {
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n").into()) }
}
