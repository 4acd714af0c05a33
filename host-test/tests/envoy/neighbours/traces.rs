//! Spans of what is judged, and of what the token service is asked for it.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use host_test::fault_proxy::{Behaviour, Endpoint};
use host_test::stack::{EnvoyStack, FILTER_CREDENTIAL, Options, Request, Server, Stack as _, send};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::collector::{Collector, Span};
use super::file;
use crate::support::{apply, call, expect, wait_for};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::traces_show_exchange_and_revocation_under_the_request", started_here),
        trial("neighbours::traces_of_own_callers_go_on", own_callers),
        trial("neighbours::traces_without_the_header_are_not_known_to_the_filter", without_header),
        trial("neighbours::traces_say_to_the_token_service_what_is_recorded", sampled),
        trial("neighbours::traces_of_strangers_hide_nothing", strangers),
        trial("neighbours::traces_with_spans_of_the_calls_themselves", hop),
        trial("neighbours::traces_with_those_spans_lose_no_token", faults_behind_hop),
        trial("neighbours::traces_cost_of_those_spans", cost).with_ignored_flag(true),
    ]
}

/// What a caller may send.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn started_here() -> Result<()> {
    let world = World::start(|_| {})?;
    let (exchange, revocation) = world.elevate(None)?;
    let entry = world.stack.entry(|entry| entry["stepup"]["reason"] == "elevated")?;
    let span = world.span_of("elevated")?;
    ensure!(span.parent.is_empty() && !span.is_client && span.name == "POST notes", "{span:#?}");
    ensure!(record(&span) == entry["stepup"] && entry["stepup"]["verdict"] == "permit", "{span:#?} {entry:#}");
    for asked in [&exchange, &revocation] {
        ensure!(asked.traceparent == format!("00-{}-{}-01", span.trace, span.id), "{asked:?} {span:#?}");
        ensure!(asked.request_id == span.tag("guid:x-request-id"), "{asked:?} {span:#?}");
    }
    // What is refused has a span, too.
    world.refuse()?;
    let refused = world.span_of("scope_missing")?;
    let mut in_query = call(&world.stack, Server::Notes, "none", "echo");
    in_query.url.push_str("?access_token=secret");
    expect(&in_query, 400, "token_in_query")?;
    let in_query = world.span_of("token_in_query")?;
    ensure!(in_query.tags.values().all(|value| !value.contains("secret")), "{in_query:#?}");
    ensure!(record(&refused)["verdict"] == "challenge" && refused.trace != span.trace, "{refused:#?}");
    ensure!(refused.tag("http.url") == "/notes/mcp", "{refused:#?}");
    ensure!(record(&refused)["claimed_request_id"] == refused.tag("guid:x-request-id"), "{refused:#?}");
    Ok(())
}

fn own_callers() -> Result<()> {
    let world = World::start(of_own_callers)?;
    let (exchange, revocation) = world.elevate(Some(SAMPLED))?;
    let span = world.span_of("elevated")?;
    ensure!(span.trace == TRACE && SAMPLED.contains(&span.parent) && !span.parent.is_empty(), "{span:#?}");
    for asked in [exchange, revocation] {
        ensure!(asked.traceparent == format!("00-{TRACE}-{}-01", span.id), "{asked:?} {span:#?}");
    }
    // They may say that nothing is recorded, and what is no trace makes none.
    let (exchange, _) = world.elevate(Some(UNSAMPLED))?;
    ensure!(exchange.traceparent.starts_with(&format!("00-{TRACE}-")), "{exchange:?}");
    ensure!(exchange.traceparent.ends_with("-00"), "{exchange:?}");
    let (exchange, _) = world.elevate(Some("nonsense"))?;
    ensure!(exchange.traceparent.is_empty(), "{exchange:?}");
    // Spans of a worker come in their order.
    world.refuse()?;
    world.span_of("scope_missing")?;
    world.span_of("elevated").map(drop)
}

fn without_header() -> Result<()> {
    let world = World::start(|neighbours| {
        of_own_callers(neighbours);
        members(neighbours).remove("http_filters").unwrap();
    })?;
    // Envoy writes its own trace into the request behind the filter. Of a caller's, exchange and revocation are the next children.
    let (exchange, revocation) = world.elevate(None)?;
    ensure!(exchange.traceparent.is_empty() && revocation.traceparent.is_empty(), "{exchange:?} {revocation:?}");
    let (exchange, revocation) = world.elevate(Some(SAMPLED))?;
    ensure!(exchange.traceparent == SAMPLED && revocation.traceparent == SAMPLED, "{exchange:?} {revocation:?}");
    Ok(())
}

fn sampled() -> Result<()> {
    let world = World::start(|neighbours| {
        neighbours["connection_manager"]["tracing"]["random_sampling"] = json!({ "value": 50 });
    })?;
    let mut announced = BTreeSet::new();
    for _ in 0..30 {
        let (exchange, _) = world.elevate(None)?;
        let [_, trace, _, flags] = exchange.traceparent.split('-').collect::<Vec<_>>()[..] else {
            anyhow::bail!("{exchange:?}")
        };
        if flags == "01" {
            announced.insert(trace.to_owned());
        }
    }
    ensure!(!announced.is_empty() && announced.len() < 30, "{announced:?}");
    let recorded = || world.collector.spans(|_| true).into_iter().map(|span| span.trace).collect::<BTreeSet<_>>();
    wait_for("the spans", || Ok(recorded().len() >= announced.len()))?;
    ensure!(recorded() == announced, "{:#?} are recorded, and announced were {announced:#?}", recorded());
    Ok(())
}

fn strangers() -> Result<()> {
    let world = World::start(|_| {})?;
    let mut traces = BTreeSet::new();
    for sent in [SAMPLED, UNSAMPLED, "nonsense"] {
        let (exchange, revocation) = world.elevate(Some(sent))?;
        ensure!(exchange.traceparent == revocation.traceparent, "{sent}: {exchange:?} {revocation:?}");
        ensure!(!exchange.traceparent.contains(TRACE) && exchange.traceparent.ends_with("-01"), "{sent}: {exchange:?}");
        ensure!(exchange.request_id != CLAIMED_ID, "{sent}: {exchange:?}");
        traces.insert(exchange.traceparent);
    }
    let elevated = || world.collector.spans(|span| record(span)["reason"] == "elevated");
    wait_for("three spans", || Ok(elevated().len() == 3))?;
    let spans: BTreeSet<_> = elevated().iter().map(|span| format!("00-{}-{}-01", span.trace, span.id)).collect();
    ensure!(spans == traces, "{spans:#?} {traces:#?}");
    Ok(())
}

fn hop() -> Result<()> {
    let world = World::start(|_| {})?;
    apply(&world.stack, &with_hop(world.stack.sample_policy()?))?;
    let (exchange, revocation) = world.elevate(None)?;
    let request = world.span_of("elevated")?;
    for (asked, name) in [(exchange, "POST /token"), (revocation, "POST /token/revocation")] {
        let span = world.collector.span(name, |span| span.name == name)?;
        ensure!(span.is_client && (&span.trace, &span.parent) == (&request.trace, &request.id), "{span:#?}");
        ensure!(asked.traceparent == format!("00-{}-{}-01", span.trace, span.id), "{asked:?} {span:#?}");
        ensure!(asked.request_id == request.tag("guid:x-request-id"), "{asked:?} {request:#?}");
        ensure!(asked.authorization == FILTER_CREDENTIAL, "{name}: not as the filter");
    }
    // Nobody reaches it from outside.
    let listeners: Value =
        serde_json::from_str(&send(&Request::get(world.stack.admin_url("/listeners?format=json")))?.body)?;
    let listeners = listeners["listener_statuses"].as_array().context("no listeners")?;
    let own = listeners.iter().find(|listener| listener["name"] == "as-token").context("no listener as-token")?;
    ensure!(own["local_address"].get("socket_address").is_none(), "{own:#}");

    Ok(())
}

fn faults_behind_hop() -> Result<()> {
    let World { stack, .. } = World::start(|_| {})?;
    apply(&stack, &with_hop(stack.sample_policy()?))?;
    let (proxy, token) = (stack.fault_proxy()?, stack.token(Server::Notes, "mcp:connect")?);
    let show = call(&stack, Server::Notes, &token, "show-token");
    proxy.set(Endpoint::Token, Behaviour::close());
    expect(&show, 503, "elevation_unavailable")?;
    // The caller is told in time, and the filter still waits for what is to be revoked.
    proxy.set(Endpoint::Token, Behaviour::late_answer(Duration::from_secs(4)));
    expect(&show, 503, "elevation_unavailable")?;
    ensure!(proxy.books().given.is_empty(), "the answer was not late");
    wait_for("the late token to be revoked", || Ok(proxy.books().revoked().len() == 1))?;
    ensure!(proxy.books().minted.len() == 1, "{:?}", proxy.books());
    proxy.pass();
    expect(&show, 200, "").map(drop)
}

/// What a caller waits for the hop, on this machine: said, not judged.
fn cost() -> Result<()> {
    let neighbours = Some(neighbours(&Collector::start()?)?);
    let stack = EnvoyStack::start(&Options { workers: 1, neighbours, ..Options::default() })?;
    let token = stack.token(Server::Notes, "mcp:connect")?;
    let mut straight = stack.sample_policy()?;
    straight["limits"] = json!({ "exchange_rate": 10_000 });
    // In turns, since the machine has other work.
    for _ in 0..4 {
        for policy in [straight.clone(), with_hop(straight.clone())] {
            apply(&stack, &policy)?;
            for _ in 0..50 {
                expect(&call(&stack, Server::Notes, &token, "show-token"), 200, "")?;
            }
        }
    }
    let through = |cluster: &str| stack.stat(&format!("cluster.{cluster}.upstream_rq_total"));
    wait_for("the last revocation", || Ok(through("as-token")? >= 800))?;
    ensure!(through("as-token-traced")? >= 400, "not half of the exchanges and revocations had the hop");
    // As the filter saw it, in whole milliseconds; the log has them in their order, a moment later.
    let took = || -> Result<Vec<u64>> {
        let log = stack.access_log()?.into_iter();
        Ok(log.filter_map(|entry| entry["stepup"]["elevated"]["took"].as_u64()).collect())
    };
    wait_for("the last record", || Ok(took()?.len() == 400))?;
    let took = took()?;
    let mean = |first| took.chunks(50).skip(first).step_by(2).flatten().sum::<u64>() as f64 / 200.0;
    let (straight, traced) = (mean(0), mean(1));
    eprintln!("an exchange: {straight:.2} ms; by the internal listener {traced:.2} ms ({:.2})", traced / straight);
    Ok(())
}

// What they are made with.

/// What no request of the token service must have.
const CLAIMED_ID: &str = "claimed";

/// A stack with these neighbours, a collector, and what the token service was asked.
struct World {
    stack: EnvoyStack,
    collector: Collector,
    asked: Receiver<Asked>,
}

/// What came with an exchange or a revocation; nothing is empty.
#[derive(Debug)]
struct Asked {
    traceparent: String,
    request_id: String,
    authorization: String,
}

impl World {
    fn start(change: impl FnOnce(&mut Value)) -> Result<World> {
        let collector = Collector::start()?;
        let mut neighbours = neighbours(&collector)?;
        change(&mut neighbours);
        // Each span leaves at once, and not after five of them or five seconds.
        let runtime = json!({ "tracing.opentelemetry.min_flush_spans": 1 });
        neighbours["layered_runtime"] = json!({ "layers": [{ "name": "flush", "static_layer": runtime }] });
        // Of one worker, spans come in their order.
        let options = Options { workers: 1, fault_proxy: true, neighbours: Some(neighbours), ..Options::default() };
        let stack = EnvoyStack::start(&options)?;
        let (tell, asked) = channel();
        for endpoint in [Endpoint::Token, Endpoint::Revocation] {
            let tell = tell.clone();
            let behaviour = Behaviour::new(move |asked| {
                let header = |name| asked.header(name).unwrap_or_default().to_owned();
                let (traceparent, request_id) = (header("traceparent"), header("x-request-id"));
                // Nobody listens any more at the end.
                let _ = tell.send(Asked { traceparent, request_id, authorization: header("authorization") });
                asked.forward()
            });
            stack.fault_proxy()?.set(endpoint, behaviour);
        }
        Ok(World { stack, collector, asked })
    }

    /// An elevated call of a caller who sends this trace: its exchange, and its revocation.
    fn elevate(&self, traceparent: Option<&str>) -> Result<(Asked, Asked)> {
        let token = self.stack.token(Server::Notes, "mcp:connect")?;
        let request = call(&self.stack, Server::Notes, &token, "show-token").with("x-request-id", CLAIMED_ID);
        let request = traceparent.into_iter().fold(request, |request, trace| request.with("traceparent", trace));
        expect(&request, 200, "")?;
        let next = || self.asked.recv_timeout(Duration::from_secs(10)).context("the token service was not asked");
        Ok((next()?, next()?))
    }

    fn refuse(&self) -> Result<()> {
        let token = self.stack.token(Server::Notes, "mcp:connect")?;
        expect(&call(&self.stack, Server::Notes, &token, "get-env"), 403, "scope_missing").map(drop)
    }

    /// The only span with that reason.
    fn span_of(&self, reason: &str) -> Result<Span> {
        self.collector.span(reason, |span| record(span)["reason"] == reason)
    }
}

/// The settings, with this collector.
fn neighbours(collector: &Collector) -> Result<Value> {
    let mut neighbours = file("tracing.yaml")?;
    let port = "/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
    *neighbours.pointer_mut(port).context("no port")? = json!(collector.port);
    Ok(neighbours)
}

/// The policy, through the internal listener.
fn with_hop(mut policy: Value) -> Value {
    policy["token_service"]["cluster"] = json!("as-token-traced");
    policy
}

/// The audit record in its tag.
fn record(span: &Span) -> Value {
    serde_json::from_str(span.tag("stepup")).unwrap_or_default()
}

/// Without what is there because of strangers.
fn of_own_callers(neighbours: &mut Value) {
    members(&mut neighbours["connection_manager"]).remove("early_header_mutation_extensions").unwrap();
}

fn members(map: &mut Value) -> &mut serde_json::Map<String, Value> {
    map.as_object_mut().unwrap()
}
