//! One operation out of what was logged: its record, its line of the access log, and what Envoy's log says of it.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use time::{Date, Month, OffsetDateTime, Time};

use crate::replay::{Line, came, read_line};
use crate::shown::plain;

/// What was found of it.
pub(super) struct Operation {
    pub record: Value,
    /// Milliseconds where it is known when it was, and what happened.
    happened: Vec<(Option<i128>, String)>,
}

/// How the filter's lines begin in Envoy's log.
const MARK: &str = "step-up: ";

/// The operation of this id; the only one where none is given.
pub(super) fn find(audit: &str, logs: &[String], id: Option<&str>) -> Result<Operation> {
    let (mut records, mut lines) = (Vec::new(), Vec::new());
    // A record alone may be laid out.
    if let Line::Record(record, entry) = read_line(audit) {
        records.push((*record, *entry));
    } else {
        for line in audit.lines().filter(|line| !line.trim().is_empty()) {
            match read_line(line) {
                Line::Record(record, entry) => records.push((*record, *entry)),
                Line::Without => {}
                // Both logs may go to one place.
                Line::Unreadable => lines.push(line),
            }
        }
    }
    lines.extend(logs.iter().flat_map(|log| log.lines()));
    let of = |record: &Value| record.get("id").and_then(Value::as_str).map(str::to_owned);
    let found: Vec<&(Value, Value)> = match id {
        Some(id) => records.iter().filter(|(record, _)| of(record).as_deref() == Some(id)).collect(),
        None => records.iter().collect(),
    };
    let (record, entry) = match (found.as_slice(), id) {
        ([one], _) => one,
        ([], Some(id)) => bail!("there is no record with the id {}", plain(id)),
        ([], None) => bail!("that is no audit record, and no access log with one"),
        (several, Some(id)) => bail!("{} records have the id {}", several.len(), plain(id)),
        (several, None) => {
            let some: Vec<String> =
                several.iter().filter_map(|(record, _)| of(record)).take(3).map(|id| plain(&id)).collect();
            bail!("there are {} records: say which with `--id`, e.g. {}", several.len(), some.join(", "))
        }
    };
    let mut happened = Vec::new();
    if entry.get("time").is_some() {
        happened.extend(of_entry(entry));
    }
    let own = of(record).filter(|id| !id.is_empty());
    let said = lines.iter().filter_map(|line| Some((line, line.split_once(MARK)?.1)));
    let said = said.filter_map(|(line, said)| Some((line, said.strip_prefix(own.as_deref()?)?.strip_prefix(": ")?)));
    happened.extend(said.map(|(line, said)| (logged_at(line), format!("logged: {said}"))));
    happened.extend(shown_again(record, &records));
    // Stable: what has no time stays behind what it was logged after.
    let mut last = None;
    for (at, _) in &mut happened {
        *at = at.or(last);
        last = *at;
    }
    happened.sort_by_key(|(at, _)| *at);
    Ok(Operation { record: record.clone(), happened })
}

impl Operation {
    /// What happened, in order; empty where only the record is known.
    pub(super) fn story(&self) -> Vec<String> {
        let line = |(at, text): &(Option<i128>, String)| {
            let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp_nanos(at * 1_000_000).ok());
            let clock = at.map_or_else(
                || "-".repeat(12),
                |at| {
                    let (hour, minute, second, millis) = at.time().as_hms_milli();
                    format!("{hour:02}:{minute:02}:{second:02}.{millis:03}")
                },
            );
            format!("{clock} {}", plain(text))
        };
        self.happened.iter().map(line).collect()
    }
}

/// A line of the access log: when the request came, and when its answer was over.
fn of_entry(entry: &Value) -> Vec<(Option<i128>, String)> {
    let text =
        |name: &str| entry.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let begin = came(entry);
    let duration = text("duration").and_then(|duration| duration.parse::<i128>().ok());
    let what = [text("method"), text("path")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let mut happened = vec![(begin, format!("the request came: {what}"))];
    let status = text("status").unwrap_or_else(|| "none".to_owned());
    let mut end = format!("the answer was over: status {status}");
    for name in ["details", "flags"] {
        if let Some(said) = text(name).filter(|said| said != "-" && !said.is_empty()) {
            end += &format!(", {said}");
        }
    }
    happened.push((begin.zip(duration).map(|(begin, duration)| begin + duration), end));
    happened
}

/// Where the token of this call came back as a caller's.
fn shown_again(record: &Value, records: &[(Value, Value)]) -> Vec<(Option<i128>, String)> {
    let Some(token) = record.pointer("/elevated/token").and_then(Value::as_str) else { return Vec::new() };
    let is_it = |other: &Value| other.get("token").and_then(Value::as_str) == Some(token);
    let text = |other: &Value, name: &str| other.get(name).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let again = records.iter().filter(|(other, _)| is_it(other));
    let line = |(other, entry): &(Value, Value)| {
        let at = of_entry(entry).first().and_then(|(at, _)| *at);
        (
            at,
            format!(
                "the token of this call came back in a request: {}, {} (id {})",
                text(other, "verdict"),
                text(other, "reason"),
                text(other, "id")
            ),
        )
    };
    again.map(line).collect()
}

/// Envoy's lines begin with `[2026-11-21 12:00:00.000]`, in the time of the machine, which is taken for UTC.
fn logged_at(line: &str) -> Option<i128> {
    let inner = line.trim_start().strip_prefix('[')?.split(']').next()?;
    let (date, clock) = inner.split_once([' ', 'T'])?;
    let mut date = date.split('-').map(|part| part.parse::<i32>());
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let (clock, millis) = clock.trim_end_matches('Z').split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.split(':').map(|part| part.parse::<u8>());
    let millis = millis.get(..3).unwrap_or(millis).parse().ok()?;
    let time = Time::from_hms_milli(clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?, millis).ok()?;
    let date = Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()?;
    Some(OffsetDateTime::new_utc(date, time).unix_timestamp_nanos() / 1_000_000)
}

/// A file of Envoy's log.
pub(super) fn log(path: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}
