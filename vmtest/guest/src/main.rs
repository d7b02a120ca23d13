//! PID 1 of the virtual machine: relocates and loads through libbpf.

fn main() {}
