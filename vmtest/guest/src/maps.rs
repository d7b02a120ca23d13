//! Maps that a tool gives their size at run time get one here, so that its objects load without the tool.

use libbpf_sys::{
    BPF_MAP_TYPE_CGROUP_STORAGE, BPF_MAP_TYPE_CGRP_STORAGE, BPF_MAP_TYPE_INODE_STORAGE,
    BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, BPF_MAP_TYPE_PERF_EVENT_ARRAY, BPF_MAP_TYPE_RINGBUF,
    BPF_MAP_TYPE_SK_STORAGE, BPF_MAP_TYPE_STACK_TRACE, BPF_MAP_TYPE_STRUCT_OPS, BPF_MAP_TYPE_TASK_STORAGE,
    BPF_MAP_TYPE_USER_RINGBUF,
};

use crate::libbpf::{Map, Object};

const ENTRIES: u32 = 128;
const RING_BYTES: u32 = 4096;
const STACK_BYTES: u32 = 127 * 8;

/// Sets what the object left open. Errors are left to the load, which names the map.
pub fn set_sizes(object: &Object) {
    for map in object.maps() {
        set_entries(map);
        if map.kind() == BPF_MAP_TYPE_STACK_TRACE && map.value_size() == 0 {
            map.set_value_size(STACK_BYTES);
        }
    }
}

fn set_entries(map: Map<'_>) {
    if map.max_entries() != 0 {
        return;
    }
    map.set_max_entries(match map.kind() {
        // libbpf takes the number of CPUs.
        BPF_MAP_TYPE_PERF_EVENT_ARRAY => return,
        // The kernel wants 0.
        BPF_MAP_TYPE_SK_STORAGE
        | BPF_MAP_TYPE_INODE_STORAGE
        | BPF_MAP_TYPE_TASK_STORAGE
        | BPF_MAP_TYPE_CGRP_STORAGE => return,
        BPF_MAP_TYPE_CGROUP_STORAGE | BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE | BPF_MAP_TYPE_STRUCT_OPS => return,
        BPF_MAP_TYPE_RINGBUF | BPF_MAP_TYPE_USER_RINGBUF => RING_BYTES,
        _ => ENTRIES,
    });
}
