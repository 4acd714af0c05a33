//! Memory over ten thousand exchanges.

use super::*;

/// Resident memory of Envoy over 10,000 exchanges, and whether everything was taken back.
pub(super) fn memory() -> Result<()> {
    const EXCHANGES: usize = 10_000;
    const MARKS: [usize; 3] = [2_000, 6_000, 10_000];
    let mut stack = EnvoyStack::start(&Options::default())?;
    let client = Client::register(&stack)?;
    let token = client.token(&stack)?;
    let mut policy = stack.sample_policy()?;
    policy["tiers"]["danger"]["may_elevate"]["client"] = json!([client.id]);
    policy["limits"] = json!({ "exchanges_per_caller": 64, "exchange_rate": 100_000 });
    // As the configuration from the start: no second VM in the figures.
    apply(&stack, &policy)?;
    let elevated = elevated_call(&stack, &token, "show-token", 0.0);
    wait_for("the policy", || Ok(send(&elevated)?.status == 200))?;
    let begin = Instant::now();
    println!("start: {} KiB", resident(stack.envoy().id())?);
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for mark in MARKS {
        scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while next.fetch_add(1, Ordering::Relaxed) < mark {
                        if !send(&elevated).is_ok_and(|answer| answer.status == 200) {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        next.store(mark, Ordering::Relaxed);
        println!("{mark} exchanges: {} KiB after {:.0?}", resident(stack.envoy().id())?, begin.elapsed());
    }
    let failed = failed.into_inner();
    ensure!(failed == 0, "{failed} calls failed");
    let line = format!(r#"stepup_revocations_total{{outcome="revoked"}} {}"#, EXCHANGES + 1);
    wait_for(&line, || has_metric(&stack, &line))?;
    wait_for("all streams to end", || Ok(stack.stat("http.mcp.downstream_rq_active")? == 0))
}
