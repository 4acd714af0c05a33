//! `stepup audit`: are these audit records what the filter writes, and what they say as OCSF events.
//!
//! A log is hostile: it has what callers sent. Each line stands for itself, nothing of it is believed to be of its type, and what is
//! written has nothing in it that a terminal or a reader of lines would obey.

mod ocsf;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write, stderr, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::replay::{Line, came, read_line};
use crate::shown::{brief, plain, plain_json};
use crate::wire;

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Access logs, one JSON object a line, with the audit record as `stepup`; or audit records alone. `-` reads standard input.
    #[arg(required = true, value_name = "ACCESS_LOG")]
    logs: Vec<PathBuf>,
    /// Write each record as an event of the Open Cybersecurity Schema Framework 1.5.0 (API Activity, 6003), one a line.
    #[arg(long)]
    ocsf: bool,
}

/// 0: every line was good; 1: some were not, and stderr says which.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut reading = Reading { ocsf: arguments.ocsf, ..Reading::default() };
    let mut out = BufWriter::new(stdout().lock());
    for log in &arguments.logs {
        let input: Box<dyn BufRead> = if log == Path::new("-") {
            Box::new(stdin().lock())
        } else {
            Box::new(BufReader::new(File::open(log).with_context(|| format!("{} cannot be read", log.display()))?))
        };
        reading.log(&log.display().to_string(), input, &mut out).with_context(|| log.display().to_string())?;
    }
    if !arguments.ocsf {
        write!(out, "{}", reading.told())?;
    }
    out.flush()?;
    if reading.bad > SHOWN {
        writeln!(stderr(), "and {} more", reading.bad - SHOWN)?;
    }
    Ok(ExitCode::from(u8::from(reading.bad > 0)))
}

/// More bad lines are counted only.
const SHOWN: u64 = 20;

#[derive(Default)]
struct Reading {
    ocsf: bool,
    /// How many records came to what.
    counts: BTreeMap<(String, String), u64>,
    without: u64,
    suppressed: u64,
    bad: u64,
}

impl Reading {
    fn log(&mut self, name: &str, mut input: impl BufRead, out: &mut impl Write) -> Result<()> {
        let mut bytes = Vec::new();
        for number in 1_u64.. {
            bytes.clear();
            if input.read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            let line = String::from_utf8_lossy(&bytes);
            if line.trim().is_empty() {
                continue;
            }
            if let Err(why) = self.line(&line, out)? {
                self.bad += 1;
                if self.bad <= SHOWN {
                    writeln!(stderr(), "{}", brief(&format!("{name}:{number}: {why}")))?;
                }
            }
        }
        Ok(())
    }

    /// `Err` inside says what is wrong with the line.
    fn line(&mut self, line: &str, out: &mut impl Write) -> Result<Result<(), String>> {
        let (record, entry) = match read_line(line) {
            Line::Record(record, entry) => (record, entry),
            Line::Without => {
                self.without += 1;
                return Ok(Ok(()));
            }
            Line::Unreadable => {
                return Ok(Err("this is no JSON object, or its `stepup` is no audit record".to_owned()));
            }
        };
        let faults = wire::faults(&record);
        // What is no record of ours is not counted by what it says.
        if faults.is_empty() {
            let more = record.get("suppressed").and_then(Value::as_u64).unwrap_or(0);
            self.suppressed = self.suppressed.saturating_add(more);
            let word = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            *self.counts.entry((word("verdict"), word("reason"))).or_default() += 1;
        }
        if self.ocsf {
            let Some(time) = came(&entry).filter(|_| entry.get("stepup").is_some()) else {
                return Ok(Err(
                    "no `time`, which an event must have: give the lines of the access log, and not their \
                               records alone"
                        .to_owned(),
                ));
            };
            writeln!(out, "{}", plain_json(&ocsf::event(*record, &entry, time).to_string()))?;
        }
        Ok(if faults.is_empty() { Ok(()) } else { Err(faults.join(", ")) })
    }

    fn told(&self) -> String {
        let total: u64 = self.counts.values().sum();
        let mut text = format!(
            "{total} records, {} left out by the limits for strangers, {} lines without one, {} bad lines\n",
            self.suppressed, self.without, self.bad
        );
        for ((verdict, reason), count) in &self.counts {
            text += &format!("{count:>8}  {}\n", plain(&format!("{verdict}: {reason}")));
        }
        text
    }
}
