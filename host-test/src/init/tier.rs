//! How much a tool may do, by its name. A name is a promise, not a fact; an annotation is a hint from a stranger. So what is not
//! known counts as a write, and an annotation makes a tier stricter, never looser.

use serde_json::Value;

/// From the mildest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Read,
    Write,
    Danger,
}

impl Tier {
    /// Its name in the policy.
    pub(super) fn name(self) -> &'static str {
        match self {
            Tier::Read => "read",
            Tier::Write => "write",
            Tier::Danger => "danger",
        }
    }
}

/// Verbs that read and leave everything as it is.
const READ: &[&str] = &[
    "browse",
    "calculate",
    "check",
    "compare",
    "count",
    "describe",
    "diff",
    "echo",
    "explain",
    "fetch",
    "find",
    "get",
    "health",
    "help",
    "inspect",
    "list",
    "lookup",
    "ping",
    "preview",
    "read",
    "retrieve",
    "search",
    "show",
    "stat",
    "status",
    "summarize",
    "validate",
    "version",
    "view",
    "whoami",
];

/// Verbs that change something that can be changed back.
const WRITE: &[&str] = &[
    "add",
    "append",
    "apply",
    "archive",
    "assign",
    "attach",
    "branch",
    "cancel",
    "close",
    "comment",
    "commit",
    "configure",
    "copy",
    "create",
    "disable",
    "dismiss",
    "duplicate",
    "edit",
    "enable",
    "fork",
    "import",
    "insert",
    "invite",
    "label",
    "link",
    "lock",
    "manage",
    "mark",
    "modify",
    "move",
    "new",
    "open",
    "patch",
    "post",
    "put",
    "rename",
    "reopen",
    "reply",
    "request",
    "resolve",
    "restore",
    "save",
    "schedule",
    "set",
    "star",
    "start",
    "store",
    "subscribe",
    "sync",
    "toggle",
    "unassign",
    "unlock",
    "unstar",
    "unsubscribe",
    "update",
    "upload",
    "upsert",
    "write",
];

/// Verbs that run, publish, pay or give rights.
const DANGER: &[&str] = &[
    "approve",
    "call",
    "charge",
    "deploy",
    "email",
    "eval",
    "exec",
    "execute",
    "grant",
    "install",
    "invoke",
    "kill",
    "merge",
    "pay",
    "publish",
    "push",
    "query",
    "rebase",
    "reboot",
    "refund",
    "release",
    "reset",
    "restart",
    "revert",
    "revoke",
    "rollback",
    "run",
    "scale",
    "send",
    "shutdown",
    "spawn",
    "stop",
    "submit",
    "transfer",
    "trigger",
    "uninstall",
    "withdraw",
];

/// What cannot be undone, wherever it stands in a name.
const LOST: &[&str] =
    &["delete", "destroy", "drop", "erase", "purge", "remove", "shred", "terminate", "truncate", "unlink", "wipe"];

/// What is not to be read by everybody, wherever it stands in a name.
const SECRET: &[&str] = &[
    "apikey",
    "credential",
    "credentials",
    "env",
    "environment",
    "password",
    "passwords",
    "payroll",
    "secret",
    "secrets",
    "shell",
    "sudo",
    "token",
    "tokens",
];

/// The tier of a tool and why, in words of ours: none of the server's own text is in them.
pub(super) fn of(name: &str, definition: &str) -> (Tier, String) {
    let (mut tier, mut why) = of_name(name);
    // P1: what is not plain may look like another name.
    if tier == Tier::Read && !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.:/-".contains(c)) {
        (tier, why) = (Tier::Write, "its name has unusual characters".to_owned());
    }
    let hints = serde_json::from_str::<Value>(definition).unwrap_or_default();
    let hint = |hint: &str| hints.pointer("/annotations").and_then(|hints| hints.get(hint)?.as_bool());
    let (hinted, says) = match (hint("readOnlyHint"), hint("destructiveHint")) {
        (Some(true), Some(true)) => (Tier::Danger, "it says both read-only and destructive"),
        (_, Some(true)) => (Tier::Danger, "it says destructive"),
        (Some(true), _) => (Tier::Read, "it says read-only"),
        (Some(false), _) => (Tier::Write, "it says not read-only"),
        (None, _) => return (tier, why),
    };
    match hinted.cmp(&tier) {
        std::cmp::Ordering::Greater => (hinted, format!("{why}; {says}")),
        std::cmp::Ordering::Equal => (tier, format!("{why}; {says}, too")),
        std::cmp::Ordering::Less if hinted == Tier::Read => (tier, format!("{why}; {says}, which is not believed")),
        std::cmp::Ordering::Less => (tier, why),
    }
}

/// The verb stands first in most servers and last in others; in the middle stand nouns.
fn of_name(name: &str) -> (Tier, String) {
    let words = words(name);
    let has = |list: &[&'static str]| list.iter().find(|listed| words.iter().any(|word| word == *listed)).copied();
    if let Some(word) = has(LOST) {
        return (Tier::Danger, format!("`{word}` in its name"));
    }
    if let Some(word) = has(SECRET) {
        return (Tier::Danger, format!("`{word}` in its name"));
    }
    let known = |word: Option<&String>| {
        let lists = [(Tier::Read, READ), (Tier::Write, WRITE), (Tier::Danger, DANGER)];
        lists.iter().find_map(|(tier, list)| {
            Some((*tier, *list.iter().find(|listed| word.is_some_and(|word| word == *listed))?))
        })
    };
    if let Some((tier, verb)) = known(words.first()) {
        // `get_and_run` does more than it begins with.
        let second = words.iter().position(|word| matches!(word.as_str(), "and" | "or" | "then"));
        if let Some((second, other)) =
            second.and_then(|at| known(words.get(at + 1))).filter(|(second, _)| *second > tier)
        {
            return (second, format!("begins with `{verb}`, and does `{other}`"));
        }
        return (tier, format!("begins with `{verb}`"));
    }
    match known(words.last()) {
        Some((tier, verb)) => (tier, format!("ends with `{verb}`")),
        None if words.iter().any(|word| word == "run" || word == "exec") => (Tier::Danger, "runs something".to_owned()),
        None => (Tier::Write, "no verb that is known here".to_owned()),
    }
}

/// `getFile`, `get-file` and `get_file` are two words each, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let is_hump = c.is_ascii_uppercase() && before.is_ascii_lowercase();
        if (is_hump || !c.is_ascii_alphanumeric()) && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            word.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::{Tier, of};

    #[test]
    fn names_say_a_tier_and_hints_only_raise_it() {
        let read_only = r#"{"annotations":{"readOnlyHint":true}}"#;
        let destructive = r#"{"annotations":{"destructiveHint":true}}"#;
        for (name, definition, tier) in [
            ("get_file", "{}", Tier::Read),
            ("getFile", "{}", Tier::Read),
            ("pull_request_read", "{}", Tier::Read),
            ("list_workflow_runs", "{}", Tier::Read),
            ("get_workflow_run", "{}", Tier::Read),
            ("create_issue", "{}", Tier::Write),
            ("issue_write", "{}", Tier::Write),
            ("frobnicate", "{}", Tier::Write),
            ("", "{}", Tier::Write),
            ("get_file\u{202e}", "{}", Tier::Write),
            ("get_file ", read_only, Tier::Write),
            ("delete file", "{}", Tier::Danger),
            ("\u{202e}", "{}", Tier::Write),
            ("get_and_delete_mail", "{}", Tier::Danger),
            ("list_and_send", "{}", Tier::Danger),
            ("repoDelete", "{}", Tier::Danger),
            ("get-env", "{}", Tier::Danger),
            ("actions_run_trigger", "{}", Tier::Danger),
            ("merge_pull_request", "{}", Tier::Danger),
            ("frobnicate", read_only, Tier::Write),
            ("delete_repo", read_only, Tier::Danger),
            ("get_file", read_only, Tier::Read),
            ("get_file", destructive, Tier::Danger),
            ("get_file", r#"{"annotations":{"readOnlyHint":false}}"#, Tier::Write),
            ("get_file", r#"{"annotations":{"destructiveHint":"true"}}"#, Tier::Read),
        ] {
            assert_eq!(of(name, definition).0, tier, "{name} {definition}: {}", of(name, definition).1);
        }
        assert!(of("delete_repo", read_only).1.ends_with("it says read-only, which is not believed"));
    }
}
