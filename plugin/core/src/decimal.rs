//! Numbers as they are written, compared exactly: a double takes two different account numbers for one.

use std::cmp::Ordering;

/// A decimal of at most 15 significant digits, in lowest terms: `1`, `1.0` and `10e-1` are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// Without zeros at the end; 0 for zero.
    digits: u64,
    /// Of the last digit.
    exponent: i64,
}

/// P17: as written, leading zeros and exponent apart. Every such number fits 53 bits, so that readers with doubles agree too.
const MOST_DIGITS: usize = 15;

impl Decimal {
    /// Reads a JSON number. `None` when it has more digits than two readers are sure to agree on.
    pub fn parse(text: &str) -> Option<Decimal> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        let digits = digits.trim_start_matches('0');
        if digits.len() > MOST_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            return Some(Decimal { negative: false, digits: 0, exponent: 0 });
        }
        let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
        Some(Decimal { negative, digits: significant.parse().ok()?, exponent })
    }

    /// The double next to it, for readers that have nothing better.
    pub fn approximate(self) -> f64 {
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}{}e{}", self.digits, self.exponent).parse().unwrap_or(0.0)
    }

    /// The exponent of the first digit, and the digits as if there were 15.
    fn aligned(self) -> (i128, u64) {
        let length = self.digits.checked_ilog10().unwrap_or(0) + 1;
        let missing = (MOST_DIGITS as u32).saturating_sub(length);
        (i128::from(self.exponent) + i128::from(length), self.digits.saturating_mul(10u64.saturating_pow(missing)))
    }
}

impl Decimal {
    /// Written out, or with an exponent where that is long.
    pub(crate) fn text(&self) -> String {
        let (sign, digits) = (if self.negative { "-" } else { "" }, self.digits.to_string());
        match (usize::try_from(self.exponent), usize::try_from(self.exponent.unsigned_abs())) {
            (Ok(zeros), _) if zeros <= 15 => format!("{sign}{digits}{}", "0".repeat(zeros)),
            (Err(_), Ok(places)) if places <= 15 => {
                let padded = format!("{digits:0>width$}", width = places + 1);
                let (whole, fraction) = padded.split_at_checked(padded.len() - places).unwrap_or((&padded, ""));
                format!("{sign}{whole}.{fraction}")
            }
            _ => format!("{sign}{digits}e{}", self.exponent),
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let sign = |number: &Decimal| match (number.digits, number.negative) {
            (0, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        };
        let by_size = || self.aligned().cmp(&other.aligned());
        match sign(self).cmp(&sign(other)) {
            Ordering::Equal if self.negative => by_size().reverse(),
            Ordering::Equal => by_size(),
            different => different,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The numbers of a JSON text in the order written. Of any other text: something.
pub(crate) fn numbers(text: &str) -> Vec<Option<Decimal>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = rest.get(at..).unwrap_or_default();
        if let Some(string) = rest.strip_prefix('"') {
            rest = after_string(string);
            continue;
        }
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        found.push(Decimal::parse(number));
        rest = tail;
    }
    found
}

/// What follows a JSON string whose first quote has been read.
pub(crate) fn after_string(text: &str) -> &str {
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\']) {
        let (_, tail) = rest.split_at(at);
        let mut tail = tail.chars();
        if tail.next() == Some('"') {
            return tail.as_str();
        }
        tail.next();
        rest = tail.as_str();
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn p17_numbers_are_equal_as_decimals() {
        for same in [["1", "1.0"], ["1", "10e-1"], ["100", "1E2"], ["0", "-0.0"], ["0.001", "1e-3"], ["-5", "-5.000"]] {
            assert_eq!(decimal(same[0]), decimal(same[1]), "{same:?}");
        }
        assert_ne!(decimal("999999999999999"), decimal("999999999999998"));
    }

    #[test]
    fn p17_numbers_are_in_order() {
        let order = [
            "-1e9",
            "-10",
            "-9.5",
            "-1e-400",
            "0",
            "1e-400",
            "0.1",
            "9",
            "9.5",
            "10",
            "1e3",
            "999999999999999",
            "1e400",
        ];
        for pair in order.windows(2) {
            assert!(decimal(pair[0]) < decimal(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn p17_more_than_fifteen_digits_are_unknown() {
        for text in ["9007199254740993", "0.1000000000000000055", "1000000000000000", "1.000000000000000"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert!(Decimal::parse("0.000000000000000001").is_some(), "leading zeros do not count");
    }

    #[test]
    fn numbers_are_found_outside_of_texts() {
        let found = numbers(r#"{"a-1":[1,-2.50,{"b\"3":4e1}],"c":"5\\","d":12345678901234567}"#);
        assert_eq!(found, [Some(decimal("1")), Some(decimal("-2.5")), Some(decimal("40")), None]);
    }
}
