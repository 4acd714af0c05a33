//! `stepup package`: the module as an OCI image that Istio, Envoy Gateway and Kubernetes take, with its bill of materials and its
//! signature, in a folder. Nothing is pushed: `oras` and `skopeo` do that.
//!
//! `layout` is the folder, `image` the image, `source` and `tree` say what the module was made from, `sbom` writes the bill, `cosign`
//! signs with a `key`. What is the same gives the same bytes, on every machine and at any time.

mod cosign;
mod image;
mod key;
mod layout;
mod sbom;
mod source;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use p256::ecdsa::SigningKey;
use serde::Serialize;

use crate::{artifact, paths, portable};
use layout::{Annotations, Descriptor, Layout};

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    stepup package --out image\n  \
    stepup package --out image --key env://SIGNING_KEY --reference registry.example.com/step-up\n  \
    oras cp --from-oci-layout image:0.1.0 registry.example.com/step-up:0.1.0 --recursive")]
pub struct Arguments {
    /// The folder of the image layout: empty, or not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Sign with this key: a file, or env://NAME. EC on P-256, in PKCS#8, or cosign's own with its password in COSIGN_PASSWORD.
    // With a hyphen at its beginning too: a key that was pasted is refused here, and not repeated as an unknown option.
    #[arg(long, value_name = "KEY", requires = "reference", allow_hyphen_values = true)]
    key: Option<String>,
    /// The repository that the signature is for, as registry.example.com/step-up.
    #[arg(long, value_name = "REPOSITORY", requires = "key", value_parser = repository)]
    reference: Option<String>,
    /// For whose nodes, as a volume of Kubernetes. Istio and Envoy Gateway do not ask.
    #[arg(long, value_name = "OS/ARCHITECTURE", value_parser = image::platform, default_value = "linux/amd64")]
    platform: image::Platform,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Report {
    /// Of the image's manifest: what is signed, and what a deployment names.
    digest: String,
    tag: &'static str,
    module: Size,
    layer: Size,
    sbom: Bill,
    /// Digests of the signatures' manifests, by what they sign.
    signatures: BTreeMap<&'static str, String>,
    annotations: Annotations,
    /// What the module asks of its host, by module.
    imports: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize)]
struct Size {
    bytes: usize,
    digest: String,
}

#[derive(Serialize)]
struct Bill {
    digest: String,
    components: usize,
}

/// Writes the layout, and says what is in it.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    paths::in_a_clone()?;
    let signing = match (&arguments.key, &arguments.reference) {
        (Some(place), Some(reference)) => Some((key::read(place)?, reference.as_str())),
        _ => None,
    };
    // What is signed is said to be made from this source.
    let path = if signing.is_some() { artifact::built_here()? } else { artifact::module()? };
    let module = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    is_portable(&module, &path)?;
    let imports = imports(&path)?;
    let report = write(arguments, &module, signing, imports)?;
    if arguments.json {
        writeln!(stdout(), "{:#}", serde_json::to_value(&report)?)?;
    } else {
        write!(stdout(), "{}", text(&report, &arguments.out)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(
    arguments: &Arguments,
    module: &[u8],
    signing: Option<(SigningKey, &str)>,
    imports: BTreeMap<String, Vec<String>>,
) -> Result<Report> {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    let annotations = annotations(VERSION, module)?;
    let mut layout = Layout::begin(&arguments.out)?;
    let (image, layer) = image::write(&mut layout, module, &arguments.platform, annotations.clone(), VERSION)?;
    let tag = cosign::tag(&image, "sbom");
    let (bill, components) = sbom::attach(&mut layout, &image, module, &source::compiler()?, &annotations, &tag)?;
    let mut signatures = BTreeMap::new();
    if let Some((key, reference)) = signing {
        // cosign takes the first one of a layout for the image's.
        let parts: [(&str, &Descriptor, _); 2] = [("image", &image, Some("sigs")), ("sbom", &bill, None)];
        for (name, signed, kind) in parts {
            signatures.insert(name, cosign::sign(&mut layout, signed, reference, &key, kind)?.digest);
        }
    }
    layout.finish()?;
    Ok(Report {
        digest: image.digest,
        tag: VERSION,
        module: Size { bytes: module.len(), digest: format!("sha256:{}", artifact::sha256(module)) },
        layer: Size { bytes: layer.size, digest: layer.digest },
        sbom: Bill { digest: bill.digest, components },
        signatures,
        annotations,
        imports,
    })
}

/// Of the image, and of what is attached to it.
fn annotations(version: &str, module: &[u8]) -> Result<Annotations> {
    let annotations = [
        ("org.opencontainers.image.title", "step-up".to_owned()),
        ("org.opencontainers.image.description", "Step-up authorization for MCP, a proxy-wasm filter".to_owned()),
        ("org.opencontainers.image.version", version.to_owned()),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE").to_owned()),
        ("step-up.module-digest", format!("sha256:{}", artifact::sha256(module))),
        ("step-up.policy-version", "1".to_owned()),
        ("step-up.source-digest", source::digest()?),
    ];
    Ok(annotations.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A module that names folders of this machine has another digest on the next one.
fn is_portable(module: &[u8], path: &Path) -> Result<()> {
    let folders = [Some(paths::workspace()), portable::cargo_home(), std::env::home_dir()];
    for folder in folders.into_iter().flatten() {
        if folder.parent().is_none() {
            // The root is no machine's own.
            continue;
        }
        let folder = format!("{}/", folder.display());
        if module.windows(folder.len()).any(|window| window == folder.as_bytes()) {
            bail!(
                "{} names {folder}, a folder of this machine, so that it cannot be built again elsewhere: unset STEP_UP_WASM, \
                 or build it as RELEASING.md says",
                path.display()
            );
        }
    }
    Ok(())
}

fn imports(path: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let mut imports = BTreeMap::<String, Vec<String>>::new();
    for (module, name) in artifact::load(path)?.imports() {
        imports.entry(module).or_default().push(name);
    }
    imports.values_mut().for_each(|names| names.sort_unstable());
    Ok(imports)
}

fn text(report: &Report, out: &Path) -> Result<String> {
    let mut text = Vec::new();
    writeln!(text, "module   {} bytes, {}", report.module.bytes, report.module.digest)?;
    writeln!(text, "layer    {} bytes, {}", report.layer.bytes, report.layer.digest)?;
    writeln!(text, "sbom     {} components, {}", report.sbom.components, report.sbom.digest)?;
    for (signed, digest) in &report.signatures {
        writeln!(text, "signed   {signed} by {digest}")?;
    }
    for (module, names) in &report.imports {
        writeln!(text, "imports  {module}: {}", names.join(" "))?;
    }
    writeln!(text, "image    {}:{} {}", out.display(), report.tag, report.digest)?;
    Ok(String::from_utf8(text)?)
}

fn repository(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains("://") || text.contains(|letter: char| letter == '@' || letter.is_whitespace())
    {
        return Err("write registry and repository, as registry.example.com/step-up".to_owned());
    }
    Ok(text.to_owned())
}
