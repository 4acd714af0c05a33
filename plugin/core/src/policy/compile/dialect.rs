//! How a token service is asked, and what it may answer beside (P28). Each word is a relaxation, or another spelling.

use super::issuers::template;
use crate::policy::document::{self, Entry, Fields, Report, vocabulary};
use crate::policy::{AnswerForm, Grant, RequestForm, Target};
use crate::text::is_scope_token;

pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

pub(super) fn read(fields: &Fields<'_>, report: &mut Report) -> (Option<RequestForm>, AnswerForm) {
    let request = match fields.take("request") {
        None => Some(request(None, report)),
        Some(entry) => entry.fields(&[vocabulary::REQUEST], report).map(|fields| {
            let form = request(Some(&fields), report);
            fields.finish(report);
            form
        }),
    };
    let grant = request.as_ref().map(|request| request.grant);
    (request, answer(fields, grant, report))
}

fn request(fields: Option<&Fields<'_>>, report: &mut Report) -> RequestForm {
    let take = |name| fields.and_then(|fields| fields.take(name));
    let grants = [("token-exchange", Grant::TokenExchange), ("on-behalf-of", Grant::OnBehalfOf)];
    let grant = take("grant").and_then(|entry| document::word(&entry, &grants, report)).unwrap_or(Grant::TokenExchange);
    let targets = [
        ("resource", Target::Resource),
        ("audience", Target::Audience),
        ("both", Target::Both),
        ("unsaid", Target::Unsaid),
    ];
    let target = take("target").and_then(|entry| {
        let target = document::word(&entry, &targets, report)?;
        if target == Target::Unsaid {
            let help = "what comes back is checked for the rule's audience all the same";
            report.note(&entry.path, "the token service is not told for whom the token is (P28)", help);
        }
        Some(target)
    });
    let types = [("access_token", Some(ACCESS_TOKEN)), ("jwt", Some(JWT)), ("unsaid", None)];
    let token_type = take("token_type").and_then(|entry| {
        let kind = document::word(&entry, &types, report)?;
        if grant == Grant::OnBehalfOf && kind.is_some() {
            entry.fault(report, "`token_type` beside `on-behalf-of`", "it sends none: leave it out");
        }
        Some(kind)
    });
    let (target, token_type) = match grant {
        Grant::TokenExchange => (target.unwrap_or(Target::ByForm), token_type.unwrap_or(Some(ACCESS_TOKEN))),
        Grant::OnBehalfOf => (target.unwrap_or(Target::Unsaid), None),
    };
    let scope = take("scope").and_then(|entry| template(&entry, &["{audience}", "{scope}"], report));
    RequestForm { grant, target, token_type, scope: scope.filter(|scope| scope != "{scope}") }
}

fn answer(fields: &Fields<'_>, grant: Option<Grant>, report: &mut Report) -> AnswerForm {
    let texts = |name, report: &mut Report| {
        let entry = fields.take(name)?;
        let items = entry.some_list(report)?;
        let texts: Vec<String> = items.iter().filter_map(|item| item.text(report)).map(str::to_owned).collect();
        Some((texts, entry, items))
    };
    let mut form = AnswerForm { assumes_type: grant == Some(Grant::OnBehalfOf), ..AnswerForm::default() };
    if let Some((scopes, entry, items)) = texts("also_granted", report) {
        for item in items.iter().filter(|item| item.value.text().is_some_and(|text| !is_scope_token(text))) {
            item.fault(report, "not a scope token", "RFC 6749 3.3: visible ASCII without quotes and backslashes");
        }
        let help = "they are never believed of callers; better: take them out of the filter's client there";
        report.note(&entry.path, "tokens of one call may have these scopes beside what was asked for (P28)", help);
        form.also_granted = scopes;
    }
    if let Some((audiences, entry, items)) = texts("also_audience", report) {
        patterns(&items, report);
        let help = "whoever accepts one of these accepts a token of one call, too";
        report.note(&entry.path, "tokens of one call may be for these beside the rule's audience (P28)", help);
        form.also_audience = audiences;
    }
    if let Some(entry) = fields.take("audience_aliases") {
        let named = entry.named(report).unwrap_or_default();
        if named.is_empty() {
            entry.fault(report, "no alias", "name an audience and what else it is called, or leave the field out");
        }
        for (audience, entry) in named {
            document::no_pattern(audience, &entry, report);
            let items = entry.some_list(report).unwrap_or_default();
            patterns(&items, report);
            let others = items.iter().filter_map(|item| item.text(report)).map(str::to_owned).collect();
            form.audience_aliases.push((audience.to_owned(), others));
        }
    }
    if let Some(entry) = fields.take("issued_token_type") {
        let assumes = document::word(&entry, &[("said", false), ("assumed", true)], report);
        if assumes == Some(true) {
            let help = "RFC 8693 2.2.1 requires it; the token itself is checked all the same";
            report.note(&entry.path, "an answer need not say of what type its token is (P28)", help);
        }
        form.assumes_type = assumes.unwrap_or(form.assumes_type);
    }
    form
}

fn patterns(items: &[Entry<'_>], report: &mut Report) {
    for item in items {
        document::no_pattern(item.value.text().unwrap_or_default(), item, report);
    }
}
