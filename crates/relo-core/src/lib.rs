//! What each CO-RE relocation resolves to, the record of it, and the minimized BTF.
#![forbid(unsafe_code)]
