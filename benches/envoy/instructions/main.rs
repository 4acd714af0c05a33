//! How many user instructions a request costs Envoy's worker: an instrument that no other load disturbs.
//!
//! `cargo run --release -p step-up-benches --bin instructions`, on Linux, x86-64, with two cores, where ptrace is allowed.
//!
//! A real Envoy is warmed up. Then its worker is single-stepped through one request, until nothing is done for it any more: an
//! exchanged token is revoked after the answer. Its clock stands still meanwhile, so no timer expires and no tick of the module
//! falls into the request; and so does Envoy's main thread, which would give the worker other things to do.

// Registers and system calls are those of x86-64.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod count;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> anyhow::Result<()> {
    count::run()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("instructions can be counted on Linux and x86-64 only")
}
