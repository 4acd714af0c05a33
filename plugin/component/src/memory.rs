//! The memory that the gates of an instance share: an instance is to them what a process is to the threads of a proxy.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use step_up_core::Shared;

/// Slots by name, each with its version.
type Slots = BTreeMap<String, (Vec<u8>, u32)>;

thread_local! {
    // A component has one thread.
    static SLOTS: Rc<RefCell<Slots>> = Rc::default();
}

/// The one memory of this instance.
pub fn of_instance() -> Memory {
    Memory(SLOTS.with(Rc::clone))
}

pub struct Memory(Rc<RefCell<Slots>>);

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
        slots.insert(slot.to_owned(), (value.to_vec(), current.wrapping_add(1)));
        true
    }
}
