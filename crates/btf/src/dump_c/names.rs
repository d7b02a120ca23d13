//! Names that C can tell apart: the second `foo` becomes `foo___2`.

use std::collections::HashMap;

use crate::dump::Text;
use crate::{DumpError, Error, Kind, Type, TypeId};

/// A name with its number among its equals, which is printed from 2 on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'b> {
    bytes: &'b [u8],
    number: u32,
}

impl<'b> Name<'b> {
    /// A name that has no equals where it is used: a member's, a parameter's.
    pub(super) fn plain(bytes: &'b [u8]) -> Name<'b> {
        Name { bytes, number: 1 }
    }

    pub(super) fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn push(self, text: &mut Text<'_>) -> Result<(), DumpError> {
        text.push_bytes(self.bytes)?;
        if self.number > 1 {
            text.push("___")?;
            text.push_number(self.number)?;
        }
        Ok(())
    }
}

/// The two name spaces of C that types live in. The numbers follow the order of printing.
pub(super) struct Names<'b> {
    /// What follows `struct`, `union` and `enum`.
    tags: HashMap<&'b [u8], u32>,
    /// Typedefs and enumerators.
    identifiers: HashMap<&'b [u8], u32>,
    /// The number of each type's name; 0 until it is first asked for.
    numbers: Vec<u32>,
}

impl<'b> Names<'b> {
    pub(super) fn new(type_count: usize) -> Names<'b> {
        Names { tags: HashMap::new(), identifiers: HashMap::new(), numbers: vec![0; type_count] }
    }

    /// The name of a STRUCT, UNION, ENUM, FWD or TYPEDEF; empty for an anonymous type.
    pub(super) fn of(&mut self, ty: &Type<'b>) -> Result<Name<'b>, Error> {
        let bytes = ty.name()?;
        // A forward declaration means the type of this name, whichever that is.
        let forward = ty.kind() == Kind::Fwd || ty.kind().is_any_enum() && ty.is_empty();
        if bytes.is_empty() || forward {
            return Ok(Name::plain(bytes));
        }
        let names = match ty.kind() {
            Kind::Typedef => &mut self.identifiers,
            _tagged => &mut self.tags,
        };
        let number = number_of(&mut self.numbers, ty.id());
        if *number == 0 {
            *number = count(names, bytes);
        }
        Ok(Name { bytes, number: *number })
    }

    /// The name of an enumerator, which counts each time that it is printed.
    pub(super) fn enumerator(&mut self, bytes: &'b [u8]) -> Name<'b> {
        let number = count(&mut self.identifiers, bytes);
        Name { bytes, number }
    }
}

/// The ids that come here were resolved: each has its place.
fn number_of(numbers: &mut [u32], id: TypeId) -> &mut u32 {
    &mut numbers[id.0 as usize]
}

fn count<'b>(names: &mut HashMap<&'b [u8], u32>, name: &'b [u8]) -> u32 {
    let number = names.entry(name).or_default();
    *number += 1;
    *number
}
