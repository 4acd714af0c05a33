//! What nobody thought of: requests of the corpus, spoilt at random, on the core. The generator has a fixed seed, so a failure repeats
//! itself.
//!
//! `FUZZ_ROUNDS=1000000 cargo test --release -p host-test --test fuzz` looks longer.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use host_test::backend::{Backend as _, Native, Run, Script};
use host_test::corpus::{Corpus, Nobody};
use simulated_proxy::{Chunk, Origin};

const ROUNDS: u64 = 1_500;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }
}

#[test]
fn whatever_comes_is_decided_once_and_judged_the_same_twice() {
    let corpus = Corpus::at(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"));
    let policy = corpus.policy().unwrap();
    let (mut seeds, mut permitted): (Vec<Script>, Vec<Script>) = (Vec::new(), Vec::new());
    let mut good = BTreeSet::new();
    for (kind, read) in [("frames", Corpus::frame as fn(&Corpus, &std::path::Path) -> _), ("tokens", Corpus::token)] {
        for file in corpus.files(kind).unwrap() {
            let case: host_test::corpus::Case = read(&corpus, &file).unwrap();
            let script = case.script(policy.clone());
            // Frames come with good tokens, if with other rights.
            if kind == "frames" || case.is_permitted() {
                good.extend(authorization(&script));
            }
            if case.is_permitted() {
                permitted.push(script.clone());
            }
            seeds.push(script);
        }
    }
    let rounds = std::env::var("FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let mut random = Random(1);
    let mut forwarded = 0;
    for round in 0..rounds {
        // Half of them were good before.
        let from = if random.below(2) == 0 { &permitted } else { &seeds };
        let mut script = from[random.below(from.len())].clone();
        let other = seeds[random.below(seeds.len())].clone();
        spoil(&mut script, &other, &mut random);
        let run = |script: &Script| {
            Native
                .run(script, Rc::new(RefCell::new(Nobody)))
                .unwrap_or_else(|error| panic!("round {round}: {error:#}\n{script:#?}"))
        };
        let (first, second) = (run(&script), run(&script));
        assert_eq!(outcome(&first), outcome(&second), "round {round}: judged differently the second time\n{script:#?}");
        let transcript = &first.transcripts[0];
        let answered = transcript.response.as_ref().is_some_and(|response| response.origin == Origin::Filter);
        assert!(!(answered && transcript.upstream.is_some()), "round {round}: forwarded, and answered\n{script:#?}");
        if let Some(upstream) = &transcript.upstream {
            forwarded += 1;
            // No other bytes than those that were judged, and no token but one that was issued as it is.
            let sent: Vec<u8> = body(&script).iter().flat_map(|chunk| chunk.bytes.clone()).collect();
            assert_eq!(upstream.body, sent, "round {round}");
            let token = authorization(&script).unwrap_or_default();
            assert!(good.contains(&token), "round {round}: forwarded with a token that nobody issued\n{script:#?}");
            assert!(
                sent.is_empty() || serde_json::from_slice::<serde_json::Value>(&sent).is_ok(),
                "round {round}: forwarded, and no JSON: {}",
                String::from_utf8_lossy(&sent)
            );
        }
    }
    println!("{rounds} rounds, {forwarded} forwarded");
    // Else it looks at refusals alone.
    assert!(forwarded > rounds / 50, "{forwarded} of {rounds} forwarded");
}

/// Status and record of what was answered, and what went on.
fn outcome(run: &Run) -> String {
    let transcript = &run.transcripts[0];
    let status = transcript.response.as_ref().map(|response| response.headers.status());
    format!("{status:?} {:?} {:?}", transcript.upstream.is_some(), transcript.filter_state)
}

fn body(script: &Script) -> &[Chunk] {
    &script.requests[0].client.body
}

fn authorization(script: &Script) -> Option<Vec<u8>> {
    let token = script.requests[0].client.headers.get(b"authorization")?;
    // The scheme has no case (RFC 9110 11.1).
    Some(token.split(|byte| *byte == b' ').next_back()?.to_vec())
}

/// One or two changes, in the body or in a header.
fn spoil(script: &mut Script, other: &Script, random: &mut Random) {
    for _ in 0..=random.below(2) {
        let client = &mut script.requests[0].client;
        match random.below(8) {
            0..=3 if !client.body.is_empty() => {
                let at = random.below(client.body.len());
                let foreign: Vec<u8> = body(other).first().map(|chunk| chunk.bytes.clone()).unwrap_or_default();
                change(&mut client.body[at].bytes, &foreign, random);
            }
            4 if !client.body.is_empty() => {
                // Elsewhere cut, and nothing else.
                let at = random.below(client.body.len());
                let cut = random.below(client.body[at].bytes.len());
                let rest = client.body[at].bytes.split_off(cut);
                client.body.insert(at + 1, Chunk { after: random.below(20) as u64, bytes: rest });
            }
            5 => {
                let theirs = &other.requests[0].client.headers.0;
                let header = theirs[random.below(theirs.len())].clone();
                if !header.0.starts_with(b":") {
                    client.headers.0.push(header);
                }
            }
            6 => {
                let at = random.below(client.headers.0.len());
                if !client.headers.0[at].0.starts_with(b":") {
                    client.headers.0.remove(at);
                }
            }
            _ => {
                let at = random.below(client.headers.0.len());
                let foreign =
                    other.requests[0].client.headers.0.first().map(|(_, value)| value.clone()).unwrap_or_default();
                change(&mut client.headers.0[at].1, &foreign, random);
            }
        }
    }
}

/// A byte flipped, lost, doubled or new; a piece lost, doubled or from elsewhere.
fn change(bytes: &mut Vec<u8>, foreign: &[u8], random: &mut Random) {
    if bytes.is_empty() {
        bytes.extend(foreign);
        return;
    }
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(16)).min(bytes.len());
    match random.below(7) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => drop(bytes.remove(at)),
        2 => bytes.insert(at, b"\"\\{}[]:,.0aA_/ \n\t\0\x7f\xc3"[random.below(20)]),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        5 => bytes.truncate(at),
        _ if !foreign.is_empty() => {
            let from = random.below(foreign.len());
            let piece = foreign[from..(from + 1 + random.below(32)).min(foreign.len())].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => bytes[at] = bytes[at].to_ascii_uppercase(),
    }
}
