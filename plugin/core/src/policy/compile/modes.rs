//! `mode` and `until`, of the policy or of one rule (P15).

use crate::policy::Mode;
use crate::policy::document::{Fields, Report, date};
use crate::time::Millis;

/// Seconds. A shadow ends while somebody remembers it.
const LONGEST_SHADOW: u64 = 365 * 86_400;

/// `shadow` needs the date at which it ends. `Some(None)`: nothing is written. `None`: what is written is wrong.
pub(super) fn read(fields: &Fields<'_>, now: Option<Millis>, report: &mut Report) -> Option<Option<Mode>> {
    let mode = fields.take("mode");
    let until = fields.take("until");
    match mode.as_ref().map(|entry| entry.value.text()) {
        None | Some(Some("enforce")) => {
            if let Some(until) = until {
                until.fault(report, "`until` without shadow mode", "remove it, or write `mode: shadow`");
                return None;
            }
            Some(mode.map(|_| Mode::Enforce))
        }
        Some(Some("shadow")) => {
            let Some(until) = until else {
                report.fault(&fields.path, "`until` is missing", "shadow mode needs the date at which it ends");
                return None;
            };
            let end = date(&until, report)?;
            if now.is_some_and(|now| end > now.plus_seconds(LONGEST_SHADOW)) {
                until.fault(report, "a shadow of more than a year", "set a date that somebody will still look at");
            } else if now.is_some_and(|now| end <= now) {
                report.warn(&until.path, "the shadow is over: this is enforced", "remove `mode` and `until`");
            }
            Some(Some(Mode::Shadow { until: end }))
        }
        Some(_) => {
            mode.as_ref()?.fault(report, "not a mode", "write `enforce` or `shadow`");
            None
        }
    }
}
