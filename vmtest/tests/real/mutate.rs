//! Damages a BTF in ways that matter, and in ways that don't.

const INT: u32 = 1;
const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// A BTF and where its types are.
pub struct Btf {
    bytes: Vec<u8>,
    types: Vec<Type>,
    strings: usize,
}

struct Type {
    at: usize,
    kind: u32,
    vlen: usize,
}

impl Btf {
    pub fn parse(bytes: Vec<u8>) -> Self {
        let header = word(&bytes, 4) as usize;
        let mut at = header + word(&bytes, 8) as usize;
        let end = at + word(&bytes, 12) as usize;
        let strings = header + word(&bytes, 16) as usize;
        let mut types = Vec::new();
        while at < end {
            let info = word(&bytes, at + 4);
            let (kind, vlen) = ((info >> 24) & 31, (info & 0xffff) as usize);
            types.push(Type { at, kind, vlen });
            at += 12 + tail(kind, vlen);
        }
        Btf { bytes, types, strings }
    }

    /// Names of the structs that have members, with their positions in the list of types.
    pub fn structs(&self) -> Vec<(usize, String)> {
        let types = self.types.iter().enumerate();
        let structs = types.filter(|(_, kind)| matches!(kind.kind, STRUCT | UNION) && kind.vlen > 0);
        structs.map(|(index, kind)| (index, self.name(word(&self.bytes, kind.at)))).collect()
    }

    /// All members of one struct moved.
    pub fn moved(&self, index: usize, bytes: u32) -> Vec<u8> {
        self.changed(|new| {
            for member in self.members(index) {
                let offset = word(new, member + 8);
                // With the kind flag the upper byte is the size of a bitfield.
                put(new, member + 8, (offset & 0xff00_0000) | ((offset & 0x00ff_ffff) + bytes * 8));
            }
        })
    }

    /// Its first member has a type that does not exist.
    pub fn bad_member_type(&self, index: usize) -> Vec<u8> {
        self.changed(|new| put(new, self.members(index)[0] + 4, 9_999_999))
    }

    /// Its first named member has another name.
    pub fn member_renamed(&self, index: usize) -> Vec<u8> {
        let named = self.members(index).into_iter().find(|&member| word(&self.bytes, member) != 0);
        self.renamed_at(named.unwrap_or(self.members(index)[0]))
    }

    pub fn struct_renamed(&self, index: usize) -> Vec<u8> {
        self.renamed_at(self.types[index].at)
    }

    pub fn struct_size_one(&self, index: usize) -> Vec<u8> {
        self.changed(|new| put(new, self.types[index].at + 8, 1))
    }

    /// The first integer type has another size.
    pub fn int_resized(&self) -> Vec<u8> {
        let int = self.types.iter().find(|kind| kind.kind == INT).expect("an int").at;
        let size = word(&self.bytes, int + 8);
        let new_size = if size == 8 { 4 } else { size * 2 };
        self.changed(|new| {
            put(new, int + 8, new_size);
            let encoding = word(new, int + 12);
            put(new, int + 12, (encoding & 0xffff_ff00) | (new_size * 8));
        })
    }

    pub fn truncated(&self) -> Vec<u8> {
        self.bytes[..self.bytes.len() / 2].to_vec()
    }

    pub fn bad_magic(&self) -> Vec<u8> {
        self.changed(|new| new[0] = 0)
    }

    /// No type at all, and the empty string.
    pub fn empty() -> Vec<u8> {
        let words = [0x0001_eb9f, 24, 0, 0, 0, 1];
        words.iter().flat_map(|word: &u32| word.to_le_bytes()).chain([0]).collect()
    }

    fn renamed_at(&self, at: usize) -> Vec<u8> {
        let name = self.strings + word(&self.bytes, at) as usize;
        self.changed(|new| new[name] = b'Q')
    }

    fn members(&self, index: usize) -> Vec<usize> {
        let Type { at, vlen, .. } = self.types[index];
        (0..vlen).map(|member| at + 12 + member * 12).collect()
    }

    fn name(&self, off: u32) -> String {
        let text = &self.bytes[self.strings + off as usize..];
        let end = text.iter().position(|&byte| byte == 0).expect("end of string");
        String::from_utf8_lossy(&text[..end]).into_owned()
    }

    fn changed(&self, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        change(&mut bytes);
        bytes
    }
}

/// Bytes behind the twelve that all kinds have.
fn tail(kind: u32, vlen: usize) -> usize {
    match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => 12 * vlen,
        6 | 13 => 8 * vlen,
        _ => 0,
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}
