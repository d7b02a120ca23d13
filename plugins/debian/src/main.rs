//! Kernel packages of Debian through apt.

fn main() {}
