//! The image, as its readers want it.

use std::io::Read as _;

use super::*;

/// https://github.com/solo-io/wasm/blob/master/spec/spec-compat.md; Istio and Envoy Gateway ask for this media type and this name.
#[test]
fn it_is_the_compat_variant_of_a_wasm_image() {
    let layout = &signed().folder;
    let image = image(layout);
    assert_eq!(image["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(image["annotations"]["module.wasm.image/variant"], "compat");
    let [layer] = &image["layers"].as_array().unwrap()[..] else { panic!("{image:#}") };
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");

    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(&blob(layout, text(&layer["digest"]))[..]).read_to_end(&mut archive).unwrap();
    let config = json(layout, text(&image["config"]["digest"]));
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([format!("sha256:{}", sha256(&archive))]));

    let mut files = tar::Archive::new(&archive[..]);
    let mut files: Vec<_> = files.entries().unwrap().map(Result::unwrap).collect();
    let [file] = &mut files[..] else { panic!("{} files", files.len()) };
    let header = file.header().clone();
    assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
    assert_eq!((file.path().unwrap().display().to_string(), header.mode().unwrap()), ("plugin.wasm".to_owned(), 0o444));
}

#[test]
fn the_module_in_it_is_the_one_of_the_tests() {
    let layout = &signed().folder;
    let layer = blob(layout, text(&image(layout)["layers"][0]["digest"]));
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&layer[..]));
    let mut module = Vec::new();
    archive.entries().unwrap().next().unwrap().unwrap().read_to_end(&mut module).unwrap();
    assert!(module == fs::read(artifact::module().unwrap()).unwrap(), "another module");
}

#[test]
fn it_says_what_it_was_made_from() {
    let annotations = &image(&signed().folder)["annotations"];
    assert_eq!(annotations["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(annotations["org.opencontainers.image.licenses"], "Apache-2.0");
    assert_eq!(annotations["step-up.policy-version"], "1");
    // As RELEASING.md says to find it out.
    let sums = "git ls-files Cargo.lock Cargo.toml plugin/core plugin/proxy-wasm rust-toolchain.toml | xargs sha256sum | sha256sum";
    let digest = said("sh", &["-c", sums]).unwrap();
    assert_eq!(annotations["step-up.source-digest"], format!("sha256:{}", digest.split(' ').next().unwrap()));
}

#[test]
fn its_platform_can_be_another_one() {
    let folder = place("arm64");
    let (code, _, error) = package(&folder, &["--platform", "linux/arm64"]);
    assert_eq!(code, 0, "{error}");
    let config = json(&folder, text(&image(&folder)["config"]["digest"]));
    assert_eq!((&config["os"], &config["architecture"]), (&"linux".into(), &"arm64".into()));
    let config = json(&signed().folder, text(&image(&signed().folder)["config"]["digest"]));
    assert_eq!((&config["os"], &config["architecture"]), (&"linux".into(), &"amd64".into()));
}

#[test]
fn a_module_that_names_this_machine_is_refused() {
    let folder = place("named");
    let module = folder.with_extension("wasm");
    let mut bytes = wat::parse_str("(module)").unwrap();
    let name = format!("{}/plugin/core/src/lib.rs", paths::workspace().display());
    // A custom section: its size, the size of its name, its name.
    bytes.extend([0, u8::try_from(name.len() + 1).unwrap(), u8::try_from(name.len()).unwrap()]);
    bytes.extend(name.as_bytes());
    fs::write(&module, bytes).unwrap();
    let mut command = stepup(&folder, &[]);
    command.env("STEP_UP_WASM", &module);
    let (code, _, error) = ran(command);
    assert!(code == 2 && error.contains("a folder of this machine") && !folder.exists(), "{code} {error}");
}
