//! What the simulated proxy does around a filter, each point as it was measured of Envoy 1.40.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Result;
use host_test::artifact;
use host_test::signing::Key;
use serde_json::{Map, Value, json};
use simulated_proxy::{
    CallPlan, Chunk, Client, Configuration, FailurePolicy, ForeignFunctions, Headers, Limits, Module, Network, Origin,
    OutboundCall, Protocol, Proxy, StreamId, Transcript, UpstreamPlan, UpstreamRequest,
};

/// 2026-11-21T00:00:00Z
const NOW: u64 = 1_795_219_200_000;
const RESOURCE: &str = "https://mcp.example.com/mcp";

/// Publishes keys after a while; the upstream says yes.
struct World {
    keys_after: u64,
}

impl Network for World {
    fn call(&mut self, _: u64, call: &OutboundCall) -> CallPlan {
        if call.cluster != "as-keys" {
            return CallPlan::UnknownCluster;
        }
        let body = json!({ "keys": [Key::for_tests("ES256").unwrap().public()] }).to_string().into_bytes();
        CallPlan::Answer { after: self.keys_after, headers: Headers::of([(":status", "200")]), body }
    }

    fn upstream(&mut self, _: &UpstreamRequest) -> UpstreamPlan {
        UpstreamPlan { headers: Headers::of([(":status", "200")]), ..UpstreamPlan::default() }
    }
}

fn policy() -> Value {
    json!({
        "version": 1,
        "issuers": { "https://as.example.com": {
            "jwks": { "cluster": "as-keys", "url": "https://as.example.com/jwks" }, "algorithms": ["ES256"],
        } },
        "resource": RESOURCE,
        "baseline": ["mcp:connect"],
        "tools": { "get_*": { "scope": [] }, "shell": "deny" },
    })
}

fn filter() -> Configuration {
    Configuration {
        module: artifact::load(&artifact::module().unwrap()).unwrap(),
        vm_id: "step-up".to_owned(),
        root_id: "step-up".to_owned(),
        configuration: policy().to_string().into_bytes(),
        environment: Vec::new(),
        allow_on_headers_stop_iteration: true,
        failure_policy: FailurePolicy::FailReload,
    }
}

fn call(tool: &str) -> Client {
    let claims = json!({
        "iss": "https://as.example.com", "aud": RESOURCE, "sub": "alice", "client_id": "agent", "jti": "t-1",
        "iat": NOW / 1000 - 60, "exp": NOW / 1000 + 540, "scope": "mcp:connect",
    });
    let token = Key::for_tests("ES256").unwrap().token(&Map::new(), &claims).unwrap();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } }).to_string();
    Client {
        headers: Headers::of([
            (":method", "POST"),
            (":path", "/mcp"),
            (":authority", "mcp.example.com"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2025-11-25"),
            ("authorization", format!("Bearer {token}").as_str()),
        ]),
        body: vec![Chunk::now(body)],
        ..Client::default()
    }
}

fn status(proxy: &Proxy, stream: StreamId) -> u16 {
    proxy.transcript(stream).response.map_or(0, |response| response.headers.status())
}

/// proxy-wasm-cpp-host has one flag for the whole VM that a local reply sets: an answer to another stream, given in a
/// callback of this one, would stop this one for good.
#[test]
fn an_answer_to_one_stream_stops_no_other() {
    // The keys are there 153 ms after the start, and this worker looks for them every 50 ms.
    for delay in 140..210 {
        let network = Rc::new(RefCell::new(World { keys_after: 103 }));
        let mut proxy = Proxy::new(NOW, 2, network, Limits::default(), ForeignFunctions::Envoy);
        let filter = proxy.load(filter()).unwrap();
        // One waits for keys, and will be refused; the other comes when they are there, or nearly.
        let waiting = proxy.send(filter, Client { worker: 1, ..call("shell") });
        let passing = proxy.send_later(filter, delay, Client { worker: 1, ..call("get_x") });
        proxy.pass(1_000);
        assert_eq!((status(&proxy, waiting), status(&proxy, passing)), (403, 200), "{delay} ms");
    }
}

// ---- a filter that does what it is told (host-test/guests/probe)

/// Clusters by name; the upstream answers 200 with five bytes.
struct Clusters;

impl Network for Clusters {
    fn call(&mut self, _: u64, call: &OutboundCall) -> CallPlan {
        match call.cluster.as_str() {
            "good" => CallPlan::Answer { after: 20, headers: Headers::of([(":status", "201")]), body: b"abc".to_vec() },
            "refused" => CallPlan::ConnectionRefused,
            "silent" => CallPlan::Silence,
            "full" => CallPlan::Overflow,
            _ => CallPlan::UnknownCluster,
        }
    }

    fn upstream(&mut self, _: &UpstreamRequest) -> UpstreamPlan {
        let headers = Headers::of([(":status", "200"), ("content-length", "5")]);
        UpstreamPlan { after: 10, headers, body: vec![Chunk::now("hel"), Chunk::now("lo")], ..UpstreamPlan::default() }
    }
}

fn module(path: Result<PathBuf>) -> Module {
    artifact::load(&path.unwrap()).unwrap()
}

fn probe(words: &str) -> Configuration {
    Configuration { module: module(artifact::probe_guest()), configuration: words.into(), ..filter() }
}

fn proxy(workers: usize) -> Proxy {
    Proxy::new(NOW, workers, Rc::new(RefCell::new(Clusters)), Limits::default(), ForeignFunctions::Envoy)
}

fn told(task: &str) -> Client {
    let headers =
        [(":method", "POST"), (":path", "/"), (":authority", "a"), ("content-length", "9"), ("x-probe", task)];
    Client { headers: Headers::of(headers), body: vec![Chunk::now("some body")], ..Client::default() }
}

/// The same without a body.
fn bare(task: &str) -> Client {
    let headers = [(":method", "GET"), (":path", "/"), (":authority", "a"), ("x-probe", task)];
    Client { headers: Headers::of(headers), ..Client::default() }
}

/// One request, alone in a process with one worker.
fn run(configuration: Configuration, client: Client) -> Transcript {
    let mut proxy = proxy(1);
    let filter = proxy.load(configuration).unwrap();
    let stream = proxy.send(filter, client);
    proxy.pass(10_000);
    proxy.transcript(stream)
}

fn upstream(transcript: &Transcript, header: &str) -> String {
    transcript.upstream.as_ref().expect("it went upstream").headers.text(header).unwrap_or_default()
}

fn state(transcript: &Transcript, name: &str) -> String {
    String::from_utf8_lossy(transcript.filter_state.get(name).map_or(&[][..], Vec::as_slice)).into_owned()
}

fn code(transcript: &Transcript) -> u16 {
    transcript.response.as_ref().map_or(0, |response| response.headers.status())
}

#[test]
fn a_pause_at_the_head_stops_the_head_only() {
    assert_eq!(upstream(&run(probe(""), told("body")), "x-seen"), "9/false 9/true");
    let together = Client { protocol: Protocol::Http2, ..told("body") };
    assert_eq!(upstream(&run(probe(""), together), "x-seen"), "9/true");
    let pieces = ["so", "me ", "body"].map(|bytes| Chunk { after: 5, bytes: bytes.into() });
    let transcript = run(probe(""), Client { body: pieces.to_vec(), ..told("body") });
    assert_eq!(upstream(&transcript, "x-seen"), "2/false 5/false 9/false 9/true", "what is held back adds up");
    assert_eq!(transcript.upstream.unwrap().body, b"some body");
}

#[test]
fn trailers_are_the_end_of_a_body() {
    let client = Client { trailers: Some(Headers::of([("t", "1")])), ..told("body") };
    let transcript = run(probe(""), client);
    assert_eq!(upstream(&transcript, "x-seen"), "9/false 1 trailers");
    assert_eq!(transcript.upstream.unwrap().trailers, Some(Headers::of([("t", "1")])));
}

#[test]
fn without_the_flag_a_pause_at_the_head_stops_everything() {
    let mut proxy = proxy(1);
    let filter = proxy.load(Configuration { allow_on_headers_stop_iteration: false, ..probe("") }).unwrap();
    let stream = proxy.send(filter, told("body"));
    proxy.pass(299_000);
    assert!(!proxy.has_ended(stream), "nobody ends it but the idle timeout");
    proxy.pass(2_000);
    let transcript = proxy.transcript(stream);
    assert_eq!((code(&transcript), transcript.upstream), (504, None));
}

#[test]
fn what_was_not_shown_is_shown_when_the_filter_goes_on() {
    let configuration = || Configuration { allow_on_headers_stop_iteration: false, ..probe("") };
    let transcript = run(configuration(), told("call"));
    let request = transcript.upstream.clone().unwrap();
    assert_eq!((request.body.as_slice(), request.is_complete, code(&transcript)), (&b"some body"[..], true, 200));
    assert_eq!(upstream(&transcript, "x-answer"), "1 201 3");
    let trailers = Some(Headers::of([("t", "1")]));
    let request = run(configuration(), Client { trailers: trailers.clone(), ..told("call") }).upstream.unwrap();
    assert_eq!((request.body.as_slice(), request.trailers, request.is_complete), (&b"some body"[..], trailers, true));
}

#[test]
fn what_is_held_back_is_bounded() {
    let client = Client { body: vec![Chunk::now(vec![b'x'; (1 << 20) + 1])], ..told("body") };
    let transcript = run(probe(""), client.clone());
    let response = transcript.response.as_ref().unwrap();
    assert_eq!(
        (code(&transcript), response.body.as_slice(), response.origin),
        (413, &b"Payload Too Large"[..], Origin::Proxy)
    );
    assert_eq!((state(&transcript, "response"), state(&transcript, "logged")), ("413".into(), "1".into()));
    // What is not held back is not bounded.
    let mut passing = client;
    passing.headers.replace(b"x-probe", b"pass");
    assert_eq!(code(&run(probe(""), passing)), 200);
    let large = run(probe(""), Client { body: vec![Chunk::now("x")], ..told("hold-response") });
    assert_eq!(code(&large), 200);
}

#[test]
fn headers_that_are_gone_cannot_be_written() {
    let transcript = run(probe(""), told("header-too-late"));
    assert_eq!((state(&transcript, "late").as_str(), upstream(&transcript, "x-late").as_str()), ("2", ""));
}

#[test]
fn the_last_local_reply_counts_and_passes_the_filter() {
    let transcript = run(probe(""), told("two-answers"));
    let response = transcript.response.clone().unwrap();
    assert_eq!((code(&transcript), response.body.as_slice(), response.origin), (500, &b"second"[..], Origin::Filter));
    assert_eq!(response.headers.text("content-type").as_deref(), Some("text/plain"));
    assert_eq!((state(&transcript, "response"), state(&transcript, "response-body")), ("500".into(), "6/true".into()));
    let transcript = run(probe(""), told("answer-and-go-on"));
    assert_eq!((code(&transcript), transcript.upstream), (403, None), "what a callback returns no longer matters");
}

#[test]
fn nobody_corrects_content_length() {
    let transcript = run(probe(""), told("append"));
    let request = transcript.upstream.as_ref().unwrap();
    assert_eq!(
        (request.body.as_slice(), request.headers.text("content-length").as_deref()),
        (&b"some bodyappended"[..], Some("9"))
    );
    assert!(!request.is_framed_well(), "the upstream would read another request");
    assert_eq!(state(&transcript, "middle"), "2", "replace, prepend, append, and nothing between");
}

#[test]
fn calls_are_answered_or_refused_as_by_envoy() {
    assert_eq!(upstream(&run(probe(""), bare("call")), "x-answer"), "1 201 3");
    assert_eq!(upstream(&run(probe(""), bare("call-nowhere")), "x-answer"), "Err(BadArgument) Err(InternalFailure)");
    assert_eq!(upstream(&run(probe(""), bare("call-refused")), "x-answer"), "2 503 22");
    let mut proxy = proxy(1);
    let filter = proxy.load(probe("")).unwrap();
    let stream = proxy.send(filter, bare("call-silent"));
    proxy.pass(499);
    assert!(proxy.transcript(stream).upstream.is_none());
    proxy.pass(100);
    assert_eq!(upstream(&proxy.transcript(stream), "x-answer"), "2 504 24");
}

#[test]
fn an_answer_to_a_stream_that_is_gone_is_dropped() {
    let mut proxy = proxy(1);
    let filter = proxy.load(probe("")).unwrap();
    let gone = proxy.send(filter, Client { leaves: Some(10), ..bare("call-then-trap") });
    proxy.pass(1_000);
    let transcript = proxy.transcript(gone);
    assert!(transcript.is_reset && transcript.response.is_none() && state(&transcript, "logged") == "1");
    let next = proxy.send(filter, told("pass"));
    proxy.pass(100);
    assert_eq!(status(&proxy, next), 200, "no trap");
}

#[test]
fn resuming_goes_on_after_the_call_or_inside_of_it() {
    assert_eq!(upstream(&run(probe(""), bare("call")), "x-after"), "1");
    let mut proxy = proxy(1);
    proxy.resume_inside_of_calls();
    let filter = proxy.load(probe("")).unwrap();
    let stream = proxy.send(filter, bare("call"));
    proxy.pass(1_000);
    let transcript = proxy.transcript(stream);
    assert_eq!(
        (upstream(&transcript, "x-answer").as_str(), upstream(&transcript, "x-after").as_str()),
        ("1 201 3", "")
    );
}

#[test]
fn our_filter_bears_being_called_inside_of_its_own_calls() {
    let network = Rc::new(RefCell::new(World { keys_after: 300 }));
    let mut proxy = Proxy::new(NOW, 1, network, Limits::default(), ForeignFunctions::Envoy);
    proxy.resume_inside_of_calls();
    let filter = proxy.load(filter()).unwrap();
    let streams: Vec<StreamId> = ["get_a", "shell", "get_b"].map(|tool| proxy.send(filter, call(tool))).to_vec();
    proxy.pass(2_000);
    let statuses: Vec<u16> = streams.iter().map(|stream| status(&proxy, *stream)).collect();
    assert_eq!(statuses, [200, 403, 200]);
}

#[test]
fn bytes_of_a_body_are_counted_before_they_are_shown() {
    // A client that sends nothing, and a proxy that shows nothing, look alike to a filter but for this.
    for (allows, body, expected) in [(true, false, 408), (false, false, 408), (false, true, 503), (true, true, 200)] {
        let network = Rc::new(RefCell::new(World { keys_after: 30 }));
        let mut proxy = Proxy::new(NOW, 1, network, Limits::default(), ForeignFunctions::Envoy);
        let filter = proxy.load(Configuration { allow_on_headers_stop_iteration: allows, ..filter() }).unwrap();
        let mut client = call("get_a");
        if !body {
            client.body = vec![Chunk { after: 60_000, ..client.body.remove(0) }];
        }
        let stream = proxy.send(filter, client);
        proxy.pass(20_000);
        assert_eq!(status(&proxy, stream), expected, "{allows} {body}");
    }
}

/// What the filters have counted in shared data.
fn report(proxy: &mut Proxy, filter: usize) -> String {
    let stream = proxy.send(filter, told("report"));
    proxy.pass(50);
    upstream(&proxy.transcript(stream), "x-report")
}

#[test]
fn two_more_vms_than_workers_and_one_of_them_only_loads() {
    let mut proxy = proxy(2);
    let filter = proxy.load(probe("tick call")).unwrap();
    assert_eq!(proxy.vms(), 4);
    proxy.pass(1_050);
    // Four configure; the main thread and the workers tick and are answered.
    assert_eq!(report(&mut proxy, filter), "configured=4 ticks=30 woken= answers=3");
}

#[test]
fn a_queue_wakes_whoever_registered_it_last() {
    let mut proxy = proxy(2);
    let filter = proxy.load(probe("queue")).unwrap();
    for worker in [0, 1, 0] {
        proxy.send(filter, Client { worker, ..told("enqueue") });
    }
    proxy.pass(100);
    assert_eq!(report(&mut proxy, filter), "configured=4 ticks= woken=3 answers=");
}

#[test]
fn filters_with_one_vm_id_share_a_vm_and_not_a_root() {
    let mut proxy = proxy(1);
    let (one, other) = (proxy.load(probe("one")).unwrap(), proxy.load(probe("other")).unwrap());
    let stranger = proxy.load(Configuration { vm_id: "stranger".to_owned(), ..probe("x") }).unwrap();
    assert_eq!((proxy.vms(), proxy.roots()), (6, 9));
    let words = |filter, proxy: &mut Proxy| {
        let stream = proxy.send(filter, told("entered"));
        proxy.pass(50);
        let transcript = proxy.transcript(stream);
        assert_eq!(upstream(&transcript, "x-entered"), "0 2", "a context of its own, and none");
        upstream(&transcript, "x-words")
    };
    assert_eq!((words(one, &mut proxy), words(other, &mut proxy)), ("one".to_owned(), "other".to_owned()));
    assert!(report(&mut proxy, stranger).starts_with("configured=3 "), "shared data is of the vm_id");
    assert!(report(&mut proxy, one).starts_with("configured=6 "));
}

#[test]
fn an_update_is_for_all_or_for_none_and_the_old_root_may_ask_for_time() {
    let mut proxy = proxy(1);
    let filter = proxy.load(probe("busy tick done old")).unwrap();
    let waiting =
        proxy.send(filter, Client { body: vec![Chunk { after: 300, bytes: b"late body".into() }], ..told("body") });
    proxy.pass(10);
    assert!(proxy.update(filter, probe("refuse")).is_err());
    assert_eq!(proxy.roots(), 3, "those of the policy in force");
    proxy.update(filter, probe("new")).unwrap();
    assert_eq!((proxy.vms(), proxy.roots()), (3, 5), "the same VMs, and old roots: one busy, one with a stream");
    let stream = proxy.send(filter, told("pass"));
    proxy.pass(1_000);
    assert_eq!(upstream(&proxy.transcript(stream), "x-words"), "new");
    assert_eq!(upstream(&proxy.transcript(waiting), "x-words"), "busy tick done old", "a stream keeps its root");
    assert_eq!(proxy.roots(), 3);
}

// Measured: the worker's root ends in the millisecond in which its last stream does, those without streams at the update.
#[test]
fn an_old_root_ends_with_its_last_stream() {
    let mut proxy = proxy(2);
    let filter = proxy.load(probe("old")).unwrap();
    let slow = |after| Client { body: vec![Chunk { after, bytes: b"late".into() }], ..told("body") };
    let (first, last) = (proxy.send(filter, slow(300)), proxy.send(filter, slow(600)));
    proxy.pass(10);
    proxy.update(filter, probe("new")).unwrap();
    assert_eq!(proxy.roots(), 5, "four, and the old one of the worker that has streams");
    assert!(proxy.pass_until(1_000, |proxy| proxy.has_ended(first)));
    assert_eq!(proxy.roots(), 5);
    assert!(proxy.pass_until(1_000, |proxy| proxy.has_ended(last)));
    assert_eq!(proxy.roots(), 4);
    assert_eq!(upstream(&proxy.transcript(last), "x-words"), "old");
}

#[test]
fn a_filter_that_refuses_its_configuration_is_not_loaded() {
    let broken = Configuration { configuration: b"{}".to_vec(), ..filter() };
    let error = proxy(1).load(broken).unwrap_err().to_string();
    assert!(error.contains("`version` is missing") && error.contains("`issuers` is missing"), "{error}");
}

fn trapping(policy: FailurePolicy) -> (Proxy, usize) {
    let mut proxy = proxy(1);
    let filter = proxy.load(Configuration { failure_policy: policy, ..probe("") }).unwrap();
    let trap = proxy.send(filter, told("trap-at-head"));
    proxy.pass(100);
    assert_eq!(status(&proxy, trap), 503);
    (proxy, filter)
}

fn next(proxy: &mut Proxy, filter: usize) -> u16 {
    let stream = proxy.send(filter, told("pass"));
    proxy.pass(100);
    status(proxy, stream)
}

#[test]
fn a_trap_closes_opens_or_is_mended() {
    let (mut proxy, filter) = trapping(FailurePolicy::FailClosed);
    proxy.pass(60_000);
    assert_eq!(next(&mut proxy, filter), 503);
    let (mut proxy, filter) = trapping(FailurePolicy::FailOpen);
    assert_eq!(next(&mut proxy, filter), 200, "without the filter");
    let (mut proxy, filter) = trapping(FailurePolicy::FailReload);
    assert_eq!(next(&mut proxy, filter), 503);
    proxy.pass(2_000);
    assert_eq!((next(&mut proxy, filter), proxy.vms()), (200, 4));
}

#[test]
fn what_waited_in_a_vm_that_trapped_hangs_until_it_has_been_idle() {
    let mut proxy = proxy(1);
    let filter = proxy.load(probe("")).unwrap();
    let waiting = proxy.send(filter, bare("call-silent"));
    let other = proxy.send(filter, bare("call-then-trap"));
    proxy.pass(60_000);
    assert_eq!((status(&proxy, waiting), status(&proxy, other)), (0, 0));
    proxy.pass(300_000);
    assert_eq!((status(&proxy, waiting), status(&proxy, other)), (504, 504));
}

#[test]
fn a_trap_in_a_response_spoils_that_response() {
    let transcript = run(probe(""), told("trap-at-response"));
    assert!(code(&transcript) == 200 && transcript.is_reset && !transcript.response.unwrap().is_complete);
    let transcript = run(probe(""), told("trap-at-response-body"));
    assert!(code(&transcript) == 200 && transcript.is_reset && !transcript.response.unwrap().is_complete);
}

#[test]
fn responses_can_be_held_and_replaced() {
    let transcript = run(probe(""), told("hold-response"));
    assert_eq!((code(&transcript), state(&transcript, "response-body").as_str()), (200, "5/true"));
    let transcript = run(probe(""), told("replace-response"));
    assert_eq!((code(&transcript), transcript.response.unwrap().body), (502, b"replaced".to_vec()));
}

// ---- a filter without an SDK (host-test/guests/minimal.wat)

fn minimal(change: impl FnOnce(&str) -> String) -> Configuration {
    let text = include_str!("../guests/minimal.wat");
    // First, because it says where to keep what is compiled.
    let filter = filter();
    Configuration { module: Module::new(&wat::parse_str(change(text)).unwrap()).unwrap(), ..filter }
}

#[test]
fn a_filter_needs_no_sdk() {
    let transcript = run(minimal(str::to_owned), told("pass"));
    assert_eq!((code(&transcript), upstream(&transcript, "x-minimal").as_str()), (200, "1"));
}

#[test]
fn a_filter_that_never_ends_runs_out_of_fuel() {
    let forever = |text: &str| text.replace("(i32.const 0)))", "(loop $on (br $on)) (i32.const 0)))");
    let mut proxy = Proxy::new(
        NOW,
        1,
        Rc::new(RefCell::new(Clusters)),
        Limits { fuel: 1_000_000, ..Limits::default() },
        ForeignFunctions::Envoy,
    );
    let filter = proxy.load(minimal(forever)).unwrap();
    let stream = proxy.send(filter, told("pass"));
    proxy.pass(100);
    assert_eq!(status(&proxy, stream), 503);
    assert!(proxy.log().iter().any(|(_, line)| line.contains("fuel")), "{:?}", proxy.log());
}

#[test]
fn an_import_that_envoy_does_not_have_is_refused() {
    let files = |text: &str| {
        text.replace("(memory (export", "(import \"wasi_snapshot_preview1\" \"path_open\" (func)) (memory (export")
    };
    assert!(format!("{:#}", proxy(1).load(minimal(files)).unwrap_err()).contains("path_open"));
}

#[test]
fn a_run_repeats_itself() {
    // One token: ECDSA signs the same bytes differently each time.
    let client = call("get_x");
    let fuel = || {
        let network = Rc::new(RefCell::new(World { keys_after: 30 }));
        let mut proxy = Proxy::new(NOW, 2, network, Limits::default(), ForeignFunctions::Absent);
        let filter = proxy.load(filter()).unwrap();
        let send = |worker: usize| proxy.send(filter, Client { worker: worker % 2, ..client.clone() });
        let streams: Vec<StreamId> = (0..4).map(send).collect();
        proxy.pass(2_000);
        assert!(streams.iter().all(|stream| status(&proxy, *stream) == 200));
        proxy.fuel_used()
    };
    let first = fuel();
    assert!(first > 0);
    assert_eq!(first, fuel(), "to the last instruction");
}
