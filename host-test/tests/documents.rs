//! What the documents show is what the filter takes.

use std::fs;
use std::path::Path;

use host_test::{paths, yaml};
use step_up_core::Policy;

#[cfg(test)]
fn load(text: &str) -> Policy {
    let document = yaml::read(text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
    Policy::from_value(&document, text.as_bytes(), &step_up_core::NoEnvironment)
        .unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"))
}

#[test]
fn the_policy_in_the_readme_loads() {
    let readme = fs::read_to_string(paths::workspace().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").expect("the README has a policy");
    let (policy, _) = rest.split_once("```").unwrap();
    assert_eq!(load(policy).warnings(), &[]);
}

#[test]
fn every_example_policy_loads_without_warnings() {
    let mut seen = 0;
    for entry in fs::read_dir(paths::policies()).unwrap() {
        let policy = entry.unwrap().path().join("policy.yaml");
        if policy.is_file() {
            assert_eq!(load(&fs::read_to_string(&policy).unwrap()).warnings(), &[], "{}", policy.display());
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in [
        "README.md",
        "DESIGN.md",
        "SECURITY.md",
        "policies/README.md",
        "benches/README.md",
        "envoy/README.md",
        "envoy/fixtures/README.md",
    ] {
        let path = paths::workspace().join(document);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = path.parent().unwrap_or(Path::new("")).join(link.split('#').next().unwrap());
            assert!(link.contains("://") || target.exists(), "{document} links to {link}");
        }
    }
}
