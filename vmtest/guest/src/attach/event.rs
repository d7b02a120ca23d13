//! Reads events by the types of the object that wrote them, and finds the one that was caused.

use crate::attached::Field;
use crate::libbpf::{Place, Types};

use super::actor::{Done, Want};

/// A kind of events.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Of their struct; every event begins with it.
    pub id: u32,
    /// Where an event says this id.
    pub kind: Place,
}

impl Kind {
    /// How many events are of this kind, and the fields of the one with most values as they were done.
    pub fn find_nearest(self, types: Types<'_>, done: &Done, events: &[Vec<u8>]) -> (u32, Vec<Field>) {
        let Ok(wants) = &done.wants else {
            return (0, Vec::new());
        };
        let mut count = 0;
        let mut nearest: (usize, Vec<Field>) = (0, Vec::new());
        for event in events.iter().filter(|event| number(event, self.kind) == Some(self.id.into())) {
            count += 1;
            let fields: Vec<Field> =
                wants.iter().map(|(name, want)| field(types, self.id, event, name, want)).collect();
            let right = fields.iter().filter(|field| field.is_right()).count();
            if nearest.1.is_empty() || right > nearest.0 {
                nearest = (right, fields);
            }
        }
        (count, nearest.1)
    }
}

fn field(types: Types<'_>, id: u32, event: &[u8], name: &str, want: &Want) -> Field {
    let got = types.find_member(id, name).and_then(|place| read(event, place, want));
    Field { name: name.to_owned(), want: want.to_string(), got: got.unwrap_or_else(|| "nothing".to_owned()) }
}

fn read(event: &[u8], place: Place, want: &Want) -> Option<String> {
    match want {
        Want::Number(_) | Want::Between(..) => number(event, place).map(|number| number.to_string()),
        Want::Hex(_) => number(event, place).map(|number| format!("{number:016x}")),
        Want::Text(_) => {
            let bytes = bytes(event, place)?;
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
        }
        Want::Bytes(wanted) => bytes(event, place)?.get(..wanted.len()).map(hex),
    }
}

fn bytes(event: &[u8], place: Place) -> Option<&[u8]> {
    event.get(place.offset..place.offset.checked_add(place.size)?)
}

fn number(event: &[u8], place: Place) -> Option<i128> {
    let bytes = bytes(event, place).filter(|bytes| (1..=8).contains(&bytes.len()))?;
    let mut whole = [0; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    let number = u64::from_le_bytes(whole);
    let unused = 64 - 8 * bytes.len();
    Some(if place.is_signed { i128::from((number << unused) as i64 >> unused) } else { number.into() })
}

/// As two hex digits each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_size() {
        let check = |bytes: &[u8], is_signed, expect: Option<i128>| {
            let place = Place { offset: 1, size: bytes.len(), is_signed };
            assert_eq!(number(&[&[7], bytes].concat(), place), expect, "{bytes:?}");
        };
        check(&[0xff], false, Some(255));
        check(&[0xff], true, Some(-1));
        check(&[0xfe, 0xff, 0xff, 0xff], true, Some(-2));
        check(&[0xff; 8], false, Some(u64::MAX.into()));
        check(&[0xff; 8], true, Some(-1));
        check(&[1; 16], false, None);
        assert_eq!(number(&[1, 2], Place { offset: 1, size: 2, is_signed: false }), None);
    }
}
