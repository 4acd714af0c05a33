//! The filter beside others in real Envoy: CPU of Envoy for each request, side by side.
//!
//! `cargo run --release -p step-up-benches --bin side-by-side [-- ROUNDS [allowed | exchange | served [MODULE]]]`, on an idle Linux
//! machine with two cores or more. MODULE is another build of the filter.
//!
//! Envoy has one worker, on core 0; a second Envoy that answers and the clients are on core 1. Eight connections, kept alive,
//! a second to warm up and three that count, a fresh Envoy each time, the order reversed in every round. CPU is utime and stime
//! of the process; compare it, not requests a second, which core 1 bounds. In the first tables all variants do the same: this
//! token may call this tool. `added` is the median of what a variant took beyond no filter in the same round. The last one takes
//! an exchange apart; the token service is on core 1 too. `served` puts `stepup serve` in the place of Envoy, all of it on core 0, and
//! says what a client sees: how many requests a second there can be, and how long one takes, alone and among eight.

use std::fmt;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use step_up_benches::rig::{Answer, Rig, Variant, is_complete, on_core, request, serve, token_service};

const SIZES: [usize; 2] = [300, 20_000];
const CONNECTIONS: usize = 8;
const ALONE: usize = 1;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(3);

/// What allows a call of a token seen before.
const ALLOWED: [Variant; 5] = [Variant::Nothing, Variant::Native, Variant::BareWasm, Variant::Floor, Variant::StepUp];
/// Each does what the one before it does, and more; but the last two, which are to be compared.
const EXCHANGES: [Variant; 6] = [
    Variant::Denied,
    Variant::Exchange(Answer::Refusal),
    Variant::Exchange(Answer::OtherType),
    Variant::Exchange(Answer::OtherSubject),
    Variant::StepUp,
    Variant::Exchange(Answer::Token),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    token_service::serve_if_asked(&arguments)?;
    serve::serve_if_asked(&arguments)?;
    let (rounds, only, module) = match arguments.as_slice() {
        ["load", port, file, status, connections] => {
            return load(port.parse()?, Path::new(file), status, connections.parse()?);
        }
        [] => (3, None, None),
        [rounds] => (rounds.parse()?, None, None),
        [rounds, only @ ("allowed" | "exchange" | "served")] => (rounds.parse()?, Some(*only), None),
        [rounds, only @ ("allowed" | "exchange"), module] => (rounds.parse()?, Some(*only), Some(module.into())),
        _ => bail!("say how many rounds, and perhaps `allowed`, `exchange` or `served`, and another module"),
    };
    let bench = Bench { rig: Rig::new("side-by-side", module)? };
    if only.is_none_or(|only| only == "allowed") {
        SIZES.into_iter().try_for_each(|size| bench.allowed(size, rounds))?;
    }
    if only.is_none_or(|only| only == "exchange") {
        bench.exchange(rounds)?;
    }
    if only.is_none_or(|only| only == "served") {
        bench.served(rounds)?;
    }
    Ok(())
}

/// What was found for one variant.
struct Row {
    name: &'static str,
    /// In the order of the rounds.
    found: Vec<f64>,
}

impl Row {
    /// The median of the differences within a round: what disturbs a round disturbs both.
    fn beyond(&self, other: &Row) -> f64 {
        middle(self.found.iter().zip(&other.found).map(|(own, other)| own - other).collect())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) =
            self.found.iter().fold((f64::MAX, f64::MIN), |(first, last), one| (first.min(*one), last.max(*one)));
        write!(f, "{} | {:.1} ({first:.1} to {last:.1})", self.name, middle(self.found.clone()))
    }
}

/// What was found for one variant, once.
struct Found {
    /// Microseconds of the proxy's for each request.
    cpu: f64,
    /// Requests a second.
    rate: f64,
    /// Microseconds that half of the clients' requests took at most, and 99 of 100.
    half: f64,
    most: f64,
}

fn middle(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    list.get(list.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

struct Bench {
    rig: Rig,
}

impl Bench {
    /// A call that is allowed, of a token seen before.
    fn allowed(&self, size: usize, rounds: usize) -> Result<()> {
        println!(
            "\nallowed, body {size} B\n| what | CPU us/request (range) | added | of native |\n| --- | --- | --- | --- |"
        );
        let rows = self.measure_all(&ALLOWED, size, rounds)?;
        let [nothing, native, ..] = &rows;
        for row in &rows {
            let added = row.beyond(nothing);
            println!("| {row} | {added:.1} | {:.2} |", added / native.beyond(nothing));
        }
        Ok(())
    }

    /// An exchange, taken apart.
    fn exchange(&self, rounds: usize) -> Result<()> {
        println!("\nexchange, body {} B\n| what | CPU us/request (range) |\n| --- | --- |", SIZES[0]);
        let rows = self.measure_all(&EXCHANGES, SIZES[0], rounds)?;
        rows.iter().for_each(|row| println!("| {row} |"));
        let [denied, refused, unread, verified, allowed, exchanged] = &rows;
        println!("\nbeyond an allowed call: {:.1}, of which", exchanged.beyond(allowed));
        println!("- call {:.1}", refused.beyond(denied));
        println!("- revocation {:.1}", unread.beyond(refused));
        println!("- verification {:.1}", verified.beyond(unread));
        println!("- swap, watching the response {:.1}", exchanged.beyond(allowed) - verified.beyond(denied));
        Ok(())
    }

    /// `stepup serve` in the place of Envoy.
    fn served(&self, rounds: usize) -> Result<()> {
        println!(
            "\nserved, body {} B, medians\n| what | connections | CPU us/request | requests/s | us, half of them | us, 99 of 100 |",
            SIZES[0]
        );
        println!("| --- | --- | --- | --- | --- | --- |");
        for connections in [ALONE, CONNECTIONS] {
            for variant in [Variant::Nothing, Variant::StepUp, Variant::Served] {
                let found =
                    (0..rounds).map(|_| self.measure(variant, SIZES[0], connections)).collect::<Result<Vec<_>>>()?;
                let of = |part: fn(&Found) -> f64| middle(found.iter().map(part).collect());
                println!(
                    "| {} | {connections} | {:.1} | {:.0} | {:.0} | {:.0} |",
                    variant.name(),
                    of(|found| found.cpu),
                    of(|found| found.rate),
                    of(|found| found.half),
                    of(|found| found.most)
                );
            }
        }
        Ok(())
    }

    /// Every variant so many times, in turn and back.
    fn measure_all<const N: usize>(&self, variants: &[Variant; N], size: usize, rounds: usize) -> Result<[Row; N]> {
        let mut found = variants.map(|variant| (variant, Vec::new()));
        for _ in 0..rounds {
            for (variant, list) in &mut found {
                // A connection to the token service may break by itself; a load with such a failure does not count.
                let found = self.measure(*variant, size, CONNECTIONS).or_else(|error| {
                    eprintln!("once more, because of: {error:#}");
                    self.measure(*variant, size, CONNECTIONS)
                });
                list.push(found?.cpu);
            }
            found.reverse();
        }
        if rounds % 2 == 1 {
            found.reverse();
        }
        Ok(found.map(|(variant, found)| Row { name: variant.name(), found }))
    }

    fn measure(&self, variant: Variant, size: usize, connections: usize) -> Result<Found> {
        let envoy = self.rig.start(variant)?;
        // Keys, caches, compiled code.
        sleep(Duration::from_millis(1500));
        let file = self.rig.folder().join("request");
        fs::write(&file, request(size)?)?;
        let load = on_core(1, &std::env::current_exe()?)
            .args(["load", &envoy.port.to_string()])
            .arg(&file)
            .args([variant.status().to_string(), connections.to_string()])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .context("taskset (util-linux) could not be started")?;
        sleep(WARM_UP);
        let before = cpu(envoy.id())?;
        sleep(MEASURED);
        let after = cpu(envoy.id())?;
        let output = load.wait_with_output()?;
        ensure!(output.status.success(), "{}: the load failed", variant.name());
        let text = String::from_utf8_lossy(&output.stdout);
        let mut numbers = text.split_whitespace().map(str::parse::<f64>);
        let mut next = || Ok::<_, anyhow::Error>(numbers.next().context("the load says too little")??);
        let (requests, half, most) = (next()?, next()?, next()?);
        Ok(Found { cpu: (after - before) / requests, rate: requests / MEASURED.as_secs_f64(), half, most })
    }
}

/// utime and stime in microseconds (`man 5 proc`; a tick is 10 ms).
fn cpu(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let tick = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).context("no such field");
    Ok((tick(11)? + tick(12)?) * 10_000.0)
}

/// The clients: prints how many answers came in the time that counts, and microseconds that half of them took at most, and 99 of
/// 100. Any answer with another status is a failure.
fn load(port: u16, file: &Path, status: &str, connections: usize) -> Result<()> {
    let request = fs::read(file)?;
    let start = format!("HTTP/1.1 {status}");
    let (counting, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let one = || -> Result<Vec<u64>> {
        let mut times = Vec::new();
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut buffer = [0; 4096];
        while !over.load(Ordering::Relaxed) {
            let begin = Instant::now();
            stream.write_all(&request)?;
            let mut got = Vec::new();
            while !is_complete(&got) {
                let read = stream.read(&mut buffer)?;
                ensure!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(&got));
                got.extend(buffer.iter().take(read));
            }
            if !got.starts_with(start.as_bytes()) {
                bail!("{}", String::from_utf8_lossy(&got));
            }
            if counting.load(Ordering::Relaxed) {
                times.push(u64::try_from(begin.elapsed().as_micros())?);
            }
        }
        Ok(times)
    };
    let mut times = scope(|scope| {
        let clients: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        sleep(WARM_UP);
        counting.store(true, Ordering::Relaxed);
        sleep(MEASURED);
        counting.store(false, Ordering::Relaxed);
        over.store(true, Ordering::Relaxed);
        let of = clients.into_iter().map(|client| client.join().unwrap_or_else(|_| bail!("a client panicked")));
        Ok::<_, anyhow::Error>(of.collect::<Result<Vec<_>>>()?.concat())
    })?;
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    println!("{} {} {}", times.len(), at(50), at(99));
    Ok(())
}
