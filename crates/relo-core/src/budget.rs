//! A bound on the work that one relocation may cause.

use std::cell::Cell;

use crate::ReloError;

/// Steps that matching one candidate may take. Real kernels stay below a few thousand; a hostile BTF can nest
/// anonymous structs so that a search without a bound takes longer than anybody waits.
const STEPS: u32 = 1 << 20;

/// Counts down.
#[derive(Debug)]
pub(crate) struct Budget(Cell<u32>);

impl Budget {
    pub(crate) fn new() -> Budget {
        Budget(Cell::new(STEPS))
    }

    /// Takes a step, or says that there are none left.
    #[inline]
    pub(crate) fn step(&self) -> Result<(), ReloError> {
        self.steps(1)
    }

    /// Takes several at once.
    #[inline]
    pub(crate) fn steps(&self, count: u32) -> Result<(), ReloError> {
        match self.0.get().checked_sub(count) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(ReloError::TooComplex),
        }
    }
}
