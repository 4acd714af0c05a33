//! Whose code an address is.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;

use anyhow::{Context as _, Result};

use super::step::Counts;

/// Whose code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The proxy's binary.
    Envoy,
    /// Made at run time: the module.
    Module,
    /// libc and the kernel's page.
    Other,
}

/// The executable mappings of a process.
pub struct Places(Vec<(Range<u64>, Place)>);

impl Places {
    pub fn of(process: u32) -> Result<Places> {
        let binary = fs::read_link(format!("/proc/{process}/exe"))?;
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let mut places = Vec::new();
        for line in maps.lines() {
            let mut fields = line.split_whitespace();
            let (range, rights) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            if !rights.contains('x') {
                continue;
            }
            let (from, to) = range.split_once('-').context("a mapping without a range")?;
            let place = match fields.nth(3) {
                Some(name) if binary.as_os_str() == name => Place::Envoy,
                Some(name) if name.starts_with('/') || name.starts_with("[v") => Place::Other,
                _ => Place::Module,
            };
            places.push((u64::from_str_radix(from, 16)?..u64::from_str_radix(to, 16)?, place));
        }
        Ok(Places(places))
    }

    fn at(&self, address: u64) -> Place {
        let found = self.0.iter().find(|(range, _)| range.contains(&address));
        found.map_or(Place::Other, |(_, place)| *place)
    }

    /// How many were executed there.
    pub fn instructions(&self, counts: &Counts, place: Place) -> u64 {
        counts.iter().filter(|(address, _)| self.at(**address) == place).map(|(_, count)| count).sum()
    }

    /// Lines of 64 bytes of code that were executed there: they take space in the caches.
    pub fn lines(&self, counts: &Counts, place: Place) -> usize {
        let addresses = counts.keys().filter(|address| self.at(**address) == place);
        addresses.map(|address| address >> 6).collect::<HashSet<_>>().len()
    }
}
