//! The request on the wire.

use super::*;

#[test]
fn an_exchange_is_asked_for_as_rfc_8693_says() {
    let mut vm = vm();
    let request = call().header("traceparent", TRACE);
    begin(&mut vm, &request);
    let (_, call) = only_call(&mut vm);
    let expected = [
        ("client_id", FILTER),
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", ACCESS_TOKEN),
        ("resource", ADMIN),
        ("scope", "repo:admin"),
        ("subject_token", &token(BASELINE)),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    assert_eq!(form(&call), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!((call.method, &*call.cluster, &*call.authority), ("POST", "as-token", "as.example.com:8443"));
    assert_eq!(call.path, "/oauth/token?t=1");
    assert_eq!(header(&call, "content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(header(&call, "traceparent"), Some(TRACE));
    assert_eq!(header(&call, "x-request-id"), Some("edge-1"));
    assert_eq!(header(&call, "authorization"), None);
    assert_eq!(call.timeout, 32_000, "what comes too late must be revoked, so the call stays open");
    assert!(call.body.reveal().bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%=&".contains(&b)));
}

#[test]
fn nothing_of_the_caller_but_its_token_and_its_trace_goes_to_the_token_service() {
    let mut vm = vm();
    begin(&mut vm, &call().header("cookie", "c=1").header("dpop", "proof").header("x-forwarded-for", "10.0.0.1"));
    let (_, call) = only_call(&mut vm);
    let names: BTreeSet<&str> = call.headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, BTreeSet::from(["content-type", "x-request-id"]));
}

#[test]
fn p10_an_audience_is_asked_for_as_resource_or_by_name() {
    for (audience, field) in [
        (json!("https://git.internal/admin"), "resource"),
        (json!("urn:example:git"), "resource"),
        (json!("api://git-admin"), "resource"),
        (json!("git-admin"), "audience"),
        (json!("git admin: all"), "audience"),
        (json!("git:admin all"), "audience"),
        (json!("git:"), "resource"),
        (json!("https://git.internal/%zz"), "audience"),
        (json!("1git:admin"), "audience"),
        (json!("https://git.internal/admin#x"), "audience"),
    ] {
        let mut vm = Vm::new(&load(&exchanging(json!({ "audience": audience }))));
        begin(&mut vm, &call());
        let fields = form(&only_call(&mut vm).1);
        let other = if field == "resource" { "audience" } else { "resource" };
        assert_eq!((fields.get(field).map(String::as_str), fields.get(other)), (audience.as_str(), None));
    }
    let mut vm = Vm::new(&load(&exchanging(json!({ "audience": null }))));
    begin(&mut vm, &call());
    assert_eq!(form(&only_call(&mut vm).1)["resource"], RESOURCE, "absent means `resource`");
}

#[test]
fn p10_an_exchange_asks_for_the_scopes_of_the_rule_only() {
    let mut vm = Vm::new(&load(&exchanging(json!({ "scope": ["repo:write", "a:x", "repo:admin"] }))));
    begin(&mut vm, &call());
    assert_eq!(form(&only_call(&mut vm).1)["scope"], "a:x repo:admin repo:write");
    let mut vm = Vm::new(&load(&exchanging(json!({ "scope": [] }))));
    begin(&mut vm, &call());
    assert_eq!(form(&only_call(&mut vm).1).get("scope"), None);
}

struct OneSecret;

impl Environment for OneSecret {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "STEP_UP_SECRET").then(|| "s:e+c r%t".to_owned())
    }
}

#[test]
fn a_client_secret_goes_as_basic_and_nowhere_else() {
    let client = json!({ "id": "step up:filter", "secret_env": "STEP_UP_SECRET" });
    let document = with(plain(), "/token_service/client", client);
    let policy = Policy::load(document.to_string().as_bytes(), &OneSecret).map(Rc::new).expect("accepted");
    let mut vm = Vm::new(&policy);
    let stream = begin(&mut vm, &call());
    let (id, exchange) = only_call(&mut vm);
    grant(&mut vm, id, &good().claim("client_id", "step up:filter").text());
    vm.gone(stream);
    let (_, revocation) = only_call(&mut vm);
    for call in [exchange, revocation] {
        // RFC 6749 2.3.1: step%20up%3Afilter:s%3Ae%2Bc%20r%25t
        let expected = "Basic c3RlcCUyMHVwJTNBZmlsdGVyOnMlM0FlJTJCYyUyMHIlMjV0";
        assert_eq!(header(&call, "authorization"), Some(expected));
        assert_eq!(form(&call).get("client_id"), None);
        assert!(!format!("{call:?}").contains("Basic"), "secrets are not printed");
    }
}

#[test]
fn a_revocation_is_asked_for_as_rfc_7009_says() {
    let mut vm = vm();
    let stream = elevated(&mut vm, &call().header("traceparent", TRACE));
    vm.gone(stream);
    let (_, call) = only_call(&mut vm);
    let expected = [("client_id", FILTER), ("token", &*good().text()), ("token_type_hint", "access_token")];
    assert_eq!(form(&call), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!((call.method, &*call.path, call.timeout), ("POST", "/oauth/revoke", 2_000));
    assert_eq!((header(&call, "traceparent"), header(&call, "x-request-id")), (Some(TRACE), Some("edge-1")));
}
