//! The small notations inside a policy: scopes, times, sizes, dates, choices of a word.

use crate::json::Value;
use crate::policy::document::{Entry, Report, kind, vocabulary};
use crate::text::{distinct, is_scope_token};
use crate::time::Millis;

/// P3: one scope token or a list of them, sorted: a baseline, or what a scope implies.
pub(crate) fn scopes(entry: &Entry<'_>, report: &mut Report) -> Option<Vec<String>> {
    let mut scopes = Vec::new();
    for item in one_or_more(entry, report)? {
        scopes.extend(scope(&item, false, report));
    }
    Some(distinct(scopes))
}

/// P3: what is needed, each of it one of several scopes, of which the first is asked for.
pub(crate) fn needs(entry: &Entry<'_>, report: &mut Report) -> Option<Vec<Vec<String>>> {
    let mut needs = Vec::new();
    for item in one_or_more(entry, report)? {
        let need = match item.value {
            Value::Map(_) => any(&item, report),
            _ => scope(&item, true, report).map(|scope| vec![scope]),
        };
        needs.extend(need);
    }
    Some(needs)
}

/// `{ any: [a, b], ask: b }`
fn any(entry: &Entry<'_>, report: &mut Report) -> Option<Vec<String>> {
    let fields = entry.fields(&[vocabulary::GROUP], report)?;
    let list = fields.require("any", "name the scopes of which one is enough: { any: [a, b] }", report);
    let items = list.and_then(|list| list.some_list(report)).unwrap_or_default();
    let mut members: Vec<String> = items.iter().filter_map(|item| scope(item, false, report)).collect();
    if let Some(entry) = fields.take("ask") {
        let ask = entry.text(report)?;
        match members.iter().position(|member| member == ask) {
            Some(at) => members.swap(0, at),
            None => entry.fault(report, "`ask` is none of `any`", "name the one that is to be asked for"),
        }
    }
    fields.finish(report);
    (!members.is_empty()).then_some(members)
}

/// What a scope ends in that is made of the name that is called.
pub(crate) const NAME: &str = "{name}";

fn scope(entry: &Entry<'_>, may_be_built: bool, report: &mut Report) -> Option<String> {
    if matches!(entry.value, Value::Map(_)) {
        entry.fault(report, "one of several scopes where each is needed (P3)", "name the scope");
        return None;
    }
    let text = entry.text(report)?;
    let stem = text.strip_suffix(NAME).filter(|stem| may_be_built && stem.ends_with([':', '.', '/'])).unwrap_or(text);
    if text.contains(' ') {
        let list = text.split_whitespace().collect::<Vec<_>>().join(", ");
        entry.fault(report, "a space inside a scope", format!("for several scopes write a list: [{list}]"));
    } else if !is_scope_token(text) {
        entry.fault(report, "not a scope token", "RFC 6749 3.3 allows visible ASCII without quotes and backslashes");
    } else if stem.contains(['{', '}']) {
        let help = "a scope of a tool's or prompt's rule may end in `{name}`, behind `:`, `.` or `/`: \"tool:{name}\"";
        entry.fault(report, "a brace inside a scope", help);
    } else {
        return Some(text.to_owned());
    }
    None
}

fn one_or_more<'v>(entry: &Entry<'v>, report: &mut Report) -> Option<Vec<Entry<'v>>> {
    if matches!(entry.value, Value::List(_)) { entry.list(report) } else { Some(vec![entry.clone()]) }
}

/// P36: a label of records.
pub(crate) fn label(entry: &Entry<'_>, report: &mut Report) -> Option<String> {
    let text = entry.text(report)?;
    let is_label =
        text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:/-".contains(&byte));
    if !is_label {
        entry.fault(report, "not a label", "write at most 64 letters, digits and `_ . : / -`");
    }
    is_label.then(|| text.to_owned())
}

/// Seconds, from `90s`, `15m`, `12h` or `7d`.
#[inline(never)]
pub(crate) fn duration(entry: &Entry<'_>, report: &mut Report) -> Option<u64> {
    let parsed = entry.value.text().and_then(|text| quantity(text, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]));
    if parsed.is_none() {
        entry.fault(report, "not a duration", "write a whole number and a unit: 30s, 15m, 1h or 7d");
    }
    parsed
}

/// The same, or no time at all.
pub(crate) fn duration_or_none(entry: &Entry<'_>, report: &mut Report) -> Option<u64> {
    if entry.value.text() == Some("0s") { Some(0) } else { duration(entry, report) }
}

/// Bytes, from `64KiB` or `1MiB`.
#[inline(never)]
pub(crate) fn size(entry: &Entry<'_>, report: &mut Report) -> Option<usize> {
    let parsed = entry.value.text().and_then(|text| quantity(text, &[("KiB", 1024), ("MiB", 1024 * 1024)]));
    // The same on every machine, also on those of 32 bits.
    let size = parsed.and_then(|size| u32::try_from(size).ok()).and_then(|size| usize::try_from(size).ok());
    if size.is_none() {
        entry.fault(report, "not a size", "write a whole number and a unit, below 4096MiB: 64KiB or 1MiB");
    }
    size
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?;
        let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
        (number > 0).then(|| number.checked_mul(*factor))?
    })
}

/// The first moment of that day, UTC.
#[inline(never)]
pub(crate) fn date(entry: &Entry<'_>, report: &mut Report) -> Option<Millis> {
    let day = entry.value.text().and_then(day);
    let seconds = day.and_then(|day| u64::try_from(day.midnight().assume_utc().unix_timestamp()).ok());
    if seconds.is_none() {
        entry.fault(report, "not a date", "write it as YYYY-MM-DD");
    }
    seconds.map(|seconds| Millis(0).plus_seconds(seconds))
}

/// `time` knows the calendar; its readers of formats are twenty kilobytes.
fn day(text: &str) -> Option<::time::Date> {
    let number = |part: &str, digits: usize| {
        let is_plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| part.parse::<u16>().ok())?
    };
    let mut parts = text.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let month = ::time::Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = ::time::Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok();
    date.filter(|_| parts.next().is_none())
}

/// `true` or `false`.
pub(crate) fn boolean(entry: &Entry<'_>, report: &mut Report) -> bool {
    match entry.value {
        Value::Bool(value) => *value,
        _ => {
            entry.fault(report, "not a boolean", "write `true` or `false`");
            false
        }
    }
}

/// One of a few words.
pub(crate) fn word<T: Copy>(entry: &Entry<'_>, words: &[(&str, T)], report: &mut Report) -> Option<T> {
    let names = words.iter().map(|(word, _)| *word).collect::<Vec<_>>();
    words.get(choice(entry, &names, report)?).map(|(_, value)| *value)
}

/// Its position.
#[inline(never)]
fn choice(entry: &Entry<'_>, words: &[&str], report: &mut Report) -> Option<usize> {
    let found = entry.value.text().and_then(|text| words.iter().position(|word| *word == text));
    if found.is_none() {
        let list = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
        let what = entry.value.text().map_or_else(|| kind(entry.value).to_owned(), |text| format!("`{text}`"));
        entry.fault(report, format!("{what} is not known here"), format!("write {list}"));
    }
    found
}
