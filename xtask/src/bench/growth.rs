//! How cost grows: over the number of kernels, the number of programs, and the size of a BTF.

use super::cost::{Cost, in_turn, once};
use super::inputs::{Inputs, size};
use crate::Error;

/// One thing that is made larger, with what it costs each time.
pub struct Growth {
    pub of: &'static str,
    pub what: String,
    /// How much there is of it, and the cost.
    pub points: Vec<(f64, Cost)>,
}

const KERNELS: [usize; 6] = [50, 100, 200, 400, 700, 1000];
const PROGRAMS: [usize; 6] = [1, 4, 13, 26, 39, 52];
const FEW_KERNELS: usize = 100;

impl Inputs<'_> {
    /// Measures all three.
    pub fn growth(&self) -> Result<Vec<Growth>, Error> {
        let (kernels, programs) = (self.stored.len(), self.objects.len());
        let few = FEW_KERNELS.min(kernels);
        let mut all = vec![
            Growth {
                of: "kernels",
                what: format!("made kernels in the store × {programs} objects, two threads"),
                points: Vec::new(),
            },
            Growth {
                of: "objects",
                what: format!("objects × {few} made kernels in the store, two threads"),
                points: Vec::new(),
            },
            Growth {
                of: "MB of BTF",
                what: format!("MB of one raw BTF × {programs} objects, the whole process"),
                points: Vec::new(),
            },
        ];
        for count in KERNELS.into_iter().filter(|&count| count <= kernels) {
            let script = self.minimize_stored(count, 2, &self.objects);
            all[0].points.push((count as f64, self.alone(&script)?));
        }
        for count in PROGRAMS.into_iter().filter(|&count| count <= programs) {
            let script = self.minimize_stored(few, 2, &self.objects[..count]);
            all[1].points.push((count as f64, self.alone(&script)?));
        }
        for kernel in &self.sizes {
            let script = self.min_core_btf(kernel, &self.objects);
            all[2].points.push((size(kernel) as f64 / 1e6, self.alone(&script)?));
        }
        Ok(all)
    }

    /// After one round for nothing, which brings the inputs into memory.
    fn alone(&self, script: &str) -> Result<Cost, Error> {
        once(self.shell, script)?;
        Ok(in_turn(self.shell, &self.outputs(), script, None)?.0)
    }
}
