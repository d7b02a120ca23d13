//! struct_ops variables against the kernel's structs.

use std::collections::BTreeMap;

use btf::{Btf, Error, Kind, Member, Type, TypeId};

use super::kernel_types::KernelTypes;
use crate::open::{Map, OpenObject};
use crate::{Candidate, Refusal, essential_name};

/// What libbpf puts before the name of a struct to find the value type of its map.
pub(crate) const VALUE_PREFIX: &str = "bpf_struct_ops_";

/// A struct_ops variable that fits the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelStruct {
    /// Index of the map.
    pub map: usize,
    /// The kernel's struct of the same name.
    pub ty: Candidate,
    /// The kernel's `bpf_struct_ops_…`, which holds it.
    pub value_type: Candidate,
    /// Bytes of a value of the map.
    pub value_size: u32,
    /// The member of the kernel's struct that each program stands for, by the program's function.
    pub members: BTreeMap<usize, u32>,
    /// Members that the kernel lacks, and that are left out because they are zero.
    pub skipped: Vec<String>,
}

/// Compares a variable with the kernel's struct (libbpf: `bpf_map__init_kern_struct_ops`).
pub(crate) fn compare(
    open: &OpenObject<'_>,
    types: &KernelTypes<'_>,
    index: usize,
) -> Result<Option<KernelStruct>, Refusal> {
    let map = &open.maps()[index];
    let Some(var) = &map.struct_ops else {
        return Ok(None);
    };
    let comparison = Comparison { open, types, map, index };
    comparison.run(var.type_id).map(Some).map_err(|problem| Refusal::struct_ops(&map.name, problem))
}

/// The name of a variable's struct without its flavor.
pub(crate) fn struct_name(open: &OpenObject<'_>, map: &Map) -> Option<String> {
    let var = map.struct_ops.as_ref()?;
    let ty = open.object().btf().resolve(var.type_id).ok()?;
    Some(String::from_utf8_lossy(essential_name(ty.name().ok()?)).into_owned())
}

struct Comparison<'c> {
    open: &'c OpenObject<'c>,
    types: &'c KernelTypes<'c>,
    map: &'c Map,
    index: usize,
}

impl Comparison<'_> {
    fn run(&self, local_id: TypeId) -> Result<KernelStruct, String> {
        let local = self.open.object().btf();
        let ty = local.resolve(local_id).map_err(text)?;
        let name = struct_name(self.open, self.map).unwrap_or_default();
        let value_name = format!("{VALUE_PREFIX}{name}");
        let not_found = |name: &str| format!("struct {name} is not found in kernel BTF");
        let value_type = self.types.find(&value_name, Kind::Struct).ok_or_else(|| not_found(&value_name))?;
        // A module may hold the struct itself, or use that of vmlinux.
        let kernel_type = self
            .types
            .find_in(0, &name, Kind::Struct)
            .or_else(|| self.types.find_in(value_type.btf, &name, Kind::Struct))
            .ok_or_else(|| not_found(&name))?;
        let btf = self.types.btf(value_type);
        let value = btf.resolve(value_type.id).map_err(text)?;
        let holds =
            |member: Result<Member, Error>| member.is_ok_and(|member| member.type_id == kernel_type.id);
        if !value.members().any(holds) {
            return Err(format!("struct {name} data is not found in struct {value_name}"));
        }
        let mut kernel = KernelStruct {
            map: self.index,
            ty: kernel_type,
            value_type,
            value_size: value.size().map_err(text)?,
            members: BTreeMap::new(),
            skipped: Vec::new(),
        };
        let kernel_struct = btf.resolve(kernel_type.id).map_err(text)?;
        for member in 0..ty.len() {
            self.member(&ty, member, &kernel_struct, &mut kernel)?;
        }
        Ok(kernel)
    }

    fn member(
        &self,
        ty: &Type<'_>,
        index: u32,
        kernel_struct: &Type<'_>,
        kernel: &mut KernelStruct,
    ) -> Result<(), String> {
        let local = self.open.object().btf();
        let btf = self.types.btf(kernel.value_type);
        let member = ty.member(index).map_err(text)?;
        let name = ty.string(member.name).map_err(text)?;
        let shown = String::from_utf8_lossy(name);
        let size = local.size_of(member.type_id).map_err(text)?;
        let program = self.map.struct_ops.as_ref().and_then(|var| var.programs.get(&index).copied());
        let Some((kernel_index, kernel_member)) = find_member(kernel_struct, name)? else {
            if program.is_some() || !self.is_zero(member.bit_offset / 8, size) {
                return Err(format!("Cannot find member {shown} in kernel BTF"));
            }
            kernel.skipped.push(shown.into_owned());
            return Ok(());
        };
        if member.bitfield_size > 0 || kernel_member.bitfield_size > 0 {
            return Err(format!("bitfield {shown} is not supported"));
        }
        let local_type = local.skip(member.type_id).map_err(text)?;
        let kernel_type = btf.skip(kernel_member.type_id).map_err(text)?;
        if local_type.kind() != kernel_type.kind() {
            return Err(format!(
                "Unmatched member type {shown} {} != {}(kernel)",
                local_type.kind(),
                kernel_type.kind()
            ));
        }
        if local_type.kind() == Kind::Ptr {
            let Some(program) = program else { return Ok(()) };
            if !is_function(btf, &kernel_type).map_err(text)? {
                return Err(format!("kernel member {shown} is not a func ptr"));
            }
            kernel.members.insert(program, kernel_index);
            return Ok(());
        }
        let kernel_size = btf.size_of(kernel_type.id()).map_err(text)?;
        if size != kernel_size {
            return Err(format!("Error in size of member {shown}: {size} != {kernel_size}(kernel)"));
        }
        Ok(())
    }

    fn is_zero(&self, offset: u32, size: u32) -> bool {
        let content = self.open.content(self.map);
        let range = offset as usize..(offset as usize).saturating_add(size as usize);
        content.get(range).is_some_and(|bytes| bytes.iter().all(|&byte| byte == 0))
    }
}

fn find_member(ty: &Type<'_>, name: &[u8]) -> Result<Option<(u32, Member)>, String> {
    for index in 0..ty.len() {
        let member = ty.member(index).map_err(text)?;
        if ty.string(member.name).map_err(text)? == name {
            return Ok(Some((index, member)));
        }
    }
    Ok(None)
}

fn is_function(btf: &Btf<'_>, pointer: &Type<'_>) -> Result<bool, Error> {
    Ok(btf.skip(pointer.target()?)?.kind() == Kind::FuncProto)
}

fn text(error: Error) -> String {
    error.to_string()
}
