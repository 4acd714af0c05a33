//! Memory over ten thousand exchanges, and over a result of 20 MB.

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

/// A result that nobody has reason to hold passes as it comes, also where its end is awaited to take a token back. Whoever reads it
/// slowly waits for the server, and nothing piles up between them.
pub(super) fn large_result() -> Result<()> {
    const SIZE: usize = 20_000_000;
    /// KiB. Buffers of Envoy's are a megabyte each at most; what is awaited of an event is less.
    const MOST: u64 = 8 * 1024;
    let mut stack = EnvoyStack::start(&Options::default())?;
    let client = Client::register(&stack)?;
    let token = client.token(&stack)?;
    let mut policy = stack.sample_policy()?;
    policy["tiers"]["danger"]["may_elevate"]["client"] = json!([client.id]);
    for rule in [json!({ "scope": [] }), json!({ "tier": "danger", "scope": "tools:admin" })] {
        policy["servers"]["notes"]["tools"]["blob"] = rule;
        apply(&stack, &policy)?;
        let sized = |size: usize| {
            let mut body = host_test::story::modern_call("blob");
            body["params"]["arguments"] = json!({ "size": size });
            Request { body: Some(body.to_string()), ..call(&stack, Server::Notes, &token, "blob") }
        };
        wait_for("the policy", || Ok(send(&sized(1))?.status == 200))?;
        let request = sized(SIZE);
        let (body, before) = (request.body.unwrap_or_default(), resident(stack.envoy().id())?);
        let stream = TcpStream::connect(("127.0.0.1", stack.port()))?;
        let accept = "content-type: application/json\r\naccept: application/json, text/event-stream\r\n";
        let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n{accept}{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            Server::Notes.path(),
            stack.port(),
            body.len()
        );
        (&stream).write_all(format!("{head}{body}").as_bytes())?;
        let (mut got, mut most, mut buffer) = (0, before, vec![0; 256 * 1024]);
        while let size @ 1.. = (&stream).read(&mut buffer)? {
            got += size;
            most = most.max(resident(stack.envoy().id())?);
            sleep(Duration::from_millis(5));
        }
        ensure!(got > SIZE, "only {got} bytes came");
        println!("{} KiB of Envoy before {got} bytes, {most} KiB at most while they passed", before);
        ensure!(most < before + MOST, "Envoy grew from {before} to {most} KiB");
    }
    stack.entry(|entry| entry["stepup"]["name"] == "blob" && entry["stepup"]["reason"] == "elevated")?;
    Ok(())
}
