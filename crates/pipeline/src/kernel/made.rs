//! What minimizing a kernel's BTF gave, by its key; the bytes are in the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kernels::{Digest, LockedBlob, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kernel::engine::{Minimized, ProgramSet};
use crate::outcome::Failure;
use crate::summary::{Cell, State};
use crate::work::key::{ENGINE, Key};
use crate::work::threads::locked;

/// What the engine says of each program, by object and program.
pub type Cells = BTreeMap<(String, String), Cell>;

/// A result that the store has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// The minimized BTF.
    pub btf: LockedBlob,
    /// The records, JSON Lines.
    pub records: LockedBlob,
    /// How many records there are.
    pub count: u64,
    /// What the engine says of the programs; most kernels say the same.
    pub cells: LockedBlob,
}

/// The key of minimizing this BTF for these programs.
pub fn key(btf: &Digest, set: &ProgramSet) -> Key {
    with_programs(Key::of("minimize/1").with("engine", ENGINE).with("btf", btf), set)
}

/// With a part for each program.
pub fn with_programs(key: Key, set: &ProgramSet) -> Key {
    set.programs
        .iter()
        .fold(key, |key, program| key.with(format!("program {}", program.name), program.sha256))
}

impl Made {
    /// The result of a key, when all of it is there: by name and size, since reading checks the bytes.
    pub fn find(store: &Store, key: &Key) -> Option<Made> {
        let made: Made = serde_json::from_value(store.link(&key.text())?).ok()?;
        let blobs = [&made.btf, &made.records, &made.cells];
        let are_there = blobs.into_iter().all(|blob| store.size_of(&blob.sha256) == Some(blob.size));
        are_there.then_some(made)
    }

    /// Keeps a result.
    pub fn keep(store: &Store, key: &Key, minimized: &Minimized) -> Result<Made, Failure> {
        let put = |bytes: &[u8]| -> Result<LockedBlob, Failure> {
            store.put(bytes)?;
            Ok(LockedBlob::of(bytes))
        };
        let made = Made {
            btf: put(&minimized.btf)?,
            records: put(minimized.records.as_bytes())?,
            count: minimized.records.lines().count() as u64,
            cells: put(cells_to_json(&minimized.cells).to_string().as_bytes())?,
        };
        store.set_link(&key.text(), serde_json::to_value(&made).map_err(Failure::new)?)?;
        Ok(made)
    }
}

/// Cells that were read; kernels share them.
#[derive(Debug, Default)]
pub struct CellReader {
    read: Mutex<BTreeMap<Digest, Arc<Cells>>>,
}

impl CellReader {
    /// The cells of a result; None when the store lost them.
    pub fn read(&self, store: &Store, made: &Made) -> Result<Option<Arc<Cells>>, Failure> {
        let mut read = locked(&self.read);
        if let Some(cells) = read.get(&made.cells.sha256) {
            return Ok(Some(cells.clone()));
        }
        let Some(bytes) = store.get(&made.cells.sha256)? else {
            return Ok(None);
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(Failure::new)?;
        let Some(cells) = cells_from_json(&value) else {
            return Ok(None);
        };
        let cells = Arc::new(cells);
        read.insert(made.cells.sha256, cells.clone());
        Ok(Some(cells))
    }
}

/// `[[object, program, state, reason], …]`
pub fn cells_to_json(cells: &Cells) -> Value {
    let row = |((object, program), cell): (&(String, String), &Cell)| {
        serde_json::json!([object, program, cell.state.code(), cell.reason])
    };
    cells.iter().map(row).collect()
}

/// The same, read; None when it is something else.
pub fn cells_from_json(value: &Value) -> Option<Cells> {
    let row = |row: &Value| {
        let text = |index: usize| row.get(index)?.as_str().map(str::to_owned);
        let state = State::of_code(row.get(2)?.as_str()?)?;
        Some(((text(0)?, text(1)?), Cell { state, reason: text(3) }))
    };
    value.as_array()?.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_round_trip() {
        let cells = Cells::from([
            (("a".to_owned(), "p".to_owned()), Cell::of(State::Host)),
            (("a".to_owned(), "q".to_owned()), Cell::because(State::Poisoned, "no member")),
        ]);
        assert_eq!(cells_from_json(&cells_to_json(&cells)), Some(cells));
        assert_eq!(cells_from_json(&serde_json::json!([["a", "b", "unheard-of", null]])), None);
    }
}
