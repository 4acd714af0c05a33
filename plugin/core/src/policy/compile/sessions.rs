//! `sessions`: the keys that seal the ids of sessions (P35).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::service::secret;
use crate::policy::Environment;
use crate::policy::document::{Entry, Report, vocabulary};
use crate::policy::session::Keys;

pub(super) fn read(entry: Option<Entry<'_>>, environment: &dyn Environment, report: &mut Report) -> Option<Keys> {
    let fields = entry?.fields(&[vocabulary::SESSIONS], report)?;
    let help = "name the variables with the keys: `keys_env: [NEW, OLD]`";
    let entry = fields.require("keys_env", help, report);
    let items = entry.as_ref().and_then(|entry| entry.some_list(report)).unwrap_or_default();
    let mut keys = Vec::new();
    for item in &items {
        keys.extend(key(item, environment, report));
    }
    if let Some(entry) = entry.filter(|_| items.len() > 2) {
        entry.fault(report, "more than two keys", "the first seals, the second is the one before it: keep these");
    }
    fields.finish(report);
    Some(Keys::new(keys))
}

fn key(entry: &Entry<'_>, environment: &dyn Environment, report: &mut Report) -> Option<[u8; 32]> {
    let text = secret(entry, |name| environment.session_key(name), report)?;
    let key = STANDARD.decode(text.reveal()).ok().and_then(|bytes| bytes.try_into().ok());
    if key.is_none() {
        entry.fault(report, "not a key of 32 bytes in base64", "make one: `openssl rand -base64 32`");
    }
    key
}
