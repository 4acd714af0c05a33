//! Whatever the order of events.

use super::*;
use step_up_core::BodyFault;

/// One thing that happens; numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Event {
    Head { caller: usize, modern: bool },
    Body(usize),
    Exchange { which: usize, how: u8 },
    Revocation { which: usize, how: u8 },
    ResponseHead { which: usize, how: u8 },
    Chunk { which: usize, how: u8 },
    Gone(usize),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let which = 0..8_usize;
    prop_oneof![
        4 => (0..3_usize, any::<bool>()).prop_map(|(caller, modern)| Event::Head { caller, modern }),
        4 => which.clone().prop_map(Event::Body),
        5 => (which.clone(), 0..10_u8).prop_map(|(which, how)| Event::Exchange { which, how }),
        3 => (which.clone(), 0..5_u8).prop_map(|(which, how)| Event::Revocation { which, how }),
        3 => (which.clone(), 0..6_u8).prop_map(|(which, how)| Event::ResponseHead { which, how }),
        3 => (which.clone(), 0..5_u8).prop_map(|(which, how)| Event::Chunk { which, how }),
        1 => which.prop_map(Event::Gone),
        3 => prop_oneof![0..300_u64, 300..6_000_u64, 30_000..40_000_u64].prop_map(Event::Pass),
    ]
}

/// A token that reached the gate.
struct Minted {
    stream: StreamId,
    good: bool,
    expires: i64,
    /// Calls that revoke it and have no answer yet.
    open: usize,
    /// Answers that ended it.
    ended: usize,
}

/// The world around one gate, which keeps account of every token.
struct World {
    vm: Vm,
    streams: Vec<(StreamId, Request)>,
    callers: BTreeMap<StreamId, String>,
    /// With the moment at which the host gives them up.
    exchanges: Vec<(CallId, StreamId, Millis)>,
    revocations: Vec<(CallId, String, Millis)>,
    minted: BTreeMap<String, Minted>,
}

fn pick<T>(list: &[T], which: usize) -> Option<usize> {
    (!list.is_empty()).then(|| which % list.len())
}

impl World {
    fn new() -> World {
        World {
            vm: lingering(),
            streams: Vec::new(),
            callers: BTreeMap::new(),
            exchanges: Vec::new(),
            revocations: Vec::new(),
            minted: BTreeMap::new(),
        }
    }

    fn happen(&mut self, event: Event) {
        let mut body_of = None;
        match event {
            Event::Head { caller: number, modern } => {
                let own = caller(number);
                let request = if modern { modern_call() } else { call() }.bearer(&own);
                let stream = self.vm.head(&request);
                self.callers.insert(stream, own);
                self.streams.push((stream, request));
            }
            Event::Body(which) => {
                if let Some(at) = pick(&self.streams, which) {
                    let (stream, request) = &self.streams[at];
                    self.vm.body(*stream, request.body());
                    body_of = Some(*stream);
                }
            }
            Event::Exchange { which, how } => {
                if let Some(at) = pick(&self.exchanges, which) {
                    let (id, stream, until) = self.exchanges.swap_remove(at);
                    self.answer(id, stream, if self.vm.now < until { how } else { 9 });
                }
            }
            Event::Revocation { which, how } => {
                if let Some(at) = pick(&self.revocations, which) {
                    let (id, token, _) = self.revocations.swap_remove(at);
                    self.confirm(id, &token, how);
                }
            }
            Event::ResponseHead { which, how } => {
                if let Some(stream) = self.forwarded(which).filter(|stream| !self.vm.is_held(*stream)) {
                    let (status, kind, end) = [
                        (200, JSON, false),
                        (200, EVENTS, false),
                        (200, JSON, true),
                        (401, None, false),
                        (500, None, true),
                        (403, JSON, false),
                    ][usize::from(how)];
                    self.vm.response_head(stream, status, kind, end);
                }
            }
            Event::Chunk { which, how } => {
                if let Some(stream) = self.forwarded(which) {
                    let chunks: [(&[u8], bool); 5] = [
                        (b"data: {\"id\":7,\"res", false),
                        (b"ult\":{}}\n\n", false),
                        (b"data: {\"id\":7,\"result\":{}}\r\n\r\n", false),
                        (b"data: {\"id\":8,\"result\":{}}\n\n", false),
                        (b"", true),
                    ];
                    let (bytes, end) = chunks[usize::from(how)];
                    match (self.vm.is_held(stream), end) {
                        (false, _) => self.vm.response_chunk(stream, bytes, end),
                        (true, true) => self.vm.response_body(stream, Ok(br#"{"error":"insufficient_scope"}"#)),
                        (true, false) => self.vm.response_body(stream, Err(BodyFault::TooLarge)),
                    }
                }
            }
            Event::Gone(which) => {
                if let Some(at) = pick(&self.streams, which) {
                    let (stream, _) = self.streams.swap_remove(at);
                    self.vm.gone(stream);
                }
            }
            Event::Pass(millis) => self.pass(millis),
        }
        self.account(body_of);
    }

    /// The host gives up a revocation at its timeout. It may forget an exchange altogether.
    fn pass(&mut self, millis: u64) {
        for step in std::iter::repeat_n(500, usize::try_from(millis / 500).unwrap()).chain([millis % 500]) {
            self.vm.pass(step);
            self.account(None);
            while let Some(at) = self.revocations.iter().position(|(.., until)| *until <= self.vm.now) {
                let (id, token, _) = self.revocations.swap_remove(at);
                self.confirm(id, &token, 4);
                self.account(None);
            }
        }
    }

    /// A stream that is upstream; responses come on no other.
    fn forwarded(&self, which: usize) -> Option<StreamId> {
        let upstream: Vec<StreamId> = self
            .streams
            .iter()
            .map(|(stream, _)| *stream)
            .filter(|stream| self.vm.elevated(*stream).is_some())
            .collect();
        pick(&upstream, which).map(|at| upstream[at])
    }

    fn answer(&mut self, id: CallId, stream: StreamId, how: u8) {
        let number = self.minted.len();
        let token = fresh(&self.vm, &format!("e-{number}"));
        let text = match how {
            0..=3 => token.text(),
            4 => token.claim("aud", RESOURCE).text(),
            5 => token.claim("scope", "repo:admin mcp:connect").text(),
            6 => format!("opaque-{number}"),
            7 => {
                grant(&mut self.vm, id, &self.callers[&stream].clone());
                return;
            }
            8 => {
                say(&mut self.vm, id, 400, &json!({ "error": "invalid_grant" }));
                return;
            }
            _ => {
                self.vm.reply(id, Err(CallFault::Unanswered));
                return;
            }
        };
        let expires = self.vm.now.seconds() + if how < 4 { 60 } else { 300 };
        self.minted.insert(text.clone(), Minted { stream, good: how < 4, expires, open: 0, ended: 0 });
        grant(&mut self.vm, id, &text);
    }

    fn confirm(&mut self, id: CallId, token: &str, how: u8) {
        let minted = self.minted.get_mut(token).expect("only what was minted is revoked");
        minted.open -= 1;
        minted.ended += usize::from(how < 3);
        match how {
            0 | 1 => self.vm.reply(id, Ok((200, b""))),
            2 => self.vm.reply(id, Ok((400, br#"{"error":"unsupported_token_type"}"#))),
            3 => self.vm.reply(id, Ok((503, b""))),
            _ => self.vm.reply(id, Err(CallFault::Unanswered)),
        }
    }

    /// What must hold after every event.
    fn account(&mut self, body_of: Option<StreamId>) {
        for (id, call) in self.vm.take_calls() {
            let fields = form(&call);
            if let Some(token) = fields.get("token") {
                assert!(!self.callers.values().any(|own| own == token), "a caller was logged out");
                let minted = self.minted.get_mut(token).expect("only what was minted is revoked");
                assert_eq!((minted.open, minted.ended), (0, 0), "revoked once more");
                minted.open += 1;
                self.revocations.push((id, token.clone(), self.vm.now.plus(call.timeout)));
            } else {
                let stream = body_of.expect("an exchange begins with a body");
                assert_eq!(fields["subject_token"], self.callers[&stream]);
                self.exchanges.push((id, stream, self.vm.now.plus(call.timeout)));
            }
        }
        for stream in self.callers.keys().copied().filter(|stream| self.vm.is_settled(*stream)) {
            match self.vm.elevated(stream) {
                Some(authorization) => {
                    let token = authorization.strip_prefix("Bearer ").expect("a bearer token");
                    let minted = self.minted.get(token).expect("minted");
                    assert!(minted.good && minted.stream == stream, "the token of another");
                }
                None => assert!(!self.vm.settled(stream).is_forwarded(), "the caller's own token went upstream"),
            }
        }
    }

    /// Everybody leaves, the token service is well again.
    fn end(&mut self) {
        while !self.streams.is_empty() {
            self.happen(Event::Gone(0));
        }
        for _ in 0..60 {
            self.happen(Event::Pass(1_000));
            while !self.revocations.is_empty() {
                self.happen(Event::Revocation { which: 0, how: 0 });
            }
        }
        let now = self.vm.now.seconds();
        for (token, minted) in &self.minted {
            let what = if minted.good { "good" } else { "bad" };
            assert!(minted.ended == 1 || minted.expires <= now, "a {what} token is left alive: {token}");
        }
        assert!(self.vm.is_idle());
        let known: usize =
            ["revoked", "unsupported", "expired"].map(|end| revocations_counted(&self.vm, end)).iter().sum();
        assert_eq!(known, self.minted.len(), "minted = revoked");
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn every_token_is_taken_back_whatever_the_order_of_events(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        world.end();
    }

    #[test]
    fn nothing_but_exactly_what_was_asked_for_is_forwarded(
        changes in prop::collection::vec((0..12_usize, prop::sample::select(vec![
            Json::Null, json!(""), json!("x"), json!(0), json!(-1), json!(START), json!(START + 60), json!(START + 61),
            json!(u64::MAX), json!(1e300), json!([]), json!({}), json!([ADMIN]), json!(ADMIN), json!(RESOURCE),
            json!(ISSUER), json!(FILTER), json!("alice"), json!("repo:admin"), json!("repo:admin x"), json!("repo:read"),
        ])), 0..3),
    ) {
        let names = ["iss", "aud", "sub", "client_id", "azp", "jti", "iat", "exp", "nbf", "scope", "act", "cnf"];
        let mut claims = json!({
            "iss": ISSUER, "aud": ADMIN, "sub": "alice", "client_id": FILTER, "iat": START, "exp": START + 60,
            "scope": "repo:admin",
        });
        let mut token = good();
        for (name, value) in changes {
            claims[names[name]] = value.clone();
            token = token.claim(names[name], value);
        }
        let text = token.text();
        let mut vm = vm();
        let (stream, id) = exchange(&mut vm, &call());
        grant(&mut vm, id, &text);
        if vm.elevated(stream).is_some() {
            prop_assert_eq!(&claims["iss"], ISSUER);
            prop_assert!(claims["aud"] == ADMIN || claims["aud"] == json!([ADMIN]));
            prop_assert_eq!(&claims["sub"], "alice");
            prop_assert!(claims["client_id"] == FILTER || claims["azp"] == FILTER);
            prop_assert_eq!(&claims["scope"], "repo:admin");
            let (issued, expires) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
            prop_assert!(expires - issued <= 60 && expires > START);
            prop_assert!(claims.get("cnf").is_none());
        } else {
            prop_assert!(!vm.settled(stream).is_forwarded());
            prop_assert_eq!(revoked(&mut vm), [text]);
        }
    }
}
