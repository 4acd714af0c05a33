//! Kleene's three values, and which of them are possible where not everything is known yet (P16).

/// A set of values. What is judged of a call has one; of a list, where arguments are still open, all are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truth(u8);

impl Truth {
    pub(crate) const TRUE: Truth = Truth(1);
    pub(crate) const FALSE: Truth = Truth(2);
    /// It cannot be known.
    pub(crate) const UNKNOWN: Truth = Truth(4);
    pub(crate) const ANY: Truth = Truth(7);

    pub(crate) fn may_be_true(self) -> bool {
        self.has(Truth::TRUE)
    }

    pub(crate) fn may_be_false(self) -> bool {
        self.has(Truth::FALSE)
    }

    fn has(self, value: Truth) -> bool {
        self.0 & value.0 != 0
    }

    pub(crate) fn and(self, other: Truth) -> Truth {
        let mut all = 0;
        for own in [Truth::TRUE, Truth::FALSE, Truth::UNKNOWN].into_iter().filter(|own| self.has(*own)) {
            for their in [Truth::TRUE, Truth::FALSE, Truth::UNKNOWN].into_iter().filter(|their| other.has(*their)) {
                all |= match (own, their) {
                    (Truth::FALSE, _) | (_, Truth::FALSE) => Truth::FALSE.0,
                    (Truth::TRUE, Truth::TRUE) => Truth::TRUE.0,
                    _ => Truth::UNKNOWN.0,
                };
            }
        }
        Truth(all)
    }

    pub(crate) fn or(self, other: Truth) -> Truth {
        self.not().and(other.not()).not()
    }

    pub(crate) fn not(self) -> Truth {
        let swap = if self.has(Truth::TRUE) { Truth::FALSE.0 } else { 0 };
        Truth(self.0 & Truth::UNKNOWN.0 | swap | if self.has(Truth::FALSE) { Truth::TRUE.0 } else { 0 })
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Truth {
        if value { Truth::TRUE } else { Truth::FALSE }
    }
}
