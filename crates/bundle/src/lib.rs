//! Reproducible packages of minimized BTF, and reading one.
