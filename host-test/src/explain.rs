//! `stepup explain`: which rule applied, what it required, what was missing, and what the client saw.

mod audit;

use std::fs;
use std::io::{Read as _, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use annotate_snippets::{AnnotationKind, Level, Snippet};
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use step_up_core::{Class, Kind, Policy, Reason, RuleView, join};

use crate::backend::Native;
use crate::scenario::{self, Scenario};
use crate::shown::plain;
use crate::{check, policy, yaml};

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The policy, as YAML.
    policy: PathBuf,
    /// The caller's token: a file with claims (JSON or YAML), over those of a good token.
    #[arg(long, requires = "call")]
    claims: Option<PathBuf>,
    /// The call: a file with what `when` says in a scenario, e.g. `{ tool: delete_repo }`.
    #[arg(long, conflicts_with = "audit")]
    call: Option<PathBuf>,
    /// An access log with audit records, or one record (JSON); `-` reads standard input.
    #[arg(long, required_unless_present = "call")]
    audit: Option<PathBuf>,
    /// Of several records, the one with this id: what a refusal names as its `request_id`.
    #[arg(long, requires = "audit")]
    id: Option<String>,
    /// Envoy's own log, for what became of the token of the call; several may be named.
    #[arg(long, requires = "audit", value_name = "ENVOY_LOG")]
    log: Vec<PathBuf>,
}

/// Explains one call, or one record.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let text = read(&arguments.policy)?;
    let (document, places) =
        yaml::read_with_places(&text).map_err(|fault| anyhow!("{}:{fault}", arguments.policy.display()))?;
    let document = yaml::to_json(&document);
    let (record, outcome, story) = match &arguments.audit {
        Some(file) => {
            let logs = arguments.log.iter().map(|log| audit::log(log)).collect::<Result<Vec<_>>>()?;
            let operation = audit::find(&read(file)?, &logs, arguments.id.as_deref())?;
            let story = operation.story();
            (operation.record, None, story)
        }
        None => {
            let (when, outcome) = call(arguments, &document)?;
            (outcome.get("record").cloned().unwrap_or_default(), Some((when, outcome)), Vec::new())
        }
    };
    if record.get("reason").is_none() {
        bail!("that is no audit record: it has no `reason`");
    }
    let policy = policy::loaded(&document).context("this policy will not load: `stepup check` says where")?;
    let page = Page { name: arguments.policy.display().to_string(), text: &text, places: &places, policy: &policy };
    write!(stdout(), "{}", page.explain(&record, outcome.as_ref()))?;
    for (at, happened) in story.iter().enumerate() {
        write!(stdout(), "{}", line(if at == 0 { "story" } else { "" }, happened))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The call, and what becomes of it: on the core, with a token service that says yes.
fn call(arguments: &Arguments, document: &Value) -> Result<(Value, Value)> {
    let tree = |file: &Path| -> Result<Value> {
        let value = yaml::read(&read(file)?).map_err(|fault| anyhow!("{}:{fault}", file.display()))?;
        Ok(yaml::to_json(&value))
    };
    let mut when = tree(arguments.call.as_deref().context("say `--call` or `--audit`")?)?;
    let mut given = json!({});
    if let Some(file) = &arguments.claims {
        given = json!({ "tokens": { "caller": tree(file)? } });
        when.as_object_mut().context("`--call` takes a map")?.insert("token".to_owned(), json!("caller"));
    }
    let scenario: Scenario =
        serde_json::from_value(json!({ "name": "explain", "given": given, "when": when, "then": {} }))?;
    let case = scenario::Case::of(scenario, document.clone());
    let outcome = case.run(&Native)?;
    Ok((when, outcome.requests.first().cloned().context("nothing happened")?))
}

struct Page<'p> {
    name: String,
    text: &'p str,
    places: &'p yaml::Places,
    policy: &'p Policy,
}

impl Page<'_> {
    fn explain(&self, record: &Value, call: Option<&(Value, Value)>) -> String {
        let member = |name: &str| record.get(name).and_then(Value::as_str);
        let mut text = String::new();
        let what = [member("method"), member("name")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let who = [member("subject"), member("client")].into_iter().flatten().collect::<Vec<_>>().join(" by ");
        text += &line("request", &format!("{what}, from {who}"));
        if let (Some((when, _)), Some(server)) = (call, member("server")) {
            text += &self.source(server, when);
        }
        text += &line("server", member("server").unwrap_or("none was found"));
        match (member("server"), member("rule")) {
            (Some(server), Some(rule)) => text += &self.rule(server, rule, record),
            _ => text += &line("rule", "none applied"),
        }
        let missing: Vec<&str> =
            record.get("missing").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if !missing.is_empty() {
            text += &line("missing", &missing.join(" "));
        }
        let reason = member("reason").unwrap_or_default();
        text += &line("verdict", &format!("{}: {reason}", member("verdict").unwrap_or("none")));
        if let Some(would) = record.get("would") {
            text += &line("enforced", &would.to_string());
        }
        if let Some(reason) = Reason::ALL.iter().copied().find(|known| known.name() == reason) {
            if reason.class() != Class::Done {
                text += &line("told", reason.wire().text);
            }
            text += &line("to act", reason.acts().text());
        }
        if call.is_none() {
            text += &recorded(record, self.policy.digest());
        }
        if let Some((_, outcome)) = call {
            let part = |name: &str| outcome.get(name).filter(|value| !value.is_null()).map(ToString::to_string);
            for name in ["status", "challenge", "error", "token", "elevated"] {
                text += &part(name).map_or_else(String::new, |value| line(name, &value));
            }
            for call in outcome.get("calls").and_then(Value::as_array).into_iter().flatten() {
                let field = |name: &str| call.get(name).and_then(Value::as_str).map(|value| format!(" {name}={value}"));
                let fields: String = ["scope", "resource", "audience", "token"].into_iter().filter_map(field).collect();
                let kind = call.get("call").and_then(Value::as_str).unwrap_or_default();
                text += &line("call", &format!("{kind}{fields}"));
            }
        }
        text
    }

    /// What `source` conditions saw (P40), where the call says anything of certificates.
    fn source(&self, server: &str, when: &Value) -> String {
        let text = |value: Option<&'_ Value>| value.and_then(Value::as_str).map(str::to_owned);
        let (peer, forwarded) = (text(when.get("source")), text(when.pointer("/headers/x-forwarded-client-cert")));
        if peer.is_none() && forwarded.is_none() {
            return String::new();
        }
        let seen = self.policy.view().servers().find(|found| found.name() == server);
        let seen = seen.and_then(|found| found.source(peer.as_deref(), forwarded.as_deref()));
        let whose = if seen == peer { "the certificate of the peer" } else { "what the peer wrote of its client" };
        line("source", &seen.map_or_else(|| "unknown".to_owned(), |seen| format!("{seen}, {whose}")))
    }

    /// The rule where it stands, its tier, its raises that were asked beside it, and the rules that lost (P1).
    fn rule(&self, server: &str, pattern: &str, record: &Value) -> String {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let mut servers = self.policy.view().servers().filter(|found| found.name() == server);
        let server = servers.next();
        // Records of versions before there were other kinds say none.
        let kind = text("kind").unwrap_or("tool");
        let of_kind = Kind::ALL.into_iter().find(|found| found.word().strip_suffix('s') == Some(kind));
        let is_it = |found: &RuleView<'_>| Some(found.kind) == of_kind && found.pattern() == pattern;
        let (Some(found), Some(kind)) = (server.and_then(|server| server.rules().find(is_it)), of_kind) else {
            return line("rule", &format!("`{pattern}`, which is not in this policy: the record is of another one"));
        };
        let name = if kind == Kind::Method { text("method") } else { text("name") };
        let matching: Vec<RuleView<'_>> =
            server.zip(name).into_iter().flat_map(|(server, name)| server.matching(kind, name)).collect();
        let lost = matching.iter().filter(|other| other.place() != found.place());
        let raised = record.get("raised").and_then(Value::as_array).into_iter().flatten();
        let others = found.tier().map(|tier| (join("tiers", tier), "with this tier"));
        let others = others
            .into_iter()
            .chain(raised.map(|at| (format!("{}.raise[{at}]", found.place()), "and what this asks")))
            .chain(
                lost.map(|other| (other.place().to_owned(), "this rule matches too, and lost: it is less specific")),
            );
        let mut snippet = Snippet::source(self.text)
            .path(self.name.as_str())
            .annotation(AnnotationKind::Primary.span(self.places.of(found.place())).label("this rule applies"));
        for (place, label) in others {
            snippet = snippet.annotation(AnnotationKind::Context.span(self.places.of(&place)).label(label));
        }
        let group = Level::NOTE.primary_title(format!("rule `{pattern}`")).element(snippet);
        check::renderer().render(&[group]) + "\n"
    }
}

/// What a record says beside the decision: the token of the call, what the token service said, and the policy.
fn recorded(record: &Value, digest: &str) -> String {
    let member = |name: &str| record.get(name).and_then(Value::as_str);
    let mut text = String::new();
    if let Some(elevated) = record.get("elevated") {
        let field = |name: &str| {
            elevated.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        let scopes = elevated.get("scopes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let (audience, seconds) = (field("audience").unwrap_or_default(), field("expires_in").unwrap_or_default());
        let took = field("took").unwrap_or_default();
        let scopes = scopes.collect::<Vec<_>>().join(" ");
        text += &line("elevated", &format!("{scopes} for {audience}, for {seconds} s; obtained in {took} ms"));
    }
    text += &member("service_error").map_or_else(String::new, |said| line("service", said));
    if let Some(policy) = member("policy").filter(|policy| *policy != digest) {
        text += &line("policy", &format!("recorded under {policy}; this one is {digest}"));
    }
    text
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<10} {}\n", plain(value))
}

fn read(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    if path.is_dir() {
        bail!("{} is a folder", path.display());
    }
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}
