//! A comparison, told: for a terminal, for a pull request, for a program.

use serde_json::json;
use step_up_core::Became;

use super::{Finding, Report};
use crate::shown::{markdown as escaped, plain, plain_json};

const ALL: [Became; 5] = [Became::Reachable, Became::Weaker, Became::Changed, Became::Stronger, Became::Unreachable];

/// What no comparison of two policies can see; the whole of it is in docs/access-review.md.
const UNSEEN: &str = "It sees the two policies, and not what tokens the issuers and the token service give, or what else the tools do. \
    Conditions are compared by their form: where neither of two is plainly a part of the other, they have changed.";

pub(super) fn text(report: &Report, names: &(String, String)) -> String {
    let mut text =
        format!("from {} ({}) to {} ({})\n", plain(&names.0), report.digests.0, plain(&names.1), report.digests.1);
    for became in ALL {
        let mut findings = report.findings.iter().filter(|finding| finding.became == became).peekable();
        if findings.peek().is_some() {
            text += &format!("\n{} ({})\n", title(became), meaning(became));
        }
        for finding in findings {
            text += &format!("  {}\n", plain(&head(finding)));
            for (word, lines) in [("was", &finding.was), ("now", &finding.now)] {
                for (at, line) in lines.iter().enumerate() {
                    let word = if at == 0 { word } else { "" };
                    text += &format!("    {word:<4} {}\n", plain(line));
                }
            }
        }
    }
    text += &format!("\n{}\n", summary(report));
    text
}

pub(super) fn markdown(report: &Report, names: &(String, String)) -> String {
    let mut text = format!("## Access: {}\n\n", summary(report));
    text += &format!(
        "From {} (`{}`) to {} (`{}`).\n",
        escaped(&names.0),
        report.digests.0,
        escaped(&names.1),
        report.digests.1
    );
    for became in ALL {
        let findings: Vec<&Finding> = report.findings.iter().filter(|finding| finding.became == became).collect();
        if findings.is_empty() {
            continue;
        }
        text += &format!(
            "\n### {}: {}\n\n| what | for | was | now |\n| --- | --- | --- | --- |\n",
            title(became),
            meaning(became)
        );
        for finding in findings {
            let cell = |lines: &[String]| {
                let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
                if lines.is_empty() { "–".to_owned() } else { lines.join("<br>") }
            };
            let client = if finding.client.is_empty() { "everybody".to_owned() } else { escaped(&finding.client) };
            let what = match finding.about.as_str() {
                "" => format!("**{}**", escaped(&finding.what)),
                about => format!("**{}**<br>{}", escaped(&finding.what), escaped(about)),
            };
            text += &format!("| {what} | {client} | {} | {} |\n", cell(&finding.was), cell(&finding.now));
        }
    }
    text += &format!("\n{UNSEEN}\n");
    text
}

pub(super) fn json(report: &Report) -> String {
    let finding = |finding: &Finding| {
        json!({
            "became": word(finding.became), "about": finding.about, "what": finding.what, "client": finding.client,
            "was": finding.was, "now": finding.now,
        })
    };
    let findings: Vec<_> = report.findings.iter().map(finding).collect();
    let document = json!({
        "old": report.digests.0, "new": report.digests.1, "needs_review": report.needs_review(), "findings": findings,
    });
    plain_json(&format!("{document:#}\n"))
}

fn head(finding: &Finding) -> String {
    let parts = [finding.about.as_str(), finding.what.as_str(), finding.client.as_str()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn summary(report: &Report) -> String {
    let counted = ALL.into_iter().map(|became| (report.count(became), word(became))).filter(|(count, _)| *count > 0);
    let counted: Vec<String> = counted.map(|(count, word)| format!("{count} {word}")).collect();
    if counted.is_empty() { "nothing differs".to_owned() } else { counted.join(", ") }
}

fn word(became: Became) -> &'static str {
    match became {
        Became::Reachable => "reachable",
        Became::Weaker => "weaker",
        Became::Changed => "changed",
        Became::Stronger => "stronger",
        Became::Unreachable => "unreachable",
    }
}

fn title(became: Became) -> &'static str {
    match became {
        Became::Reachable => "Reachable",
        Became::Weaker => "Weaker",
        Became::Changed => "Changed",
        Became::Stronger => "Stronger",
        Became::Unreachable => "Unreachable",
    }
}

fn meaning(became: Became) -> &'static str {
    match became {
        Became::Reachable => "was refused, and can be done now",
        Became::Weaker => "less is asked",
        Became::Changed => "something else is asked, neither more nor less",
        Became::Stronger => "more is asked",
        Became::Unreachable => "could be done, and is refused now",
    }
}
