//! The maps of an object, in the order in which libbpf counts them.

use btf::TypeId;

use super::StructOpsVar;

/// A map that libbpf would create for an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Its name; of a section of variables the section's name.
    pub name: String,
    /// Where it comes from.
    pub kind: MapKind,
    /// What the kernel is asked for.
    pub def: MapDef,
    /// The definition of the maps that a map of maps holds.
    pub inner: Option<MapDef>,
    /// Maps or programs that the definition puts into the map, by name; None for an empty slot.
    pub slots: Vec<Option<String>>,
    /// False for struct_ops variables of `SEC("?.struct_ops")`: the loader must ask for them.
    pub autocreate: bool,
    /// The variable behind a struct_ops map.
    pub struct_ops: Option<StructOpsVar>,
    /// Index of its section in the file.
    pub(crate) elf_section: usize,
    /// Where it starts in that section, in bytes.
    pub(crate) offset: u64,
    /// How long it is there, in bytes.
    pub(crate) len: u64,
    /// Where the slots start within a definition, in bytes.
    pub(crate) values_at: Option<u64>,
}

/// Where a map comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// A definition in `.maps`.
    Defined,
    /// A definition in `maps`, which libbpf reads no longer.
    Legacy,
    /// Variables: `.data`, `.data.*`.
    Data,
    /// Constants: `.rodata`, `.rodata.*`. The loader may set them until it loads.
    Rodata,
    /// Variables that start as zero: `.bss`, `.bss.*`.
    Bss,
    /// The kernel's configuration: `.kconfig`.
    Kconfig,
    /// A variable of `.struct_ops` or `.struct_ops.link`.
    StructOps,
}

impl MapKind {
    /// Whether the map is frozen before programs are loaded, so that the verifier knows its content.
    pub fn is_read_only(self) -> bool {
        matches!(self, MapKind::Rodata | MapKind::Kconfig)
    }

    /// Whether instructions refer to places within the map's only value.
    pub(crate) fn is_variables(self) -> bool {
        match self {
            MapKind::Data | MapKind::Rodata | MapKind::Bss | MapKind::Kconfig => true,
            MapKind::Defined | MapKind::Legacy | MapKind::StructOps => false,
        }
    }
}

/// What a map definition asks of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MapDef {
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// As defined; libbpf rounds a ring buffer up to the pages of the machine that it runs on.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// What it means depends on the type.
    pub map_extra: u64,
    /// The NUMA node, where the flags say so.
    pub numa_node: u32,
    /// The key's type in the object's BTF.
    pub key_type: Option<TypeId>,
    /// The value's type in the object's BTF.
    pub value_type: Option<TypeId>,
    /// Pinned by its name.
    pub pinned: bool,
}

pub(crate) const ARRAY: u32 = 2;
pub(crate) const PROG_ARRAY: u32 = 3;
pub(crate) const PERCPU_ARRAY: u32 = 6;
pub(crate) const ARRAY_OF_MAPS: u32 = 12;
pub(crate) const HASH_OF_MAPS: u32 = 13;
pub(crate) const XSKMAP: u32 = 17;
pub(crate) const STRUCT_OPS: u32 = 26;
pub(crate) const ARENA: u32 = 33;
/// Programs only read it.
pub(crate) const F_RDONLY_PROG: u32 = 1 << 7;
/// Userspace may map it.
pub(crate) const F_MMAPABLE: u32 = 1 << 10;
/// A struct_ops map that is attached through a link.
pub(crate) const F_LINK: u32 = 1 << 13;

impl MapDef {
    pub(crate) fn is_map_of_maps(&self) -> bool {
        matches!(self.map_type, ARRAY_OF_MAPS | HASH_OF_MAPS)
    }
}
