//! The matrix for a terminal, and for a spreadsheet.

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use step_up_core::How;

use super::{Row, needs};
use crate::shown::{cell, duration, plain};

/// Columns where nobody says how wide the terminal is.
const WIDTH: u16 = 150;

pub(super) fn terminal(rows: &[Row]) -> String {
    let mut table = Table::new();
    let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| width.0.max(60));
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    let several = rows.iter().any(|row| rows.first().is_some_and(|first| first.server != row.server));
    let mut head = vec!["what", "client", "how", "what it takes"];
    if several {
        head.insert(0, "server");
    }
    table.set_header(head);
    for row in rows {
        let lines: Vec<String> = needs(&row.words).iter().map(|line| plain(line)).collect();
        let how = match row.words.shadow {
            Some(_) => format!("{}\n({})", row.how(), row.mode()),
            None => row.how().to_owned(),
        };
        let what = format!("{} {}", row.kind, plain(&row.name));
        let mut cells = vec![what, plain(&row.client), how, lines.join("\n")];
        if several {
            cells.insert(0, plain(&row.server));
        }
        table.add_row(cells);
    }
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

const COLUMNS: [&str; 19] = [
    "server",
    "kind",
    "name",
    "client",
    "how",
    "held",
    "granted",
    "audience",
    "ttl",
    "max_lifetime",
    "login",
    "binding",
    "actors",
    "callers",
    "may_elevate",
    "conditions",
    "mode",
    "rule",
    "tier",
];

pub(super) fn csv(rows: &[Row]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for row in rows {
        let words = &row.words;
        let is_denied = words.how == How::Denied;
        let time = |seconds: Option<u64>| seconds.filter(|_| !is_denied).map(duration).unwrap_or_default();
        let mut login: Vec<String> =
            words.max_age.iter().map(|most| format!("at most {} ago", duration(*most))).collect();
        if !words.acr.is_empty() {
            login.push(format!("by {}", words.acr.join(" or ")));
        }
        let raised = needs(words).split_off(needs(words).len().saturating_sub(words.raises.len()));
        let how = match words.why {
            Some(why) => format!("{}: {why}", row.how()),
            None => row.how().to_owned(),
        };
        let cells = [
            row.server.clone(),
            row.kind.to_owned(),
            row.name.clone(),
            row.client.clone(),
            how,
            words.held.join(" and "),
            words.granted.join(" "),
            words.audience.clone().unwrap_or_default(),
            time(words.ttl),
            time(words.max_lifetime),
            login.join(", "),
            if words.bound { "certificate".to_owned() } else { String::new() },
            words.act.clone().unwrap_or_default(),
            words.callers.join("; "),
            words.may_elevate.join("; "),
            raised.join("; "),
            row.mode(),
            row.place().to_owned(),
            words.tier.clone().unwrap_or_default(),
        ];
        writer.write_record(cells.iter().map(|text| cell(text)))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
