//! Memory that the VMs of a process share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use step_up_core::Shared;

/// Shared memory as Envoy has it: versions grow, a write may ask for the version it read.
#[derive(Clone, Default)]
pub struct Memory(Rc<RefCell<BTreeMap<String, Slot>>>);

/// A value and its version.
type Slot = (Vec<u8>, u32);

impl Shared for Memory {
    fn get(&self, slot: &str) -> Option<(Vec<u8>, u32)> {
        self.0.borrow().get(slot).cloned()
    }

    fn set(&self, slot: &str, value: &[u8], version: Option<u32>) -> bool {
        let mut slots = self.0.borrow_mut();
        let current = slots.get(slot).map_or(0, |(_, version)| *version);
        if version.is_some_and(|version| version != current) {
            return false;
        }
        slots.insert(slot.to_owned(), (value.to_vec(), current + 1));
        true
    }
}
