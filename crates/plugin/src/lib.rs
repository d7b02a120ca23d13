//! The plugin protocol: messages, and a small SDK.
