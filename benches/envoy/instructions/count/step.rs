//! Single-steps a thread and counts its instructions by address (`man 2 ptrace`). While it is stepped, its clock stands still.

use std::collections::HashMap;
use std::ffi::c_void;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::clock::Clock;

/// How often each address was executed.
pub type Counts = HashMap<u64, u64>;

/// What is done while the thread is in a system call: the other side of its sockets.
pub type Meanwhile<'m> = dyn FnMut() -> Result<()> + 'm;

/// A thread in our hands, about to wait for events. It runs on when this is dropped.
pub struct Stepper {
    thread: Pid,
    /// Envoy's main thread. It stands still: it would give the worker something to do every half second.
    main: Pid,
    clock: Clock,
    /// Is there a system call at this address?
    syscalls: HashMap<u64, bool>,
    /// How long the next wait for events may last, in milliseconds; 0 when there is more to do.
    patience: u64,
    /// A signal that came for the thread.
    signal: Option<Signal>,
}

/// What a thread did from events to the next wait for events.
#[derive(Default)]
pub struct Turn {
    pub counts: Counts,
    /// It read from or wrote to a socket.
    is_io: bool,
    /// It goes on with what the turn before has begun.
    is_continued: bool,
}

impl Turn {
    /// Was it for a request? Else it was for timers, or for another thread of Envoy.
    pub fn is_for_request(&self) -> bool {
        self.is_io || self.is_continued
    }
}

/// A worker that is given nothing for so long, or does nothing in so many turns, has nothing left to do.
const SETTLED: Duration = Duration::from_millis(5);
const TURNS: u32 = 4;
/// A thread that is in a system call for so long is stuck.
const STUCK: Duration = Duration::from_secs(20);
/// x86-64: `syscall`.
const SYSCALL: i64 = 0x050f;

impl Stepper {
    /// Stops the thread of that name where it waits for events, with nothing left to do.
    pub fn attach(process: u32, name: &str) -> Result<Stepper> {
        let (thread, main) = (thread(process, name)?, Pid::from_raw(process.try_into()?));
        let clock = Clock::of(process)?;
        ptrace::seize(main, ptrace::Options::empty()).context("ptrace is not allowed here")?;
        let mut stepper = Stepper { thread, main, clock, syscalls: HashMap::new(), patience: 0, signal: None };
        ptrace::interrupt(main)?;
        waitpid(main, Some(WaitPidFlag::__WALL))?;
        ptrace::seize(thread, ptrace::Options::empty())?;
        stepper.interrupt()?;
        // The first turn fixes the clock and does what is due by then: no timer is due after it. The others do what the main
        // thread has left; a wait that is over at its time, without events, would be over again and again.
        for _ in 0..TURNS {
            while stepper.patience == 0 {
                stepper.turn(&mut || Ok(()))?;
            }
            if !stepper.wait(SETTLED, &mut || Ok(()))? {
                break;
            }
            stepper.turn(&mut || Ok(()))?;
        }
        Ok(stepper)
    }

    /// Waits for events; false when there were none for so long.
    pub fn wait(&mut self, patience: Duration, meanwhile: &mut Meanwhile<'_>) -> Result<bool> {
        self.step()?;
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if self.has_stopped(WaitPidFlag::WNOHANG)? {
                return Ok(true);
            }
            meanwhile()?;
            sleep(Duration::from_micros(50));
        }
        // It begins to wait anew with the next step.
        self.interrupt()?;
        Ok(false)
    }

    /// From events to the next wait for them.
    pub fn turn(&mut self, meanwhile: &mut Meanwhile<'_>) -> Result<Turn> {
        let mut turn = Turn { is_continued: self.patience == 0, ..Turn::default() };
        loop {
            let registers = ptrace::getregs(self.thread)?;
            self.clock.observe(self.thread, &registers)?;
            let syscall = self.is_syscall(registers.rip)?.then_some(registers.rax);
            if syscall.is_some_and(waits) {
                self.patience = registers.r10;
                return Ok(turn);
            }
            *turn.counts.entry(registers.rip).or_default() += 1;
            turn.is_io |= syscall.is_some_and(is_io);
            match syscall {
                Some(_) => ensure!(self.wait(STUCK, meanwhile)?, "the worker is stuck in a system call"),
                None => {
                    self.step()?;
                    self.has_stopped(WaitPidFlag::empty())?;
                }
            }
        }
    }

    fn is_syscall(&mut self, address: u64) -> Result<bool> {
        if let Some(known) = self.syscalls.get(&address) {
            return Ok(*known);
        }
        let is_syscall = ptrace::read(self.thread, address as *mut c_void)? & 0xffff == SYSCALL;
        self.syscalls.insert(address, is_syscall);
        Ok(is_syscall)
    }

    fn step(&mut self) -> Result<()> {
        Ok(ptrace::step(self.thread, self.signal.take())?)
    }

    fn interrupt(&mut self) -> Result<()> {
        ptrace::interrupt(self.thread)?;
        self.has_stopped(WaitPidFlag::empty())?;
        Ok(())
    }

    fn has_stopped(&mut self, flags: WaitPidFlag) -> Result<bool> {
        match waitpid(self.thread, Some(flags | WaitPidFlag::__WALL))? {
            WaitStatus::StillAlive => return Ok(false),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => bail!("Envoy has ended"),
            WaitStatus::Stopped(_, signal) if signal != Signal::SIGTRAP => self.signal = Some(signal),
            _ => (),
        }
        Ok(true)
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        // Envoy may have ended.
        let _ = ptrace::detach(self.thread, None);
        let _ = ptrace::detach(self.main, None);
    }
}

/// `epoll_wait`, `epoll_pwait`: both have the patience in the same register.
fn waits(syscall: u64) -> bool {
    matches!(syscall, 232 | 281)
}

/// `readv`, `writev`, `connect`, `sendto`, `recvfrom`, `sendmsg`, `recvmsg`, `accept4`.
fn is_io(syscall: u64) -> bool {
    matches!(syscall, 19 | 20 | 42 | 44..=47 | 288)
}

fn thread(process: u32, name: &str) -> Result<Pid> {
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let path = entry?.path();
        if fs::read_to_string(path.join("comm"))?.trim_end() == name {
            let id = path.file_name().and_then(|id| id.to_str()?.parse().ok());
            return id.map(Pid::from_raw).context("a thread without a number");
        }
    }
    bail!("Envoy has no thread `{name}`")
}
