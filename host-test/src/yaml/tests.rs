//! YAML as a policy may use it.
use super::*;

fn problem(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn p18_yaml_has_one_meaning() {
    let value = read("a: [1, yes, 'true', ~, 0x10, 1.5, on, 1e3]\n'b': {c: -7}").unwrap();
    let expected = serde_json::json!({"a": [1, "yes", "true", null, 16, 1.5, "on", 1000.0], "b": {"c": -7}});
    assert_eq!(to_json(&value), expected);
}

#[test]
fn p18_what_yaml_can_hide_is_refused_where_it_stands() {
    assert_eq!(problem("a: 1\nb: 2\na: 3"), "3:1: `a` is written twice");
    assert_eq!(problem("a: &x 1\nb: *x"), "1:4: an anchor; write the value out where it is needed");
    assert!(problem("a: *x").contains("unknown anchor") || problem("a: *x").contains("alias"));
    assert_eq!(problem("a: !!str 1"), "1:4: a tag; write the value without it");
    assert_eq!(problem("<<: {a: 1}"), "1:1: a merge key; write the fields out");
    assert_eq!(problem("1: a"), "1:1: a key that is not a text; put it in quotes");
    assert_eq!(problem("true: a"), "1:1: a key that is not a text; put it in quotes");
    assert_eq!(problem("[a]: b"), "1:1: a key that is not a text; put it in quotes");
    assert!(problem("a: 1\n---\nb: 2").contains("more than one document"));
    assert!(problem("").contains("empty"));
    assert!(problem(&format!("{}{}", "[".repeat(70), "]".repeat(70))).contains("deep"));
}
