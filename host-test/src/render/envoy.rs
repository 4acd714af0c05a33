//! Plain Envoy.

use anyhow::Result;

use super::template::fill;
use super::{Plan, Rendered, Version, parts};
use crate::text::scalar;

/// Of Envoy, where none is said: the newest that was run.
pub(super) const VERSION: Version = Version(1, 40);

pub(super) fn rendered(plan: &Plan) -> Result<Vec<Rendered>> {
    let manager = parts::manager(plan, &parts::from_file(plan), "nowhere", |target| target.name.clone())?;
    let upstreams = plan.targets.iter().map(|target| parts::cluster_at(&target.name, &target.upstream, "", ""));
    let named = parts::clusters(plan)?.into_iter().map(|(_, text)| Ok(text));
    let clusters = upstreams.chain(named).map(|text| fill("- ${cluster}", &[("cluster", &text?)]));
    let bootstrap = fill(
        include_str!("templates/envoy.yaml"),
        &[
            ("address", &scalar(&plan.proxy.listen.ip().to_string())),
            ("port", &plan.proxy.listen.port().to_string()),
            ("manager", &manager),
            ("clusters", &clusters.collect::<Result<String>>()?),
        ],
    )?;
    let mut files = vec![
        Rendered { name: "envoy.yaml", text: bootstrap },
        Rendered { name: "step-up.ecds.yaml", text: parts::policy_file(plan)? },
    ];
    files.extend(parts::secrets(plan)?);
    Ok(files)
}
