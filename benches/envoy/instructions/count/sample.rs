//! One request, stepped through.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use step_up_benches::rig;

use super::step::{Counts, Stepper};

const WORKER: &str = "wrk:worker_0";
/// A request is over when it was answered and nothing was done for it for so long: a revocation comes after the answer.
const SILENCE: Duration = Duration::from_millis(300);
/// A step takes 2 to 20 us, by the machine.
const MOST: Duration = Duration::from_secs(300);

/// Sends a request and counts what the worker does for it.
pub fn take(process: u32, client: &mut Client, requests: &mut Request) -> Result<Counts> {
    // Envoy writes the date once a second, for whichever request comes first. That is not to be this one.
    wait_for_a_new_second()?;
    for _ in 0..10 {
        client.call(requests)?;
    }
    sleep(SILENCE);
    let mut stepper = Stepper::attach(process, WORKER)?;
    client.send(requests)?;
    let (begin, mut last) = (Instant::now(), Instant::now());
    let mut counts = Counts::new();
    while !client.is_answered() || last.elapsed() < SILENCE {
        ensure!(begin.elapsed() < MOST, "no answer after {MOST:?}: {}", String::from_utf8_lossy(&client.got));
        if !stepper.wait(SILENCE, &mut || client.drain())? {
            continue;
        }
        let turn = stepper.turn(&mut || client.drain())?;
        if turn.is_for_request() {
            turn.counts.into_iter().for_each(|(address, count)| *counts.entry(address).or_default() += count);
            last = Instant::now();
        }
    }
    client.expect(requests.status)?;
    Ok(counts)
}

fn wait_for_a_new_second() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    sleep(Duration::from_secs(1).saturating_sub(Duration::from_nanos(now.subsec_nanos().into())));
    Ok(())
}

/// Requests of one kind, and the status with which each is answered.
pub struct Request {
    size: usize,
    is_fresh: bool,
    status: u16,
    next: Vec<u8>,
}

impl Request {
    pub fn new(size: usize, is_fresh: bool, status: u16) -> Result<Request> {
        Ok(Request { size, is_fresh, status, next: rig::request(size)? })
    }

    fn next(&mut self) -> Result<&[u8]> {
        if self.is_fresh {
            // Signed anew, it is another token.
            self.next = rig::request(self.size)?;
        }
        Ok(&self.next)
    }
}

/// A connection to the Envoy that is measured.
pub struct Client {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Client {
    pub fn connect(port: u16) -> Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Client { stream, got: Vec::new() })
    }

    /// Sends the next request and waits for the answer.
    pub fn call(&mut self, requests: &mut Request) -> Result<()> {
        self.send(requests)?;
        while !self.is_answered() {
            self.receive()?;
        }
        self.expect(requests.status)
    }

    fn send(&mut self, requests: &mut Request) -> Result<()> {
        self.got.clear();
        self.stream.write_all(requests.next()?)?;
        Ok(())
    }

    fn is_answered(&self) -> bool {
        rig::is_complete(&self.got)
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer)?;
        ensure!(read > 0, "the connection was closed");
        self.got.extend(buffer.iter().take(read));
        Ok(())
    }

    /// Takes what has come, without waiting.
    fn drain(&mut self) -> Result<()> {
        self.stream.set_nonblocking(true)?;
        let result = self.receive();
        self.stream.set_nonblocking(false)?;
        match result {
            Err(error) if error.downcast_ref().map(std::io::Error::kind) == Some(ErrorKind::WouldBlock) => Ok(()),
            result => result,
        }
    }

    fn expect(&self, status: u16) -> Result<()> {
        let answer = String::from_utf8_lossy(&self.got);
        ensure!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "not {status}: {answer}");
        Ok(())
    }
}
