//! Properties of all requests.

use super::*;

/// What a lenient reader makes of the body of a forwarded request: the tool it would run.
fn tool_of(body: &[u8]) -> Option<String> {
    let frame: Json = serde_json::from_slice(body).expect("what is forwarded is JSON");
    let members = frame.as_object().expect("and an object");
    let fold = |name: &str| name.replace('\u{17f}', "s").to_ascii_lowercase();
    for member in members.keys().filter(|name| random::MEMBERS[..10].contains(&&*fold(name))) {
        assert_eq!(*member, fold(member), "a folded member went upstream");
    }
    (frame["method"] == "tools/call").then(|| frame["params"]["name"].as_str().unwrap_or_default().to_owned())
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn every_request_is_settled_and_none_is_forwarded_that_must_not_be(
        request in random::request(),
        body in prop::option::of(random::frame()),
    ) {
        let document = document(json!({ "get": open(), "shell": "deny" }));
        let mut vm = Vm::new(&load(&document));
        let request = match body {
            Some(body) if !request.is_bodiless() => request.with_body(body),
            _ => request,
        };
        let stream = vm.head(&request);
        if !vm.is_settled(stream) {
            vm.body(stream, request.body());
        }
        prop_assert!(vm.is_settled(stream), "{:?} is left alone", request);
        if vm.settled(stream).is_forwarded() {
            let values = |name: &str| -> Vec<&[u8]> {
                let pairs = request.pairs();
                pairs.into_iter().filter(|(header, _)| *header == name.as_bytes()).map(|(_, value)| value).collect()
            };
            let bearer = format!("Bearer {}", token(BASELINE));
            prop_assert_eq!(values("authorization"), [bearer.as_bytes()]);
            prop_assert_eq!(values(":path"), [b"/mcp"]);
            for name in [":protocol", "x-http-method-override"] {
                prop_assert!(values(name).is_empty());
            }
            if !values("upgrade").is_empty() {
                prop_assert!(vm.settled(stream).removed().contains(&"upgrade".to_owned()));
                prop_assert!(values("upgrade").iter().all(|value| !value.eq_ignore_ascii_case(b"websocket")));
            }
            if values(":method") == [b"POST"] {
                let tool = tool_of(request.body());
                prop_assert!(tool.is_none() || tool.as_deref() == Some("get"), "{:?} was run", tool);
            } else {
                prop_assert!(request.is_bodiless());
            }
        }
    }
}
