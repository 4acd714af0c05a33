//! What the module is made of: a bill of materials (CycloneDX 1.5), and its place beside the image.

use anyhow::Result;
use serde_json::{Value, json};

use super::image::manifest;
use super::layout::{Annotations, Descriptor, Layout};
use super::tree::{self, Crate, Id};
use crate::artifact::sha256;

/// What the bill is, as a blob and as an artifact.
const TYPE: &str = "application/vnd.cyclonedx+json";

/// Writes the bill of a module as a referrer of its image (OCI 1.1: `subject`), under that tag. Gives its manifest, and how many
/// components it has.
pub fn attach(
    layout: &mut Layout,
    image: &Descriptor,
    module: &[u8],
    compiler: &str,
    annotations: &Annotations,
    tag: &str,
) -> Result<(Descriptor, usize)> {
    let bill = bill(module, compiler, annotations)?;
    let count = bill.get("components").and_then(Value::as_array).map_or(0, Vec::len);
    let bill = layout.json(TYPE, bill)?;
    let nothing = layout.json("application/vnd.oci.empty.v1+json", json!({}))?;
    let mut manifest = manifest(&nothing, &bill, annotations);
    if let Some(members) = manifest.as_object_mut() {
        members.insert("artifactType".to_owned(), json!(TYPE));
        members.insert("subject".to_owned(), json!(image));
    }
    let manifest = layout.manifest(manifest, tag, None)?;
    layout.is_artifact(TYPE);
    Ok((manifest, count))
}

/// It has neither a time nor a random number: the same module has the same bill.
fn bill(module: &[u8], compiler: &str, annotations: &Annotations) -> Result<Value> {
    let (root, crates) = tree::read()?;
    let dependencies = crates.iter().map(|(id, found)| {
        let needs = found.needs.iter().filter_map(|id| Some(purl(id, crates.get(id)?)));
        json!({ "ref": purl(id, found), "dependsOn": needs.collect::<Vec<_>>() })
    });
    let dependencies: Vec<Value> = dependencies.collect();
    let mut whole = Value::Null;
    let mut components = Vec::new();
    for (id, found) in &crates {
        if *id == root {
            whole = component(id, found, Some(&sha256(module)));
        } else {
            components.push(component(id, found, found.checksum.as_deref()));
        }
    }
    let mut properties = vec![json!({ "name": "step-up.compiler", "value": compiler })];
    properties.extend(annotations.iter().map(|(name, value)| json!({ "name": name, "value": value })));
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": whole, "properties": properties },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(id: &Id, found: &Crate, sha256: Option<&str>) -> Value {
    let (name, version) = id;
    let purl = purl(id, found);
    let hashes: Vec<Value> = sha256.iter().map(|hex| json!({ "alg": "SHA-256", "content": hex })).collect();
    json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{ "expression": found.license }],
        "hashes": hashes,
        // The standard's word for what is not there at run time: macros and what they are made of.
        "scope": if found.is_linked { "required" } else { "excluded" },
    })
}

/// Crates of this workspace are in no registry: a name of theirs there would be somebody else's.
fn purl((name, version): &Id, found: &Crate) -> String {
    let kind = if found.checksum.is_some() { "cargo" } else { "generic" };
    format!("pkg:{kind}/{name}@{}", version.replace('+', "%2B"))
}
