//! Searching types by kind and name.

use crate::{Kind, StrOff, TypeId};

/// What is searched for.
pub trait Search {
    /// The kinds of types that are searched, a bit each, by their number modulo 32.
    fn kinds(&self) -> u32;

    /// Whether the name that starts here in the string section may be wanted. It is asked of every type of the kinds, so
    /// it should be quick; a yes may be wrong.
    fn may_be(&self, strings: &[u8], name: StrOff) -> bool;

    /// Whether a name is wanted.
    fn is(&self, name: &[u8]) -> bool;
}

/// A type that has been found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: TypeId,
    /// Its kind.
    pub kind: Kind,
    /// Where its name stands.
    pub name: StrOff,
}
