//! `clients`: what they can do (P24).

use crate::policy::ability::{Ability, Clients};
use crate::policy::client::{self, Origin};
use crate::policy::document::{self, Entry, Report, vocabulary};

pub(super) fn read(entry: Option<Entry<'_>>, report: &mut Report) -> Clients {
    let mut clients = Clients::default();
    for item in entry.and_then(|entry| entry.some_list(report)).unwrap_or_default() {
        one(&item, &mut clients, report);
    }
    clients
}

fn one(entry: &Entry<'_>, clients: &mut Clients, report: &mut Report) {
    let Some(fields) = entry.fields(&[vocabulary::CLIENTS], report) else { return };
    let (ids, origins) = (fields.take("client"), fields.take("client_origin"));
    let mut flag = |name| fields.take(name).is_some_and(|entry| document::boolean(&entry, report));
    let (steps_up, rfc9470) = (flag("steps_up"), flag("rfc9470"));
    let challenge = fields.take("challenge");
    let ways = [("http", false), ("result", true)];
    let by_result = challenge.as_ref().and_then(|entry| document::word(entry, &ways, report)).unwrap_or(false);
    if let Some(entry) = challenge.filter(|_| by_result && !steps_up) {
        let help = "a challenge is for who can meet it: add `steps_up: true`";
        entry.fault(report, "`challenge: result` without `steps_up`", help);
    }
    let ability = Ability { steps_up, by_result, rfc9470 };
    match (&ids, &origins) {
        (Some(_), Some(_)) | (None, None) => {
            let help = "name the clients by their ids, or by the origin of their metadata URLs";
            report.fault(&fields.path, "not exactly one of `client` and `client_origin`", help);
        }
        _ => {}
    }
    let twice = |item: &Entry<'_>, report: &mut Report| {
        item.fault(report, "named twice", "one id or origin stands in one entry: keep one of them");
    };
    for item in ids.and_then(|entry| entry.some_list(report)).unwrap_or_default() {
        let Some(id) = item.text(report) else { continue };
        client::check(id, &item, report);
        match clients.ids.iter().any(|(known, _)| client::is_same(known, id)) {
            true => twice(&item, report),
            false => clients.ids.push((id.to_owned(), ability)),
        }
    }
    for item in origins.and_then(|entry| entry.some_list(report)).unwrap_or_default() {
        let Some(origin) = Origin::read(&item, report) else { continue };
        match clients.origins.iter().any(|(known, _)| *known == origin) {
            true => twice(&item, report),
            false => clients.origins.push((origin, ability)),
        }
    }
    fields.finish(report);
}
