//! The bill of materials.

use std::collections::BTreeSet;

use cyclonedx_bom::prelude::{Bom, Validate as _};

use super::*;

fn bill() -> Value {
    let Signed { folder, report, .. } = signed();
    let manifest = json(folder, text(&report["sbom"]["digest"]));
    json(folder, text(&manifest["layers"][0]["digest"]))
}

/// OCI 1.1: what has a `subject` refers to it. oras finds it in the index, by its type there.
#[test]
fn it_refers_to_the_image() {
    let Signed { folder, report, .. } = signed();
    let entry = tagged(folder, &format!("{}.sbom", text(&report["digest"]).replace(':', "-")));
    let manifest = json(folder, text(&entry["digest"]));
    assert_eq!(manifest["subject"]["digest"], report["digest"]);
    assert_eq!(manifest["subject"]["size"], tagged(folder, env!("CARGO_PKG_VERSION"))["size"]);
    for place in [&entry["artifactType"], &manifest["artifactType"], &manifest["layers"][0]["mediaType"]] {
        assert_eq!(*place, "application/vnd.cyclonedx+json");
    }
}

/// By the library of the CycloneDX project.
#[test]
fn it_is_valid() {
    let bom = Bom::parse_from_json_v1_5(bill().to_string().as_bytes()).unwrap();
    let validated = bom.validate();
    assert!(validated.passed(), "{validated:?}");
    assert_eq!(bom.components.unwrap().0.len() as u64, signed().report["sbom"]["components"].as_u64().unwrap());
}

#[test]
fn its_crates_are_those_of_cargo_tree() {
    let tree =
        ["tree", "--locked", "-e", "normal", "--target", "wasm32-wasip1", "-p", "step-up-filter", "--prefix", "none"];
    let tree = said(env!("CARGO"), &tree).unwrap();
    let expected: BTreeSet<String> =
        tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    let bill = bill();
    let root = &bill["metadata"]["component"];
    let components = bill["components"].as_array().unwrap();
    let named = |component: &Value| format!("{} v{}", text(&component["name"]), text(&component["version"]));
    let found: BTreeSet<String> = components.iter().chain([root]).map(named).collect();
    assert_eq!(found, expected);
    assert_eq!(found.len(), components.len() + 1, "one is there twice");
    assert_eq!(named(root), concat!("step-up-filter v", env!("CARGO_PKG_VERSION")));
}

/// The graph: what `cargo tree --depth 1` prints of a crate is what it depends on.
#[test]
fn its_graph_is_that_of_cargo_tree() {
    let bill = bill();
    let needs = |purl: &str| -> BTreeSet<String> {
        let all = bill["dependencies"].as_array().unwrap();
        let found = all.iter().find(|entry| entry["ref"] == purl).unwrap_or_else(|| panic!("no {purl}"));
        found["dependsOn"].as_array().unwrap().iter().map(|on| text(on).to_owned()).collect()
    };
    let root = text(&bill["metadata"]["component"]["bom-ref"]);
    assert_eq!(root, concat!("pkg:generic/step-up-filter@", env!("CARGO_PKG_VERSION")));
    let tree = ["tree", "--locked", "-e", "normal", "--target", "wasm32-wasip1", "-p", "step-up-filter"];
    let tree = said(env!("CARGO"), &[&tree[..], &["--depth", "1", "--prefix", "depth"]].concat()).unwrap();
    let direct: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.strip_prefix('1')).map(|line| line.split(' ').next().unwrap()).collect();
    let named = |purl: &String| purl.split(['/', '@']).nth(1).unwrap().to_owned();
    assert_eq!(
        needs(root).iter().map(named).collect::<BTreeSet<_>>(),
        direct.iter().map(ToString::to_string).collect()
    );

    // From the root everything is reached.
    let (mut reached, mut left) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(purl) = left.pop() {
        if reached.insert(purl.clone()) {
            left.extend(needs(&purl));
        }
    }
    let refs = bill["components"].as_array().unwrap().iter().map(|component| text(&component["bom-ref"]).to_owned());
    assert_eq!(reached, refs.chain([root.to_owned()]).collect());
}

#[test]
fn what_comes_from_a_registry_has_its_checksum() {
    let lock = fs::read_to_string(paths::workspace().join("Cargo.lock")).unwrap();
    let bill = bill();
    for component in bill["components"].as_array().unwrap() {
        let (name, version) = (text(&component["name"]), text(&component["version"]));
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        let entry = lock.split("\n\n").find(|package| package.contains(&entry)).unwrap();
        match component["hashes"].as_array().unwrap().first() {
            Some(hash) => {
                assert!(entry.contains(&format!("checksum = \"{}\"", text(&hash["content"]))), "{component:#}");
                assert_eq!(component["purl"], format!("pkg:cargo/{name}@{}", version.replace('+', "%2B")));
            }
            None => {
                assert!(!entry.contains("checksum") && name.starts_with("step-up-"), "{component:#}");
                assert_eq!(component["purl"], format!("pkg:generic/{name}@{version}"));
            }
        }
        assert!(!text(&component["licenses"][0]["expression"]).is_empty(), "{component:#}");
    }
    let module = fs::read(artifact::module().unwrap()).unwrap();
    assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], sha256(&module));
}

/// Macros run while the module is built, and so does what they are made of; what is needed in both ways is in the module.
#[test]
fn macros_are_not_in_the_module() {
    let bill = bill();
    let scope = |name: &str| {
        let found = bill["components"].as_array().unwrap().iter().find(|component| component["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}"))["scope"].clone()
    };
    for (name, expected) in
        [("serde_derive", "excluded"), ("syn", "excluded"), ("serde_json", "required"), ("step-up-core", "required")]
    {
        assert_eq!(scope(name), expected, "{name}");
    }
}
