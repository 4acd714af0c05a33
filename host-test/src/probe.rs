//! `stepup probe`: one exchange and one revocation at the real token service, with a real caller's token, by the filter itself. The
//! server behind is made up; it keeps the call open while the token is looked at.

mod caller;
mod mend;
mod upstream;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use form_urlencoded::parse;
use serde_json::{Value, json};
use step_up_core::Reason;

use crate::serve::{Called, Options, Served, Serving, Told, Upstream, end_of_token, pair};
use crate::shown::plain;
use crate::signing::claims;
use crate::stack::{Answer, Request, encode, send};
use crate::story::modern_request;
pub use caller::Caller;
use upstream::Held;

/// What the user asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("caller").required(true).args(["token", "token_env", "login"])))]
pub struct Arguments {
    /// The policy.
    policy: PathBuf,
    /// A tool whose rule is exchanged for. It is not called: the server behind is made up.
    #[arg(long)]
    tool: String,
    /// Which server of the policy, where there are several.
    #[arg(long)]
    server: Option<String>,
    /// A real caller's access token for that server: a file.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// The same: an environment variable.
    #[arg(long, value_name = "VARIABLE")]
    token_env: Option<String>,
    /// Log in for one: with a browser, as MCP clients do, or, with `--client-secret-env`, as a client of its own. The token is used
    /// for this, and not stored.
    #[arg(long)]
    login: bool,
    /// The client to log in as. Without one, this command registers itself (RFC 7591).
    #[arg(long, value_name = "ID", requires = "login")]
    client_id: Option<String>,
    /// Its secret, by which it gets a token for itself (client credentials): an environment variable.
    #[arg(long, value_name = "VARIABLE", requires = "client_id")]
    client_secret_env: Option<String>,
    /// What to ask for at the login, where that is not what the filter's challenge names.
    #[arg(long, value_name = "SCOPE", requires = "login")]
    scope: Option<String>,
    /// What authenticates the filter at a cluster with `auth: cluster`: the environment variable with the value of
    /// `authorization`, such as `Basic ...`.
    #[arg(long, value_name = "CLUSTER=VARIABLE", value_parser = pair)]
    credential: Vec<(String, String)>,
    /// Where a cluster of the policy is, if not where the policy's URLs say: scheme, host and port.
    #[arg(long, value_name = "CLUSTER=ORIGIN", value_parser = pair)]
    cluster: Vec<(String, String)>,
    /// Ask here (RFC 7662) whether the token is alive, during the call and after it.
    #[arg(long, value_name = "URL", requires = "introspection_credential")]
    introspection: Option<String>,
    /// What authenticates who asks there: the environment variable with the value of `authorization`.
    #[arg(long, value_name = "VARIABLE", requires = "introspection")]
    introspection_credential: Option<String>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Something that was found out.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Finding {
    /// What is looked at.
    pub what: &'static str,
    /// What it is like.
    pub found: String,
    /// It stands in the way, or lets a token live longer than the call.
    pub is_surprise: bool,
    /// What mends it: a word of the policy, or a setting of the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// How long the token service may take to be asked, and to revoke.
const PATIENCE: Duration = Duration::from_secs(15);

/// 0: nothing surprising; 1: something is; 2: it could not be found out.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let policy = Served::read(&arguments.policy)?;
    let variable = |name: &str| std::env::var(name).with_context(|| format!("the environment has no {name}"));
    let scope = arguments.scope.clone();
    let caller = match (&arguments.token, &arguments.token_env, &arguments.client_id, &arguments.client_secret_env) {
        (Some(path), ..) => {
            let token = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
            Caller::Token(token.trim().to_owned())
        }
        (None, Some(name), ..) => Caller::Token(variable(name)?),
        (None, None, Some(id), Some(name)) => Caller::Secret { client: id.clone(), secret: variable(name)?, scope },
        (None, None, client, _) => Caller::Browser { client: client.clone(), scope },
    };
    let credentials = arguments.credential.iter().map(|(cluster, name)| Ok((cluster.clone(), variable(name)?)));
    let introspection = match (&arguments.introspection, &arguments.introspection_credential) {
        (Some(url), Some(name)) => Some((url.clone(), variable(name)?)),
        _ => None,
    };
    let probe = Probe {
        policy,
        server: arguments.server.clone(),
        tool: arguments.tool.clone(),
        caller,
        credentials: credentials.collect::<Result<_>>()?,
        clusters: arguments.cluster.iter().cloned().collect(),
        introspection,
    };
    let findings = probe.findings()?;
    let surprises = findings.iter().filter(|finding| finding.is_surprise).count();
    if arguments.json {
        writeln!(stdout(), "{:#}", json!({ "findings": findings, "surprises": surprises }))?;
    } else {
        for Finding { what, found, is_surprise, mend } in &findings {
            let mark = if *is_surprise { "!!" } else { "ok" };
            writeln!(stdout(), "{mark} {what:<14} {}", plain(found))?;
            if let Some(mend) = mend {
                writeln!(stdout(), "   {:<14} {}", "to mend it", plain(mend))?;
            }
        }
    }
    Ok(if surprises == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// One exchange to be tried.
pub struct Probe {
    /// By whose words.
    pub policy: Served,
    /// For which of its servers; `None`: the only one.
    pub server: Option<String>,
    /// For which of its tools.
    pub tool: String,
    /// By whom.
    pub caller: Caller,
    /// As in [`Options`].
    pub credentials: BTreeMap<String, String>,
    /// As in [`Options`].
    pub clusters: BTreeMap<String, String>,
    /// Where tokens are asked about, and the value of `authorization` there.
    pub introspection: Option<(String, String)>,
}

impl Probe {
    /// Tries it.
    pub fn findings(self) -> Result<Vec<Finding>> {
        let (path, resource) = {
            let mut servers = self.policy.servers.iter();
            let server = match &self.server {
                Some(name) => servers.find(|server| server.name == *name),
                None => servers.next().filter(|_| servers.next().is_none()),
            };
            let server = server.context("say with `--server` which server of the policy is meant")?;
            (server.path.clone(), server.resource.clone())
        };
        let mut held = Held::start()?;
        let (told, heard) = channel();
        let serving = Serving::start(
            self.policy,
            Options {
                clusters: self.clusters,
                credentials: self.credentials,
                ..Options::new(0, vec![Upstream { server: None, url: held.url().parse()? }], move |what| {
                    drop(told.send(what))
                })
            },
        )?;
        let address = format!("http://{}", serving.address());
        let (token, login) = self.caller.token(&resource, &address, &path)?;
        let request = modern_request(&format!("{address}{path}"), &self.tool).bearer(&token);
        let (answered, answer) = channel();
        // Nobody may be left to hear it.
        spawn(move || drop(answered.send(send(&request))));
        let mut findings = Vec::from_iter(login);
        let mut log = Log { heard, calls: Vec::new(), record: Value::Null, ends: Vec::new() };
        match held.token(&answer)? {
            Some(received) if received == token => {
                held.release();
                findings.push(surprise(
                    "decision",
                    "permitted on the caller's own token",
                    mend::of_reason("permitted", None, &Value::Null),
                ));
            }
            Some(received) => {
                findings.extend(about_token(&token, &received));
                findings.extend(self.introspection.as_ref().map(|to| alive(to, &received, true)));
                held.release();
                let answer: Answer = answer.recv_timeout(PATIENCE).context("the call did not end")??;
                log.listen(|log| !log.record.is_null() && !log.ends.is_empty());
                findings.extend(log.exchange(&received));
                findings.push(log.end());
                findings.extend(self.introspection.as_ref().map(|to| alive(to, &received, false)));
                if answer.status != 200 {
                    findings.push(surprise("the call", format!("status {}", answer.status), None));
                }
            }
            None => {
                log.listen(|log| !log.record.is_null());
                findings.extend(log.refusal());
            }
        }
        Ok(findings)
    }
}

fn good(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, found: found.into(), is_surprise: false, mend: None }
}

fn surprise(what: &'static str, found: impl Into<String>, mend: Option<String>) -> Finding {
    Finding { what, found: found.into(), is_surprise: true, mend }
}

/// What the filter told.
struct Log {
    heard: Receiver<Told>,
    calls: Vec<Called>,
    record: Value,
    /// What became of tokens, in the filter's words.
    ends: Vec<String>,
}

impl Log {
    fn listen(&mut self, done: impl Fn(&Log) -> bool) {
        let begin = Instant::now();
        while !done(self) && begin.elapsed() < PATIENCE {
            match self.heard.recv_timeout(Duration::from_millis(100)) {
                Ok(Told::Ended(way)) => self.record = serde_json::from_slice(&way.record).unwrap_or_default(),
                Ok(Told::Called(call)) => self.calls.push(call),
                Ok(Told::Line { line, .. }) => {
                    self.ends.extend(end_of_token(&line).map(|(_, end)| end.to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// The exchange itself: how long it took, what was asked for and what came.
    fn exchange(&self, received: &str) -> Vec<Finding> {
        let took = self.record.pointer("/elevated/took").and_then(Value::as_u64).unwrap_or_default();
        let mut findings = vec![good("exchange", format!("{took} ms"))];
        let asked = self.calls.iter().find_map(|call| form(&call.request, "scope"));
        let given = claims(received).get("scope").and_then(Value::as_str).map(str::to_owned);
        if let (Some(asked), Some(given)) = (asked, given) {
            let added: Vec<&str> =
                given.split(' ').filter(|scope| !asked.split(' ').any(|one| one == *scope)).collect();
            findings.push(good("scopes", format!("asked for {asked}; got {given}")));
            if !added.is_empty() {
                findings.push(good("added", format!("{}, which the policy accepts", added.join(" "))));
            }
        }
        findings
    }

    fn end(&self) -> Finding {
        match self.ends.first().map(String::as_str) {
            Some("revoked") => good("revocation", "revoked when the call had ended"),
            Some(end) => surprise("revocation", end, mend::of_end(end)),
            None => surprise(
                "revocation",
                format!("not confirmed within {} s", PATIENCE.as_secs()),
                mend::of_end("given_up"),
            ),
        }
    }

    /// Why there was none.
    fn refusal(&self) -> Vec<Finding> {
        let name = self.record.get("reason").and_then(Value::as_str).unwrap_or("no answer");
        let reason = Reason::ALL.iter().find(|reason| reason.name() == name);
        let said = self.record.get("service_error").and_then(Value::as_str);
        let answer = self.calls.iter().rev().find(|call| form(&call.request, "grant_type").is_some());
        let answer: Value = answer.and_then(|call| serde_json::from_slice(&call.body).ok()).unwrap_or_default();
        let acts = reason.map(|reason| format!(" ({})", reason.acts().text())).unwrap_or_default();
        let mut findings = vec![surprise("decision", format!("{name}{acts}"), mend::of_reason(name, said, &answer))];
        findings.extend(said.map(|said| good("it said", said)));
        if let Some(token) = answer.get("access_token").and_then(Value::as_str) {
            findings.extend(about_token("", token));
        }
        findings
    }
}

/// A parameter of a request to a token service.
fn form(body: &[u8], name: &str) -> Option<String> {
    parse(body).find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
}

/// What it is like. The filter has judged it; this is for the person.
fn about_token(caller: &str, token: &str) -> Vec<Finding> {
    let (own, before) = (claims(token), claims(caller));
    let shown = |name: &str| own.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let time = |name: &str| own.get(name).and_then(Value::as_u64);
    let mut findings = Vec::new();
    for (what, name) in
        [("issuer", "iss"), ("audience", "aud"), ("subject", "sub"), ("client", "client_id"), ("actor", "act")]
    {
        findings.extend(shown(name).map(|value| good(what, value)));
    }
    if let (Some(begin), Some(end)) = (time("iat"), time("exp")) {
        findings.push(good("lifetime", format!("{} s", end.saturating_sub(begin))));
    }
    if own.is_null() {
        findings.push(good("type", "no JWT"));
    } else if !before.is_null() && before.get("sub") != own.get("sub") {
        findings.push(good("subject before", before.get("sub").map(Value::to_string).unwrap_or_default()));
    }
    findings
}

/// Does its issuer say what it should?
fn alive((url, credential): &(String, String), token: &str, wanted: bool) -> Finding {
    let what = if wanted { "introspection" } else { "and afterwards" };
    let request = Request::post(url, encode(&[("token", token)]))
        .with("content-type", "application/x-www-form-urlencoded")
        .with("authorization", credential);
    // A revocation is confirmed before it is seen everywhere.
    let begin = Instant::now();
    loop {
        let answer = send(&request).map(|answer| (answer.status, answer.message()));
        let active = answer.as_ref().ok().and_then(|(_, message)| message.as_ref()?.get("active")?.as_bool());
        match active {
            Some(active) if active == wanted => return good(what, if active { "alive" } else { "dead" }),
            Some(true) if begin.elapsed() < Duration::from_secs(2) => std::thread::sleep(Duration::from_millis(100)),
            Some(_) if wanted => return surprise(what, "dead during its call", mend::of_introspection()),
            Some(_) => return surprise(what, "alive after its call", mend::of_end("refused")),
            None => {
                let status = answer.map(|(status, _)| status).unwrap_or_default();
                return surprise(what, format!("no answer that says (status {status})"), mend::of_introspection());
            }
        }
    }
}
