//! The canonical form of a JSON text (RFC 8785), for digests. The text was read strictly before.

use std::cmp::Ordering;

use super::parts::{items, members};

/// `None`: it is no JSON, or nested deeper than anything is here.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let mut out = String::new();
    write(text.trim(), &mut out, super::MAX_DEPTH)?;
    Some(out)
}

fn write(text: &str, out: &mut String, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match text.as_bytes().first()? {
        b'{' => {
            let mut members = members(text)?;
            members.sort_unstable_by(|(a, _), (b, _)| by_utf16(a, b));
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&quoted(name));
                out.push(':');
                write(value, out, depth)?;
            }
            out.push('}');
        }
        b'[' => {
            out.push('[');
            for (at, item) in items(text)?.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out, depth)?;
            }
            out.push(']');
        }
        b'"' => out.push_str(&quoted(&serde_json::from_str::<String>(text).ok()?)),
        b't' | b'f' | b'n' => out.push_str(text),
        _ => out.push_str(&number(text.parse().ok()?)?),
    }
    Some(())
}

/// RFC 8785 3.2.3. A sort has many calls of it.
#[inline(never)]
fn by_utf16(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// RFC 8785 3.2.2.2: the escapes that serde_json writes, and no others.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// RFC 8785 3.2.2.3: as ECMAScript writes the double. `None`: it is none.
fn number(double: f64) -> Option<String> {
    if double == 0.0 {
        return Some("0".to_owned());
    }
    // The shortest digits that mean this double, in some notation.
    let text = serde_json::Number::from_f64(double)?.to_string();
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (decimal, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    // The value is 0.DIGITS times ten to this.
    let leading = i32::try_from(all.len() - digits.len()).ok()?;
    let point = exponent.parse::<i32>().ok()? + i32::try_from(whole.len()).ok()? - leading;
    let digits = digits.trim_end_matches('0');
    let length = i32::try_from(digits.len()).ok()?;
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let at = usize::try_from(point).unwrap_or_default();
    Some(match point {
        _ if (length..=21).contains(&point) => format!("{sign}{digits}{}", zeros(point - length)),
        1..=21 => format!("{sign}{}.{}", digits.get(..at)?, digits.get(at..)?),
        -5..=0 => format!("{sign}0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = digits.split_at_checked(1)?;
            let rest = if rest.is_empty() { String::new() } else { format!(".{rest}") };
            format!("{sign}{first}{rest}e{}{}", if point > 0 { "+" } else { "-" }, (point - 1).abs())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8785, appendix B, and a few more.
    #[test]
    fn p31_numbers_are_written_as_ecmascript_writes_them() {
        for (bits, text) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            assert_eq!(number(f64::from_bits(bits)).as_deref(), Some(text), "{bits:x}");
        }
        assert_eq!(number(f64::NAN), None);
        assert_eq!(number(f64::INFINITY), None);
    }

    /// RFC 8785 3.2.2 and 3.2.3.
    #[test]
    fn p31_members_are_sorted_and_texts_are_written_in_one_way() {
        let text = r#" {
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001, -0, 18446744073709551615],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false], "empty": [{}, [], ""]
        }"#;
        let expected = concat!(
            r#"{"empty":[{},[],""],"literals":[null,true,false],"#,
            r#""numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27,0,18446744073709552000],"#,
            "\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
        );
        assert_eq!(canonical(text).as_deref(), Some(expected));
        let names = "{\"\u{20ac}\":1,\"\\r\":2,\"\u{fb33}\":3,\"1\":4,\"\u{1f600}\":5,\"\u{80}\":6,\"\u{f6}\":7}";
        let sorted = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}";
        assert_eq!(canonical(names).as_deref(), Some(sorted));
        assert_eq!(canonical(&format!("{}1{}", "[".repeat(70), "]".repeat(70))), None);
    }
}
