//! P34: which server a request is for. A route that names one decides; where none is named, the policy says what does.

use crate::policy::place::{Place, WELL_KNOWN, without_slash};
use crate::policy::{Policy, Select, Server};
use crate::reason::Reason;

/// Where a request was sent, as it says itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address<'a> {
    pub authority: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
}

/// A server, and which of its places: positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub server: usize,
    pub place: usize,
}

impl Policy {
    /// The server of this request. Its path must be one of that server's (P29, P42).
    pub(crate) fn select_server(&self, route: Option<&str>, at: Address<'_>) -> Result<Spot, Reason> {
        let mut candidates = self.candidates(route, at.authority).peekable();
        if candidates.peek().is_none() {
            return Err(Reason::UnknownServer);
        }
        let site = candidates.find_map(|(number, server)| {
            let place = server.place_where(|place| place.is_at(at.path, at.query), |place| place.path == at.path)?;
            Some(Spot { server: number, place })
        });
        site.ok_or(Reason::UnknownPath)
    }

    /// The server and the place whose metadata document (RFC 9728 3) this address is.
    pub(crate) fn select_metadata(&self, route: Option<&str>, at: Address<'_>) -> Option<(&Server, &Place)> {
        if !at.path.starts_with(WELL_KNOWN) {
            return None;
        }
        let named = self.candidates(route, at.authority).find_map(|(_, server)| {
            let is_there = |place: &Place| place.is_described_at(at.path, at.query);
            let place = server.place_where(is_there, |place| place.metadata.path == at.path)?;
            Some((server, server.places.get(place)?))
        });
        named.or_else(|| {
            // The root form, where it can mean only one.
            let mut candidates = self.candidates(route, at.authority).filter(|_| at.path == WELL_KNOWN);
            match (candidates.next(), candidates.next()) {
                (Some((_, server)), None) => Some((server, server.places.first()?)),
                _ => None,
            }
        })
    }

    fn candidates(&self, route: Option<&str>, authority: &str) -> impl Iterator<Item = (usize, &Server)> {
        let is_meant = move |server: &Server| match (route, self.select) {
            (Some(name), _) => *server.name == *name,
            (None, Select::Metadata) => false,
            (None, Select::Path) => true,
            (None, Select::Host) => server.is_at(authority),
        };
        self.servers.iter().enumerate().filter(move |(_, server)| is_meant(server))
    }
}

impl Server {
    /// Where it answers: host, path and query, each as load errors compare them.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&str, &str, Option<&str>)> {
        // RFC 9728 3.1: with and without a final slash they have one metadata document, so they are one place.
        self.places.iter().map(|place| (self.url.host(), without_slash(&place.path), place.query.as_deref()))
    }

    /// The place that fits: the very spelling before the other one.
    fn place_where(&self, fits: impl Fn(&Place) -> bool, is_spelt_so: impl Fn(&Place) -> bool) -> Option<usize> {
        let spelt = self.places.iter().position(|place| fits(place) && is_spelt_so(place));
        spelt.or_else(|| self.places.iter().position(fits))
    }

    fn is_at(&self, authority: &str) -> bool {
        let default = if self.url.https { ":443" } else { ":80" };
        self.url.host().eq_ignore_ascii_case(authority.strip_suffix(default).unwrap_or(authority))
    }
}
