//! What a server says of lists (P16), of what its tools looked like (P31), and for records (P36).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::policy::document::{self, Entry, Fields, Report};
use crate::policy::model::{Digest, Pins};

pub(super) struct Lists {
    pub filters: bool,
    pub annotates: bool,
    pub pins: Pins,
}

impl Lists {
    pub(super) fn read(fields: &Fields<'_>, has_anonymous: bool, report: &mut Report) -> Lists {
        let lists = fields.take("lists");
        let ways = [("filter", true), ("pass", false)];
        let filters = lists.as_ref().and_then(|entry| document::word(entry, &ways, report)).unwrap_or(true);
        let annotate = fields.take("annotate");
        let items = annotate.as_ref().and_then(|entry| entry.some_list(report)).unwrap_or_default();
        for item in &items {
            document::word(item, &[("security_schemes", ())], report);
        }
        if let Some(entry) = annotate.as_ref().filter(|_| !filters) {
            entry.fault(report, "`annotate` where lists pass (P16)", "write `lists: filter`, or leave it out");
        }
        if let Some(entry) = annotate.as_ref().filter(|_| has_anonymous) {
            let help = "who has no token is shown all that some token could reach, so that it knows to log in";
            report.warn(&entry.path, "names of tools, prompts and resources, and schemas, are public (P16)", help);
        }
        let pinned = fields.take("pins");
        let digests = pinned.as_ref().map(|entry| pins(entry, report)).unwrap_or_default();
        let unpinned = fields.take("unpinned");
        let ways = [("allow", false), ("hide", true)];
        let hides_others = unpinned.as_ref().and_then(|entry| document::word(entry, &ways, report)).unwrap_or(false);
        if let Some(entry) = unpinned.filter(|_| pinned.is_none()) {
            entry.fault(report, "`unpinned` without `pins`", "pin tools first: `stepup pin`");
        }
        Lists { filters, annotates: annotate.is_some(), pins: Pins { digests, hides_others } }
    }
}

/// `sha256-` and the digest in base64, as in Subresource Integrity.
fn pins(entry: &Entry<'_>, report: &mut Report) -> BTreeMap<String, Digest> {
    let mut pins = BTreeMap::new();
    let named = entry.named(report).unwrap_or_default();
    if named.is_empty() && entry.value.members().is_some() {
        entry.fault(report, "no pin", "pin at least one tool, or leave the field out");
    }
    for (name, entry) in named {
        let digest = entry.value.text().and_then(|text| text.strip_prefix("sha256-"));
        match digest.and_then(|text| STANDARD.decode(text).ok()?.try_into().ok()) {
            Some(digest) => drop(pins.insert(name.to_owned(), digest)),
            None => entry.fault(report, "not a digest", "`stepup pin` writes it: sha256- and 32 bytes in base64"),
        }
    }
    pins
}

#[derive(Default)]
pub(super) struct Labels {
    pub environment: Option<String>,
    pub data_class: Option<String>,
    pub declared_task: Option<String>,
}

impl Labels {
    pub(super) fn read(fields: &Fields<'_>, report: &mut Report) -> Labels {
        let mut label = |name| fields.take(name).and_then(|entry| document::label(&entry, report));
        Labels {
            environment: label("environment"),
            data_class: label("data_class"),
            declared_task: fields.take("declared_task").and_then(|entry| entry.text(report).map(str::to_owned)),
        }
    }
}
