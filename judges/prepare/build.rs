//! What libbpf asks the machine goes to `src/kernel.rs` instead.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for function in ["syscall", "btf__load_vmlinux_btf", "fopen", "fopen64", "gzopen", "gzopen64"] {
        println!("cargo:rustc-link-arg-bins=-Wl,--wrap={function}");
    }
}
