//! Which server a request is for: by the route, else by the path, else by host and path.

use crate::policy::{Policy, Server};
use crate::reason::Reason;

impl Policy {
    /// The server of this request. Its path must be one of that server's, byte for byte (up to the `?`).
    pub(crate) fn select_server(&self, route: Option<&str>, authority: &str, path: &str) -> Result<usize, Reason> {
        let candidates = self.candidates(route, authority);
        if candidates.is_empty() {
            return Err(Reason::UnknownServer);
        }
        candidates.into_iter().find(|(_, server)| server.serves(path)).map(|(at, _)| at).ok_or(Reason::UnknownPath)
    }

    /// The server whose metadata document (RFC 9728 3) this path is.
    pub(crate) fn select_metadata(&self, route: Option<&str>, authority: &str, path: &str) -> Option<&Server> {
        if !path.starts_with(WELL_KNOWN) {
            return None;
        }
        let candidates = self.candidates(route, authority);
        let named = candidates.iter().find(|(_, server)| server.metadata.path == path);
        // The root form, where it can mean only one.
        let only = || candidates.first().filter(|_| path == WELL_KNOWN && candidates.len() == 1);
        named.or_else(only).map(|(_, server)| *server)
    }

    fn candidates(&self, route: Option<&str>, authority: &str) -> Vec<(usize, &Server)> {
        let all = self.servers.iter().enumerate();
        if let Some(name) = route {
            return all.filter(|(_, server)| &*server.name == name).collect();
        }
        if self.servers.len() == 1 {
            return all.collect();
        }
        let authority = authority.to_ascii_lowercase();
        all.filter(|(_, server)| server.is_at(&authority)).collect()
    }
}

impl Server {
    /// Where it answers: host and path.
    pub(crate) fn places(&self) -> impl Iterator<Item = (String, String)> {
        self.all_paths().map(|path| (self.url.host().to_owned(), path.to_owned()))
    }

    fn serves(&self, path: &str) -> bool {
        self.all_paths().any(|own| own == path)
    }

    fn all_paths(&self) -> impl Iterator<Item = &str> {
        let own = if self.url.path.is_empty() { "/" } else { &self.url.path };
        std::iter::once(own).chain(self.paths.iter().map(String::as_str))
    }

    fn is_at(&self, authority: &str) -> bool {
        let default = if self.url.https { ":443" } else { ":80" };
        self.url.host() == authority.strip_suffix(default).unwrap_or(authority)
    }
}

pub(crate) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
