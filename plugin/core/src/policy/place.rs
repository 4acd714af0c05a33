//! Where a server answers: the spellings of its path that the policy lists, each a protected resource of its own (RFC 9728).

use std::rc::Rc;

use crate::policy::audience::Audiences;

/// One of them: `resource`, or an alias in `paths`.
#[derive(Debug)]
pub(crate) struct Place {
    /// As it is listed, up to the `?`. Begins with a slash.
    pub path: String,
    /// A query that is written must be there, byte for byte. Where none is written, any may be.
    pub query: Option<String>,
    /// P29: does another final slash make another path? So where the policy lists both, and where paths are compared byte for
    /// byte (P42).
    pub is_exact: bool,
    /// What `aud` may say here beside what it may say everywhere at the server: the URL of an alias.
    pub audiences: Audiences,
    pub metadata: Metadata,
}

/// The protected resource metadata (RFC 9728), made once.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// Where it stands; the query is that of the place.
    pub path: String,
    pub url: String,
    pub document: Rc<[u8]>,
}

pub(crate) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

impl Place {
    pub(crate) fn is_at(&self, path: &str, query: Option<&str>) -> bool {
        self.meets(&self.path, path, query)
    }

    /// Is its metadata document there?
    pub(crate) fn is_described_at(&self, path: &str, query: Option<&str>) -> bool {
        self.meets(&self.metadata.path, path, query)
    }

    fn meets(&self, own: &str, path: &str, query: Option<&str>) -> bool {
        let paths = own == path || (!self.is_exact && without_slash(own) == without_slash(path));
        paths && self.query.as_deref().is_none_or(|own| query == Some(own))
    }
}

/// One final slash is ignored; the root has none to lose.
pub(crate) fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path)
}
