//! The folder.

use std::collections::BTreeMap;

use super::*;

#[test]
fn every_blob_is_what_its_name_says_and_json_is_in_order() {
    let files = files(&signed().folder);
    assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    for (name, bytes) in &files {
        if let Some(digest) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(*digest, sha256(bytes));
        }
        if let Ok(mut value) = serde_json::from_slice::<Value>(bytes) {
            value.sort_all_objects();
            assert!(value.to_string().as_bytes() == bytes, "{name} is not in order: {value}");
        }
    }
}

/// Signatures, too.
#[test]
fn the_same_input_gives_the_same_bytes() {
    let signed = signed();
    let again = place("again/somewhere/else");
    let key = again.with_extension("pem");
    fs::write(&key, signed.key.serialize_pem()).unwrap();
    let (code, out, error) = package(&again, &["--key", &key.display().to_string(), "--reference", REFERENCE]);
    assert_eq!(code, 0, "{error}");
    assert!(files(&again) == files(&signed.folder));
    assert!(out.contains(text(&signed.report["digest"])), "{out}");
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in ignore::WalkBuilder::new(folder).standard_filters(false).build().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            let name = entry.path().strip_prefix(folder).unwrap().display().to_string();
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}

#[test]
fn skopeo_reads_and_copies_all_of_it() {
    let Signed { folder, report, .. } = signed();
    let source = |tag: &str| format!("oci:{}:{tag}", folder.display());
    let seen = said("skopeo", &["inspect", &source(env!("CARGO_PKG_VERSION"))]).unwrap();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["Digest"], report["digest"]);
    assert_eq!(seen["Labels"]["step-up.policy-version"], "1");

    let image = text(&report["digest"]).replace(':', "-");
    let copy = place("copy");
    for tag in [env!("CARGO_PKG_VERSION"), &format!("{image}.sbom"), &format!("{image}.sig")] {
        let target = format!("oci:{}:{tag}", copy.display());
        said("skopeo", &["--insecure-policy", "copy", &source(tag), &target]).unwrap_or_else(|| panic!("{tag}"));
        assert_eq!(tagged(&copy, tag)["digest"], tagged(folder, tag)["digest"]);
    }
}

#[test]
fn skopeo_refuses_a_changed_layer() {
    let Signed { folder, .. } = signed();
    let changed = place("changed");
    for (name, bytes) in files(folder) {
        let path = changed.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let source = format!("oci:{}:{}", changed.display(), env!("CARGO_PKG_VERSION"));
    let copy =
        |name: &str| said("skopeo", &["--insecure-policy", "copy", &source, &format!("oci:{}", place(name).display())]);
    assert!(copy("taken").is_some());
    let layer = text(&image(&changed)["layers"][0]["digest"]).replace(':', "/");
    let layer = changed.join("blobs").join(layer);
    let mut bytes = fs::read(&layer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&layer, bytes).unwrap();
    assert!(copy("refused").is_none());
}

#[test]
fn a_folder_that_is_not_empty_is_left_alone() {
    let folder = &signed().folder;
    let before = files(folder);
    let (code, _, error) = package(folder, &[]);
    assert!(
        code == 2 && error.contains("is not empty: remove what is there, or name another folder"),
        "{code} {error}"
    );
    assert!(files(folder) == before);
}

/// What is printed, for people and for machines.
#[test]
fn the_report_has_sizes_imports_and_digests() {
    let Signed { folder, report, .. } = signed();
    let image = image(folder);
    assert_eq!(report["layer"]["bytes"], image["layers"][0]["size"]);
    assert_eq!(report["module"]["bytes"], fs::metadata(artifact::module().unwrap()).unwrap().len());
    let imports = artifact::load(&artifact::module().unwrap()).unwrap().imports();
    let said = |module: &str, name: &str| report["imports"][module].as_array().unwrap().contains(&name.into());
    assert!(imports.iter().all(|(module, name)| said(module, name)), "{report:#}");
    assert!(said("env", "proxy_http_call") && said("wasi_snapshot_preview1", "random_get"));

    let (code, out, error) = package(&place("told"), &[]);
    assert_eq!(code, 0, "{error}");
    for part in [text(&report["digest"]), " proxy_http_call ", "wasi_snapshot_preview1: environ_get "] {
        assert!(out.contains(part), "{part} is missing: {out}");
    }
    assert!(!out.contains("signed"), "{out}");
}
