//! Conditions as they are written, and the tests beside a path.

use super::host::Host;
use super::test::number;
use super::{Condition, Root, Test, within};
use crate::decimal::Decimal;
use crate::json::Value;
use crate::policy::client::{self, Origin};
use crate::policy::document::{Entry, Fields, Report, kind, vocabulary};

/// What a condition may look at where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// `arg`, `every`, `some`: not where there is no operation yet (P14).
    pub arguments: bool,
    /// `meta`: only where it can but raise (P17).
    pub meta: bool,
}

impl Allowed {
    /// P14.
    pub(crate) const CALLER: Allowed = Allowed { arguments: false, meta: false };
    /// P8, and P7's `unless`.
    pub(crate) const OPERATION: Allowed = Allowed { arguments: true, meta: false };
    /// P7's `when`.
    pub(crate) const RAISE: Allowed = Allowed { arguments: true, meta: true };
}

/// Two readers may see two numbers.
const TOO_MANY_DIGITS: &str = "a number of more than 15 digits";

impl Condition {
    pub(crate) fn read(entry: &Entry<'_>, allowed: Allowed, report: &mut Report) -> Option<Condition> {
        // A test beside anything but a path would not be asked.
        let has_path = ["claim", "arg", "meta"].iter().any(|root| entry.value.get(root).is_some());
        let tests = if has_path { vocabulary::TEST } else { &[] };
        let fields = entry.fields(&[vocabulary::CONDITION, tests], report)?;
        let mut found = Vec::new();
        for (name, join) in [("all", Condition::All as fn(Vec<Condition>) -> Condition), ("any", Condition::Any)] {
            if let Some(list) = fields.take(name) {
                let items = list.list(report).unwrap_or_default();
                nothing_in_it(&list, &items, report);
                found.push(join(items.iter().filter_map(|item| Condition::read(item, allowed, report)).collect()));
            }
        }
        if let Some(inner) = fields.take("not") {
            let inner = Condition::read(&inner, Allowed { meta: false, ..allowed }, report);
            found.extend(inner.map(|inner| Condition::Not(Box::new(inner))));
        }
        if let Some(list) = fields.take("client") {
            let clients = texts(&list, report);
            clients.iter().for_each(|client| client::check(client, &list, report));
            found.push(Condition::Client(clients));
        }
        if let Some(entry) = fields.take("client_origin") {
            let origins = one_or_more(&entry, report);
            found.push(Condition::ClientOrigin(origins.iter().filter_map(|item| Origin::read(item, report)).collect()));
        }
        if let Some(list) = fields.take("source") {
            found.push(Condition::Source(texts(&list, report)));
        }
        for (name, root) in [("claim", Root::Claim), ("arg", Root::Argument), ("meta", Root::Meta)] {
            let Some(path) = fields.take(name) else { continue };
            refuse(&path, name, root, allowed, report);
            let member = member(Some(&path), name, &fields, report);
            found.extend(member.map(|(path, test)| Condition::Member(root, path, test)));
        }
        for (name, each) in
            [("every", Condition::Every as fn(Vec<String>, Test) -> Condition), ("some", Condition::Some)]
        {
            let Some(inner) = fields.take(name) else { continue };
            refuse(&inner, name, Root::Argument, allowed, report);
            found.extend(items(&inner, report).map(|(path, test)| each(path, test)));
        }
        let path = fields.path.clone();
        fields.finish(report);
        if found.len() == 1 {
            return found.pop();
        }
        if found.len() > 1 {
            report.fault(&path, "several conditions in one", "put them into a list: `all: [ ... ]` or `any: [ ... ]`");
        } else if report.faults.iter().all(|fault| !fault.path.starts_with(&path)) {
            let help = "write one of `client`, `client_origin`, `source`, `claim`, `arg`, `meta`, `every`, `some`, `all`, `any`, `not`";
            report.fault(&path, "no condition", help);
        }
        None
    }
}

/// P14, P17: where it stands, it must not decide.
fn refuse(entry: &Entry<'_>, name: &str, root: Root, allowed: Allowed, report: &mut Report) {
    match root {
        Root::Argument if !allowed.arguments => {
            let help = "this is about the caller, whatever it calls: write a `raise`, or `may_elevate`";
            entry.fault(report, format!("`{name}` is not understood here (P14)"), help);
        }
        Root::Meta if !allowed.meta => {
            let help = "the caller writes `_meta` as it likes: it may only stand under `when`, and not under `not`";
            entry.fault(report, "`meta` where it could lower what is asked (P17)", help);
        }
        _ => {}
    }
}

/// `{ arg: PATH, TEST }` behind `every` and `some`.
fn items(entry: &Entry<'_>, report: &mut Report) -> Option<(Vec<String>, Test)> {
    let fields = entry.fields(&[vocabulary::ITEMS, vocabulary::TEST], report)?;
    let help = "they are about the items of one argument: { arg: paths, within: /srv/ }";
    let path = fields.require("arg", help, report);
    let found = member(path.as_ref(), "arg", &fields, report);
    fields.finish(report);
    found
}

/// A path and the one test beside it.
fn member(
    path: Option<&Entry<'_>>,
    root: &str,
    fields: &Fields<'_>,
    report: &mut Report,
) -> Option<(Vec<String>, Test)> {
    let path = path.and_then(|path| path_of(path, report));
    let mut tests = Vec::new();
    if let Some(entry) = fields.take("equals") {
        tests.extend(equals(&entry, report));
    }
    if let Some(entry) = fields.take("in") {
        let items = entry.list(report).unwrap_or_default();
        nothing_in_it(&entry, &items, report);
        tests.push(Test::In(items.iter().filter_map(|item| scalar(item, report)).collect()));
    }
    for (name, test) in [("prefix", Test::Prefix as fn(String) -> Test), ("suffix", Test::Suffix)] {
        if let Some(entry) = fields.take(name) {
            tests.extend(entry.text(report).map(|text| test(text.to_owned())));
        }
    }
    for (name, test) in [("above", Test::Above as fn(Decimal) -> Test), ("below", Test::Below)] {
        if let Some(entry) = fields.take(name) {
            tests.extend(bound(&entry, report).map(test));
        }
    }
    if let Some(entry) = fields.take("present") {
        match entry.value {
            Value::Bool(wanted) => tests.push(Test::Present(*wanted)),
            _ => entry.fault(report, "neither true nor false", "write `true` or `false`"),
        }
    }
    if let Some(entry) = fields.take("within") {
        match entry.text(report) {
            Some(folder) if folder.ends_with('/') && within::is_plain(folder) => {
                tests.push(Test::Within(folder.to_owned()))
            }
            Some(_) => entry.fault(report, "not a folder", "write an absolute path that ends in a slash: /srv/data/"),
            None => {}
        }
    }
    if let Some(entry) = fields.take("host") {
        tests.push(Test::Host(hosts(&entry, report)));
    }
    let (Some(test), true) = (tests.pop(), tests.is_empty()) else {
        // A test that is there and wrong has its own fault.
        if report.faults.iter().all(|fault| !fault.path.starts_with(&fields.path)) {
            let names = vocabulary::TEST.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let help = format!("write exactly one of {names} beside `{root}`");
            report.fault(&fields.path, format!("`{root}` without one test"), help);
        }
        return None;
    };
    Some((path?, test))
}

/// `a.b` or `/a/b` (RFC 6901).
fn path_of(entry: &Entry<'_>, report: &mut Report) -> Option<Vec<String>> {
    let text = entry.text(report)?;
    Some(match text.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect(),
        None => {
            if text.contains('.') && text.contains('/') {
                let help =
                    "a dot leads to a member of a member; as one name: begin with `/`, and write `~1` for a slash";
                report.warn(&entry.path, "a name with dots and slashes is read as a path (P17)", help);
            }
            text.split('.').map(str::to_owned).collect()
        }
    })
}

/// A value; a text may have the called name in it.
fn equals(entry: &Entry<'_>, report: &mut Report) -> Option<Test> {
    let Some(text) = entry.value.text().filter(|text| text.contains(['{', '}'])) else {
        return scalar(entry, report).map(Test::Equals);
    };
    let pieces = template(text);
    if pieces.is_none() {
        entry.fault(
            report,
            "a brace that is not understood",
            "write `{name}` for the called name, `{{` and `}}` for braces",
        );
    }
    let mut pieces = pieces?;
    match (pieces.len(), pieces.pop().flatten()) {
        (1, Some(text)) => Some(Test::Equals(Value::Text(text.into()))),
        (_, last) => {
            pieces.push(last);
            Some(Test::EqualsName(pieces))
        }
    }
}

/// Literals, and `None` for each `{name}`.
fn template(text: &str) -> Option<Vec<Option<String>>> {
    let mut pieces: Vec<Option<String>> = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(rest.get(..at)?);
        rest = rest.get(at..)?;
        if let Some(after) = rest.strip_prefix("{name}") {
            pieces.extend([Some(std::mem::take(&mut literal)), None]);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            literal.push_str(rest.get(..1)?);
            rest = after;
        } else {
            return None;
        }
    }
    literal.push_str(rest);
    pieces.push(Some(literal));
    Some(pieces)
}

fn bound(entry: &Entry<'_>, report: &mut Report) -> Option<Decimal> {
    let found = number(entry.value);
    if found.is_none() {
        match entry.value {
            Value::Integer(_) | Value::Number(_) => entry.fault(report, TOO_MANY_DIGITS, "write at most 15 digits"),
            other => entry.fault(report, format!("{} where a number is expected", kind(other)), "write a number"),
        }
    }
    found
}

fn hosts(entry: &Entry<'_>, report: &mut Report) -> Vec<Host> {
    let mut hosts = Vec::new();
    for item in one_or_more(entry, report) {
        let Some(text) = item.text(report) else { continue };
        match Host::parse(text) {
            Some(host) => hosts.push(host),
            None => item.fault(
                report,
                "no host that a URL could be at",
                "write `example.com`, `*.example.com` or `192.0.2.1`",
            ),
        }
    }
    hosts
}

fn scalar(entry: &Entry<'_>, report: &mut Report) -> Option<Value<'static>> {
    match entry.value {
        Value::Text(text) => Some(Value::Text(text.to_string().into())),
        Value::Bool(value) => Some(Value::Bool(*value)),
        Value::Integer(_) | Value::Number(_) if number(entry.value).is_none() => {
            entry.fault(
                report,
                TOO_MANY_DIGITS,
                "claims of that length are compared as texts: let the issuer write one",
            );
            None
        }
        Value::Integer(value) => Some(Value::Integer(*value)),
        Value::Number(value) => Some(Value::Number(*value)),
        other => {
            entry.fault(
                report,
                format!("{} where a single value is expected", kind(other)),
                "write a text or a number",
            );
            None
        }
    }
}

/// An empty list holds for nobody, and under `not` for everybody.
fn nothing_in_it(entry: &Entry<'_>, items: &[Entry<'_>], report: &mut Report) {
    if items.is_empty() && matches!(entry.value, Value::List(_)) {
        entry.fault(report, "nothing in it", "list at least one; a condition that nobody meets is better a `deny`");
    }
}

fn one_or_more<'v>(entry: &Entry<'v>, report: &mut Report) -> Vec<Entry<'v>> {
    let items = match entry.value {
        Value::List(_) => entry.list(report).unwrap_or_default(),
        _ => vec![entry.clone()],
    };
    nothing_in_it(entry, &items, report);
    items
}

fn texts(entry: &Entry<'_>, report: &mut Report) -> Vec<String> {
    let items = one_or_more(entry, report);
    items.iter().filter_map(|item| item.text(report)).map(str::to_owned).collect()
}
