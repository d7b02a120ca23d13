//! Boots a kernel in QEMU and speaks with the guest.
