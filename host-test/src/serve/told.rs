//! What is told of decisions, as they are made: a line each, for people or for machines.

use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::elevations::{Elevations, Over, end_of_token};

/// What happened.
#[derive(Clone, Debug)]
pub enum Told {
    /// A request is over.
    Ended(Way),
    /// A call of the filter's was answered. It has tokens in it: it is for whoever asked, and nobody writes it down.
    Called(Called),
    /// The filter, or the proxy around it, writes to its log.
    Line {
        /// 0 trace, 1 debug, 2 info, 3 warning, 4 error, 5 critical.
        level: u32,
        /// What it writes.
        line: String,
    },
}

/// A request that is over.
#[derive(Clone, Debug)]
pub struct Way {
    /// The audit record; empty when there is none.
    pub record: Vec<u8>,
    /// Response code details.
    pub details: String,
    /// From its head to its end.
    pub took: Duration,
}

/// A call of the filter's, and its answer.
#[derive(Clone)]
pub struct Called {
    /// The cluster.
    pub cluster: String,
    /// What was sent.
    pub request: Vec<u8>,
    /// HTTP status.
    pub status: u16,
    /// What came back.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Called").field("cluster", &self.cluster).field("status", &self.status).finish_non_exhaustive()
    }
}

/// Writes a line for each.
pub(super) struct Writer {
    pub as_json: bool,
    pub in_colour: bool,
    /// Those of which more is to be told.
    elevations: Mutex<Elevations>,
}

const WARNING: u32 = 3;

impl Writer {
    pub fn new(as_json: bool, in_colour: bool) -> Writer {
        Writer { as_json, in_colour, elevations: Mutex::default() }
    }

    /// Nobody may be reading any more: that is no reason to stop.
    pub fn write(&self, told: &Told) {
        let line = if self.as_json { self.json(told) } else { self.text(told) };
        if let Some(line) = line {
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }

    fn json(&self, told: &Told) -> Option<String> {
        Some(match told {
            Told::Called(_) => return None,
            Told::Ended(way) => {
                let record: Value = serde_json::from_slice(&way.record).unwrap_or_default();
                let millis = u64::try_from(way.took.as_millis()).unwrap_or(u64::MAX);
                json!({ "time": now(), "stepup": record, "details": way.details, "took": millis }).to_string()
            }
            Told::Line { level, line } => json!({ "time": now(), "level": level, "log": line }).to_string(),
        })
    }

    fn text(&self, told: &Told) -> Option<String> {
        match told {
            Told::Called(_) => None,
            Told::Ended(way) => {
                let record: Value = serde_json::from_slice(&way.record).ok()?;
                let decision = format!("{} {}", now(), self.decision(&record, way));
                let over = self.elevated(&record).map(|over| format!("\n{} {}", now(), self.over(&over)));
                Some(decision + &over.unwrap_or_default())
            }
            Told::Line { level, line } => {
                if let Some((id, end)) = end_of_token(line)
                    && let Some(over) = self.elevations.lock().ok()?.token(id, end)
                {
                    return Some(format!("{} {}", now(), self.over(&over)));
                }
                (*level >= WARNING)
                    .then(|| format!("{} {} {}", now(), self.paint(Colour::Red, "filter   "), visible(line)))
            }
        }
    }

    /// Who, what, verdict, why.
    fn decision(&self, record: &Value, way: &Way) -> String {
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        let verdict = text("verdict");
        let colour = match verdict {
            "permit" | "answer" => Colour::Green,
            "challenge" => Colour::Yellow,
            _ => Colour::Red,
        };
        let mut line = self.paint(colour, &format!("{verdict:<9}"));
        let mut add = |text: &str| {
            line.push(' ');
            line.push_str(text);
        };
        add(&visible(&what(record)));
        add(&visible(&who(record)));
        let reason = text("reason");
        let status =
            record.get("status").and_then(Value::as_u64).map(|status| format!(" {status}")).unwrap_or_default();
        add(&format!("({reason}{status})"));
        if let Some(missing) =
            record.get("missing").filter(|missing| missing.as_array().is_some_and(|missing| !missing.is_empty()))
        {
            add(&format!("missing {}", visible(&words(missing))));
        }
        if let Some(elevated) = record.get("elevated") {
            let scopes = elevated.get("scopes").map(words).unwrap_or_default();
            let seconds = elevated.get("expires_in").and_then(Value::as_u64).unwrap_or_default();
            let took = elevated.get("took").and_then(Value::as_u64).unwrap_or_default();
            add(&format!("got {} for {seconds} s in {took} ms", visible(&scopes)));
        }
        if let Some(would) = record.get("would") {
            let of = |name: &str| would.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            add(&self.paint(Colour::Yellow, &format!("would {} ({})", of("verdict"), of("reason"))));
        }
        add(&format!("{} ms", way.took.as_millis()));
        add(&self.paint(Colour::Grey, &visible(text("id"))));
        line
    }

    /// If that was the request of an elevation whose token is over.
    fn elevated(&self, record: &Value) -> Option<Over> {
        let life =
            Duration::from_secs(record.get("elevated")?.get("expires_in").and_then(Value::as_u64).unwrap_or_default());
        let id = record.get("id").and_then(Value::as_str)?;
        self.elevations.lock().ok()?.request(id, &format!("{} {}", what(record), who(record)), life)
    }

    fn over(&self, Over { what, end, after }: &Over) -> String {
        let colour = if end == "revoked" { Colour::Green } else { Colour::Yellow };
        let when = after
            .map_or_else(|| "before the end".to_owned(), |after| format!("{} ms after the end", after.as_millis()));
        format!("{} {} its token, {when}", self.paint(colour, &format!("{:<9}", visible(end))), visible(what))
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if self.in_colour { format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8) } else { text.to_owned() }
    }
}

#[derive(Clone, Copy)]
enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Grey = 90,
}

/// The operation: `tools/call delete_repo`, with the server where there are several.
fn what(record: &Value) -> String {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let parts = [text("server").filter(|server| *server != "default"), text("method"), text("name")];
    let said: Vec<&str> = parts.into_iter().flatten().collect();
    if said.is_empty() { "-".to_owned() } else { said.join(" ") }
}

/// `alice via agent`.
fn who(record: &Value) -> String {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    match (text("subject"), text("client")) {
        (None, None) => "by nobody known".to_owned(),
        (Some(subject), None) => format!("by {subject}"),
        (None, Some(client)) => format!("by {client}"),
        (Some(subject), Some(client)) if subject == client => format!("by {subject}"),
        (Some(subject), Some(client)) => format!("by {subject} via {client}"),
    }
}

fn words(list: &Value) -> String {
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.collect::<Vec<_>>().join(" ")
}

/// Names come from clients: nothing of them reaches the terminal but visible ASCII.
fn visible(text: &str) -> String {
    let seen = |c: char| if c == ' ' || c.is_ascii_graphic() { c.to_string() } else { c.escape_unicode().to_string() };
    text.chars().map(seen).collect()
}

fn now() -> String {
    const TIME: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(TIME).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(record: &Value) -> Told {
        Told::Ended(Way {
            record: record.to_string().into_bytes(),
            details: String::new(),
            took: Duration::from_millis(7),
        })
    }

    #[test]
    fn an_elevation_is_a_line_when_it_is_used_and_one_when_it_ends() {
        let writer = Writer::new(false, false);
        let record = json!({
            "id": "d1", "verdict": "permit", "reason": "elevated", "method": "tools/call", "name": "delete_repo",
            "subject": "alice", "client": "agent",
            "elevated": { "scopes": ["repo:admin"], "expires_in": 60, "took": 12 },
        });
        let line = writer.text(&way(&record)).unwrap();
        assert!(
            line.ends_with("Z permit    tools/call delete_repo by alice via agent (elevated) got repo:admin for 60 s in 12 ms 7 ms d1"),
            "{line}"
        );
        let line = |text: &str| Told::Line { level: 1, line: text.to_owned() };
        assert!(
            writer.text(&line("step-up: d1: completed after 7 ms")).is_none(),
            "the operation's end is the request's"
        );
        let end = writer.text(&line("step-up: d1: revoked")).unwrap();
        assert!(end.contains(" revoked   tools/call delete_repo by alice via agent its token, "), "{end}");
        // An event stream may end later than its operation, and so than its token.
        let mut early = record.clone();
        early["id"] = json!("d2");
        assert!(writer.text(&line("step-up: d2: revoked")).is_none());
        let both = writer.text(&way(&early)).unwrap();
        assert!(both.contains("\n") && both.ends_with("its token, before the end"), "{both}");
    }

    #[test]
    fn names_from_clients_are_shown_and_do_nothing() {
        let record = json!({ "id": "d2", "verdict": "deny", "reason": "no_rule", "status": 403, "name": "\u{1b}[2J\u{202e}x\n", "subject": "é" });
        let line = Writer::new(false, false).text(&way(&record)).unwrap();
        assert!(line.contains(r"\u{1b}[2J\u{202e}x\u{a} by \u{e9} (no_rule 403)"), "{line}");
    }
}
