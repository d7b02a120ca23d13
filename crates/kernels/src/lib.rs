//! Which kernel: identity, kernels.lock, packages, images, store.
