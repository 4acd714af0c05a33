//! Which names this may be called by. A page that a browser was lured to can have its own name point here; it cannot choose another
//! one (DNS rebinding).

use std::net::IpAddr;

use super::policy::Served;

/// Names beside those of loopback and of the policy's own resources; `*` is any.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(pub Vec<String>);

/// A name that this may be called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// It says nothing of the server that is meant: the path does.
    Ours,
    /// It is that of a server in the policy.
    Servers,
    /// It may be anybody's.
    Any,
}

const FOREIGN: &str = "this host is not served here; `stepup serve --host NAME` allows a name";

impl Hosts {
    /// Whose name is it?
    pub fn check(&self, authority: Option<&str>, policy: &Served) -> Result<Name, &'static str> {
        let host = authority.and_then(host).ok_or("the request says no host")?;
        let is = |name: &str| name.eq_ignore_ascii_case(&host);
        if is_loopback(&host) || self.0.iter().any(|name| is(name)) {
            Ok(Name::Ours)
        } else if policy.servers.iter().any(|server| is(&server.host)) {
            Ok(Name::Servers)
        } else if self.0.iter().any(|name| name == "*") {
            Ok(Name::Any)
        } else {
            Err(FOREIGN)
        }
    }
}

/// Without the port.
pub(super) fn host(authority: &str) -> Option<String> {
    let authority: http::uri::Authority = authority.parse().ok()?;
    (!authority.as_str().contains('@') && !authority.host().is_empty()).then(|| authority.host().to_owned())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn loopback_the_policys_own_and_named_hosts_are_served() {
        let document = json!({
            "version": 1, "resource": "https://mcp.example.com/mcp", "baseline": [], "tools": { "*": { "scope": [] } },
            "issuers": { "https://as.example.com": {
                "jwks": { "cluster": "as", "url": "https://as.example.com/jwks" }, "algorithms": ["ES256"] } },
        });
        let policy = Served::of(&document).unwrap();
        let hosts = Hosts(vec!["my-laptop".to_owned()]);
        let check = |authority: &str| hosts.check(Some(authority), &policy).is_ok();
        for known in
            ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.1.2.3", "[::1]:8080", "mcp.example.com", "my-laptop:80"]
        {
            assert!(check(known), "{known}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:8080",
            "user@localhost",
            "",
            "10.0.0.1",
            "[::2]",
            "localhost evil",
        ] {
            assert!(!check(foreign), "{foreign}");
        }
        assert!(hosts.check(None, &policy).is_err());
    }
}
