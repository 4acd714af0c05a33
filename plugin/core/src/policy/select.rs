//! P34: which server a request is for. A route that names one decides; where none is named, the policy says what does.

use crate::policy::{Policy, Select, Server};
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
        match self.select {
            Select::Metadata => Vec::new(),
            Select::Path => all.collect(),
            Select::Host => {
                let authority = authority.to_ascii_lowercase();
                all.filter(|(_, server)| server.is_at(&authority)).collect()
            }
        }
    }
}

impl Server {
    /// Where it answers: host and path.
    pub(crate) fn places(&self) -> impl Iterator<Item = (String, String)> {
        // RFC 9728 3.1: with and without a final slash they have one metadata document, so they are one place.
        self.all_paths().map(|path| (self.url.host().to_owned(), path.trim_end_matches('/').to_owned()))
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
