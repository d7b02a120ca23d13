//! The architectures that a bundle can be for.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A kernel's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Arch {
    /// 64-bit x86: `x86_64`, Debian's amd64.
    X86_64,
    /// 64-bit Arm: `arm64`, the kernel's aarch64.
    Arm64,
}

impl Arch {
    /// All of them, in the order of `Ord`.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::Arm64];

    /// The name that identities and file names have.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "arm64",
        }
    }

    /// Debian's name.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Arch {
    type Err = Error;

    fn from_str(text: &str) -> Result<Arch, Error> {
        match text {
            "x86_64" | "amd64" => Ok(Arch::X86_64),
            "arm64" | "aarch64" => Ok(Arch::Arm64),
            _ => Err(Error::Arch(text.to_owned())),
        }
    }
}

impl From<Arch> for String {
    fn from(arch: Arch) -> String {
        arch.name().to_owned()
    }
}

impl TryFrom<String> for Arch {
    type Error = Error;

    fn try_from(text: String) -> Result<Arch, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check =
            |text: &str, wanted: Option<Arch>| assert_eq!(text.parse::<Arch>().ok(), wanted, "{text:?}");
        check("x86_64", Some(Arch::X86_64));
        check("amd64", Some(Arch::X86_64));
        check("arm64", Some(Arch::Arm64));
        check("aarch64", Some(Arch::Arm64));
        check("i386", None);
        check("X86_64", None);
        check("", None);
        for arch in Arch::ALL {
            check(arch.name(), Some(arch));
            check(arch.debian(), Some(arch));
        }
    }
}
