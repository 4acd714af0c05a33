//! What the strict reader refuses.
use super::*;

fn fault(text: &str) -> Fault {
    read(text.as_bytes()).unwrap_err()
}

#[test]
fn duplicate_keys_are_refused_at_any_depth_and_through_escapes() {
    assert_eq!(fault(r#"{"a":1,"a":1}"#), Fault::DuplicateKey);
    assert_eq!(fault(r#"{"a":1,"\u0061":1}"#), Fault::DuplicateKey);
    assert_eq!(fault(r#"[{"x":{"y":[{"a":1,"a":2}]}}]"#), Fault::DuplicateKey);
    let many: Vec<String> = (0..40).map(|n| format!(r#""k{n}":0"#)).collect();
    assert!(read(format!("{{{}}}", many.join(",")).as_bytes()).is_ok());
    assert_eq!(fault(&format!(r#"{{{},"k3":0}}"#, many.join(","))), Fault::DuplicateKey);
}

#[test]
fn duplicates_are_refused_in_what_is_not_kept() {
    let text = br#"{"arguments":{"a":1,"a":2}}"#;
    assert_eq!(read_some(text, &|_, _| false), Err(Fault::DuplicateKey));
}

#[test]
fn control_characters_in_names_are_refused_wherever_they_stand() {
    for text in
        [r#"{"a\u0000":1}"#, r#"{"a":{"b":[{"\n":1}]}}"#, r#"{"\u001fa":1}"#, "{\"a\u{7f}\":1}", "{\"a\u{85}\":1}"]
    {
        assert_eq!(fault(text), Fault::ControlInName, "{text}");
        assert_eq!(read_some(text.as_bytes(), &|_, _| false), Err(Fault::ControlInName), "{text}");
    }
    assert!(read(br#"{"a":"\u0000 in a value"}"#).is_ok());
    assert_eq!(fault(r#"{"a\u0000":1,"a\u0000":1}"#), Fault::DuplicateKey);
}

#[test]
fn members_are_counted_in_all_objects_together() {
    let object = |n: usize| format!("{{{}}}", (0..n).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(","));
    assert!(read(object(MAX_MEMBERS).as_bytes()).is_ok());
    assert_eq!(fault(&object(MAX_MEMBERS + 1)), Fault::TooManyMembers);
    let half = object(MAX_MEMBERS / 2);
    assert_eq!(fault(&format!("[{half},{half},{{\"a\":0}}]")), Fault::TooManyMembers);
    assert!(read_document(object(MAX_MEMBERS + 1).as_bytes()).is_ok());
}

#[test]
fn what_is_not_kept_is_skipped() {
    let value = read_some(br#"{"a":{"b":"x"},"c":[1]}"#, &|depth, name| depth == 0 && name == "c").unwrap();
    assert_eq!(value.get("a"), Some(&Value::Skipped));
    assert_eq!(value.get("c"), Some(&Value::List(vec![Value::Integer(1)])));
}

#[test]
fn what_is_skimmed_needs_syntax_only() {
    let keep = |depth: usize, name: &str| matches!((depth, name), (0, "id" | "result") | (1, "task"));
    let text = br#"{"a":{"x":1,"x":2},"id":7,"id":8,"result":{"task":{"\u0000":0},"y":[1],"y":2}}"#;
    let value = skim(text, &keep).unwrap();
    assert_eq!(value.get("id"), Some(&Value::Integer(7)));
    let result = value.get("result").unwrap();
    assert!(matches!(result.get("task"), Some(Value::Map(_))));
    assert_eq!(result.get("y"), Some(&Value::Skipped));
    let many = format!(r#"{{"id":1,"z":{{{}}}}}"#, vec![r#""m":0"#; MAX_MEMBERS + 1].join(","));
    assert!(skim(many.as_bytes(), &keep).is_ok());
    assert_eq!(skim(br#"{"id":1"#, &keep), Err(Fault::Syntax));
}

#[test]
fn what_two_readers_may_read_differently_is_refused() {
    for text in ["\u{feff}{}", "{} {}", "{}x", "NaN", "[Infinity]", "1e400", r#""\ud800""#, "", "{'a':1}", "[1,]", "01"]
    {
        assert_eq!(fault(text), Fault::Syntax, "{text}");
    }
    assert_eq!(read(b"\"\xff\""), Err(Fault::NotUtf8));
}

#[test]
fn nesting_is_bounded() {
    let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(read(nest(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(fault(&nest(MAX_DEPTH + 1)), Fault::TooDeep);
    assert_eq!(fault(&nest(5000)), Fault::TooDeep);
}

#[test]
fn only_whole_numbers_are_integers() {
    assert_eq!(read(b"7"), Ok(Value::Integer(7)));
    assert_eq!(read(b"7.0"), Ok(Value::Number(None)));
    assert_eq!(
        read_exact(b"[1e3,12,12345678901234567]"),
        Ok(Value::List(vec![Value::Number(Decimal::parse("1000")), Value::Integer(12), Value::Number(None),]))
    );
}
