//! The object as a file again, with its instructions relocated.

use super::Prepared;
use crate::Refusal;
use crate::open::OpenObject;

/// Where the length of the CO-RE records stands in the header of `.BTF.ext`, and the shortest header that has it.
const CORE_RELO_LEN: usize = 28;
const HEADER_WITH_RELOS: u32 = 32;

/// Why there is no relocated object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// A relocation that libbpf refuses the object for: without its record nobody would notice.
    #[error("the object can't be written: {0}")]
    Refused(Refusal),
    /// A section that does not stand in the file as it was read.
    #[error("section {0:?} can't be found in the file")]
    NoSection(String),
}

impl Prepared {
    /// The whole object with CO-RE applied: for loaders without CO-RE, disassemblers, verifiers.
    ///
    /// ELF relocations remain for the loader. The CO-RE records are taken out, since applying them again would fail;
    /// poisoned instructions are the invalid calls that libbpf makes of them.
    pub fn elf(&self, open: &OpenObject<'_>) -> Result<Vec<u8>, PatchError> {
        let core = |refusal: &&Refusal| matches!(refusal, Refusal::Core { .. });
        if let Some(refusal) = self.refusals.iter().find(core) {
            return Err(PatchError::Refused(refusal.clone()));
        }
        let mut bytes = open.bytes().to_vec();
        for (index, code) in self.code.iter().enumerate() {
            let place = open
                .code_offset(index)
                .and_then(|start| bytes.get_mut(start..start.checked_add(code.len())?));
            match place {
                Some(place) => place.copy_from_slice(code),
                None if code.is_empty() => {}
                None => {
                    let section = &open.object().sections()[index];
                    return Err(PatchError::NoSection(section.name.clone()));
                }
            }
        }
        if let Some(start) = open.file_offset(b".BTF.ext") {
            let order = open.object().order();
            let has_relos =
                order.u32(&bytes, start + 4, "the header").is_ok_and(|len| len >= HEADER_WITH_RELOS);
            if let Some(len) =
                bytes.get_mut(start + CORE_RELO_LEN..start + CORE_RELO_LEN + 4).filter(|_| has_relos)
            {
                len.fill(0);
            }
        }
        Ok(bytes)
    }
}
