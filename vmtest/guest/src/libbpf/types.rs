//! Where a member is in a type: of an object's own, since its events say so themselves, or of the kernel's.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::text;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_DATASEC: u32 = 15;
const INT_SIGNED: u32 = 1;
/// A struct's offsets have a bit field's width in their upper byte.
const BIT_FIELDS: u32 = 1 << 31;
/// Typedefs of typedefs of …
const DEPTH_MAX: usize = 32;

/// The types of a BTF that lives so long: an object's, or a file's.
#[derive(Clone, Copy)]
pub struct Types<'a>(NonNull<libbpf_sys::btf>, PhantomData<&'a ()>);

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// A negative number is possible.
    pub is_signed: bool,
}

/// A type, and what stands behind it.
#[derive(Clone, Copy)]
struct Type<'a> {
    id: u32,
    head: &'a libbpf_sys::btf_type,
}

impl<'a> Types<'a> {
    pub(super) fn of(btf: NonNull<libbpf_sys::btf>) -> Self {
        Types(btf, PhantomData)
    }

    /// The id of a struct of this name.
    pub fn find_struct(self, name: &str) -> Option<u32> {
        self.find(name, KIND_STRUCT)
    }

    /// Where `a.b.3` is in a struct: members of members, and elements.
    pub fn find_member(self, id: u32, path: &str) -> Option<Place> {
        let mut found = self.resolve(id)?;
        let mut offset = 0;
        for word in path.split('.') {
            let (step, next) = self.step(found, word)?;
            offset += step;
            found = self.resolve(next)?;
        }
        let is_signed = found.kind() == KIND_INT && found.extra::<u32>(0)? >> 24 & INT_SIGNED != 0;
        let is_signed = is_signed || found.kind() == KIND_ENUM && found.head.info & BIT_FIELDS != 0;
        Some(Place { offset, size: self.size(found.id)?, is_signed })
    }

    /// Where a variable is in its section.
    pub fn find_variable(self, section: &str, name: &str) -> Option<Place> {
        let section = self.get(self.find(section, KIND_DATASEC)?)?;
        (0..section.len()).find_map(|index| {
            let variable = section.extra::<libbpf_sys::btf_var_secinfo>(index)?;
            let found = self.get(variable.type_)?;
            let place =
                Place { offset: variable.offset as usize, size: variable.size as usize, is_signed: false };
            (self.name(found.head.name_off) == name).then_some(place)
        })
    }

    #[allow(unsafe_code)]
    fn find(self, name: &str, kind: u32) -> Option<u32> {
        let name = CString::new(name).ok()?;
        // SAFETY: the BTF lives, and the name does through the call.
        let id = unsafe { libbpf_sys::btf__find_by_name_kind(self.0.as_ptr(), name.as_ptr(), kind) };
        u32::try_from(id).ok().filter(|id| *id > 0)
    }

    /// The offset of a member or element, and its type.
    fn step(self, outer: Type<'a>, word: &str) -> Option<(usize, u32)> {
        match outer.kind() {
            KIND_STRUCT | KIND_UNION => {
                let members =
                    (0..outer.len()).filter_map(|index| outer.extra::<libbpf_sys::btf_member>(index));
                let member = members.into_iter().find(|member| self.name(member.name_off) == word)?;
                let bits =
                    if outer.head.info & BIT_FIELDS == 0 { member.offset } else { member.offset & 0xff_ffff };
                Some((bits as usize / 8, member.type_))
            }
            KIND_ARRAY => {
                let array = outer.extra::<libbpf_sys::btf_array>(0)?;
                let index: u32 = word.parse().ok().filter(|index| *index < array.nelems)?;
                Some((index as usize * self.size(array.type_)?, array.type_))
            }
            _ => None,
        }
    }

    /// Through typedefs and qualifiers.
    fn resolve(self, id: u32) -> Option<Type<'a>> {
        const THROUGH: [u32; 5] = [8, 9, 10, 11, 18];
        let mut found = self.get(id)?;
        for _ in 0..DEPTH_MAX {
            if !THROUGH.contains(&found.kind()) {
                return Some(found);
            }
            found = self.get(found.size_or_type())?;
        }
        None
    }

    #[allow(unsafe_code)]
    fn get(self, id: u32) -> Option<Type<'a>> {
        // SAFETY: the BTF lives; a type that is not null does as long.
        let head = unsafe { libbpf_sys::btf__type_by_id(self.0.as_ptr(), id).as_ref() }?;
        Some(Type { id, head })
    }

    /// Bytes of a type.
    #[allow(unsafe_code)]
    pub fn size(self, id: u32) -> Option<usize> {
        // SAFETY: the BTF lives.
        usize::try_from(unsafe { libbpf_sys::btf__resolve_size(self.0.as_ptr(), id) }).ok()
    }

    #[allow(unsafe_code)]
    fn name(self, offset: u32) -> &'a str {
        // SAFETY: the BTF lives, and its names as long.
        unsafe { text(libbpf_sys::btf__name_by_offset(self.0.as_ptr(), offset)) }
    }
}

impl Type<'_> {
    fn kind(self) -> u32 {
        self.head.info >> 24 & 0x1f
    }

    /// How many members, or variables.
    fn len(self) -> usize {
        self.head.info as usize & 0xffff
    }

    #[allow(unsafe_code)]
    fn size_or_type(self) -> u32 {
        // SAFETY: both are 32 bits.
        unsafe { self.head.__bindgen_anon_1.type_ }
    }

    /// The nth of what stands behind the head, of this kind.
    #[allow(unsafe_code)]
    fn extra<T: Copy>(self, index: usize) -> Option<T> {
        // SAFETY: libbpf has checked that behind a head stands what its kind and number of members say; callers ask for
        // no more, and for what fits the kind.
        Some(unsafe { std::ptr::from_ref(self.head).add(1).cast::<T>().add(index).read() })
    }
}
