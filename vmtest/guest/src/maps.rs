//! Maps that a tool gives their size at run time get one here, so that its objects load without the tool.

use libbpf_rs::{MapType, OpenMapMut, OpenObject};

const ENTRIES: u32 = 128;
const RING_BYTES: u32 = 4096;
const STACK_BYTES: u32 = 127 * 8;

/// Sets what the object left open. Errors are left to the load, which names the map.
pub fn set_sizes(object: &mut OpenObject) {
    for mut map in object.maps_mut() {
        set_entries(&mut map);
        if map.map_type() == MapType::StackTrace && map.value_size() == 0 {
            let _ = map.set_value_size(STACK_BYTES);
        }
    }
}

fn set_entries(map: &mut OpenMapMut<'_>) {
    if map.max_entries() != 0 {
        return;
    }
    let entries = match map.map_type() {
        // libbpf takes the number of CPUs.
        MapType::PerfEventArray => return,
        // The kernel wants 0.
        MapType::SkStorage | MapType::InodeStorage | MapType::TaskStorage | MapType::CGrpStorage => return,
        MapType::CgroupStorage | MapType::PercpuCgroupStorage | MapType::StructOps => return,
        MapType::RingBuf | MapType::UserRingBuf => RING_BYTES,
        _ => ENTRIES,
    };
    let _ = map.set_max_entries(entries);
}
