//! The cases of relo-core's own tests, and real objects on real kernels, with libbpf as the judge: each program's
//! instructions as libbpf would hand them to the kernel, and whether libbpf loads it.
#![forbid(unsafe_code)]

#[path = "../../../../crates/relo-core/tests/prepare/attach.rs"]
mod attach;
mod case;
#[path = "../../../../crates/relo-core/tests/prepare/compiler.rs"]
mod compiler;
#[path = "../../../../crates/relo-core/tests/prepare/externs.rs"]
mod externs;
mod libbpf;
mod objects;
#[path = "../../../../crates/relo-core/tests/prepare/reach.rs"]
mod reach;
#[path = "../../../../crates/relo-core/tests/prepare/references.rs"]
mod references;
#[path = "../../../../crates/relo-core/tests/prepare/refusals.rs"]
mod refusals;
#[path = "../../../../crates/relo-core/tests/prepare/struct_ops.rs"]
mod struct_ops;
