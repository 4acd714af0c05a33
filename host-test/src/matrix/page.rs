//! The matrix as one HTML page: nothing is loaded from anywhere, and nothing runs but its own few lines, which the page names by
//! their digest. Without them it is a table like any other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use step_up_core::{How, Policy};

use super::{Row, label, needs};
use crate::shown::plain;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(super) fn html(name: &str, policy: &Policy, rows: &[Row]) -> String {
    let guard = format!("default-src 'none'; style-src '{}'; script-src '{}'", digest(STYLE), digest(SCRIPT));
    let several = rows.iter().any(|row| rows.first().is_some_and(|first| first.server != row.server));
    let title = format!("Access matrix of {}", plain(name));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(guard);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Who may do what, and what it takes" }
                p.about { "Policy " b { (plain(name)) } ", digest " code { (policy.digest()) } ". " (rows.len()) " rows." }
                (filters(rows))
                table {
                    thead { tr {
                        @if several { th { "Server" } }
                        th { "What" } th { "Client" } th { "How" } th { "What it takes" } th { "Rule" }
                    } }
                    tbody { @for row in rows { (line(row, several)) } }
                }
                (legend())
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string() + "\n"
}

fn line(row: &Row, several: bool) -> Markup {
    html! {
        tr data-how=(row.how()) data-kind=(row.kind) {
            @if several { td { (plain(&row.server)) } }
            td { span.kind { (row.kind) } " " code { (plain(&row.name)) } }
            td { (plain(&row.client)) }
            td {
                span class={ "how " (class(row.words.how)) } { (row.how()) }
                @if row.words.shadow.is_some() { " " span.shadow { (row.mode()) } }
            }
            td { @for need in needs(&row.words) { div.need { (plain(&need)) } } }
            td.place { code { (plain(row.place())) } @if let Some(tier) = &row.words.tier { div { "tier " code { (plain(tier)) } } } }
        }
    }
}

/// They show where they work.
fn filters(rows: &[Row]) -> Markup {
    let mut kinds: Vec<&str> = rows.iter().map(|row| row.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    html! {
        form.filters hidden {
            label { "Text " input type="search" name="text" placeholder="name, client, scope"; }
            label { "How " select name="how" {
                option value="" { "any" }
                @for how in ALL { option { (label(how)) } }
            } }
            label { "Kind " select name="kind" {
                option value="" { "any" }
                @for kind in kinds { option { (kind) } }
            } }
            output name="shown" {}
        }
    }
}

const ALL: [How; 6] = [How::Denied, How::Anonymous, How::Open, How::Standing, How::Challenge, How::Exchange];

fn legend() -> Markup {
    html! {
        dl.legend {
            @for how in ALL {
                dt { span class={ "how " (class(how)) } { (label(how)) } }
                dd { (meaning(how)) }
            }
        }
    }
}

fn meaning(how: How) -> &'static str {
    match how {
        How::Denied => "Refused, whatever the caller has.",
        How::Anonymous => "Anybody may, without a token.",
        How::Open => "A valid token of this server with the scopes of the baseline is enough.",
        How::Standing => "The caller's own token must have these scopes already; nobody is told to ask for them.",
        How::Challenge => {
            "The caller's own token must have these scopes; a client without them is told to obtain them."
        }
        How::Exchange => {
            "The filter obtains a token for the one call from the token service, which may refuse, and takes it back."
        }
    }
}

fn class(how: How) -> &'static str {
    match how {
        How::Denied => "denied",
        How::Anonymous => "anonymous",
        How::Open => "open",
        How::Standing => "standing",
        How::Challenge => "challenge",
        How::Exchange => "exchange",
    }
}

/// As a content security policy names an inline script or style.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes())))
}
