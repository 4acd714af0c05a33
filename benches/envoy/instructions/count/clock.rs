//! A clock that stands still. A step takes as long as ten thousand instructions: ticks, timers and timeouts of half a minute
//! would fall into one request.

use std::collections::HashMap;
use std::ffi::{c_long, c_void};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result};
use nix::libc::user_regs_struct;
use nix::sys::ptrace;
use nix::unistd::Pid;
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSymbol as _};

/// The clocks of a thread, as they were when it first read them.
pub struct Clock {
    /// The kernel's page of functions (`man 7 vdso`).
    page: Range<u64>,
    function: u64,
    /// The clock that is being read, and where the time goes.
    reading: Option<(u64, u64)>,
    /// Seconds and nanoseconds.
    read: HashMap<u64, [c_long; 2]>,
}

impl Clock {
    pub fn of(process: u32) -> Result<Clock> {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let line = maps.lines().find(|line| line.ends_with("[vdso]")).context("Envoy has no vdso")?;
        let (from, to) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')).context("no range")?;
        let page = u64::from_str_radix(from, 16)?..u64::from_str_radix(to, 16)?;
        let mut bytes = vec![0; usize::try_from(page.end - page.start)?];
        File::open(format!("/proc/{process}/mem"))?.read_exact_at(&mut bytes, page.start)?;
        let elf: ElfFile64<'_> = ElfFile64::parse(bytes.as_slice())?;
        let mut symbols = elf.dynamic_symbols();
        let found = symbols.find(|symbol| symbol.name() == Ok("__vdso_clock_gettime"));
        let function = page.start + found.context("the vdso has no clock_gettime")?.address();
        Ok(Clock { page, function, reading: None, read: HashMap::new() })
    }

    /// The thread is about to execute the next instruction. When it has just read a clock, it gets the time of the first reading.
    pub fn observe(&mut self, thread: Pid, registers: &user_regs_struct) -> Result<()> {
        if registers.rip == self.function {
            self.reading = Some((registers.rdi, registers.rsi));
        }
        if self.page.contains(&registers.rip) {
            return Ok(());
        }
        let Some((clock, to)) = self.reading.take() else { return Ok(()) };
        let places = [to as *mut c_void, (to + 8) as *mut c_void];
        match self.read.get(&clock) {
            Some(time) => {
                for (place, part) in places.into_iter().zip(time) {
                    ptrace::write(thread, place, *part)?;
                }
            }
            None => {
                let [seconds, nanoseconds] = places.map(|place| ptrace::read(thread, place));
                self.read.insert(clock, [seconds?, nanoseconds?]);
            }
        }
        Ok(())
    }
}
