//! What a gate is given beside its policy: variables, and memory that the VMs of a process share.

use std::cell::RefCell;
use std::collections::HashMap;

use step_up_core::{Environment, Millis, Shared};

/// The variables of a script, and its time.
pub(super) struct Variables<'s>(pub &'s [(String, String)], pub Millis);

impl Environment for Variables<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    fn now(&self) -> Option<Millis> {
        Some(self.1)
    }
}

/// What all gates of a process share; here there is one.
#[derive(Default)]
pub(super) struct Memory {
    slots: RefCell<HashMap<String, (Vec<u8>, u32)>>,
}

impl Shared for Memory {
    fn get(&self, slot: &str) -> Option<(Vec<u8>, u32)> {
        self.slots.borrow().get(slot).cloned()
    }

    fn set(&self, slot: &str, value: &[u8], version: Option<u32>) -> bool {
        let mut slots = self.slots.borrow_mut();
        let current = slots.get(slot).map_or(0, |(_, version)| *version);
        if version.is_some_and(|expected| expected != current) {
            return false;
        }
        slots.insert(slot.to_owned(), (value.to_vec(), current + 1));
        true
    }
}
