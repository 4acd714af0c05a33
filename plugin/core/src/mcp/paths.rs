//! Which members of a request's params are asked about.

/// Paths, as a tree.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// By name.
    members: Vec<(String, Paths)>,
}

/// What is read of a request beside what every request is read for.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub params: Paths,
    /// Numbers are compared, as they are written.
    pub numbers: bool,
}

impl Paths {
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn add<'p>(&mut self, mut path: impl Iterator<Item = &'p str>) {
        let Some(name) = path.next() else { return };
        let at = match self.members.binary_search_by(|(own, _)| own.as_str().cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.members.insert(at, (name.to_owned(), Paths::default()));
                at
            }
        };
        if let Some((_, below)) = self.members.get_mut(at) {
            below.add(path);
        }
    }

    pub(crate) fn below(&self, name: &str) -> Option<&Paths> {
        let at = self.members.binary_search_by(|(own, _)| own.as_str().cmp(name)).ok()?;
        self.members.get(at).map(|(_, below)| below)
    }
}
