//! The architecture of a bundle, under all the words that name it.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "full")]
use serde::{Deserialize, Serialize};

/// An architecture whose kernels a bundle can serve.
///
/// Written `x86_64` and `arm64`; read also as `amd64` (Go, Debian) and `aarch64` (`uname -m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "full", derive(Serialize, Deserialize))]
pub enum Arch {
    /// 64-bit x86.
    #[cfg_attr(feature = "full", serde(rename = "x86_64", alias = "amd64"))]
    X86_64,
    /// 64-bit ARM.
    #[cfg_attr(feature = "full", serde(rename = "arm64", alias = "aarch64"))]
    Arm64,
}

impl Arch {
    /// The word of `uname -m`: `x86_64` or `aarch64`.
    pub fn machine(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "aarch64",
        }
    }

    /// The word used in a bundle: `x86_64` or `arm64`.
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no [`Arch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownArch(String);

impl fmt::Display for UnknownArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown architecture {:?}: a bundle serves x86_64 (amd64) or arm64 (aarch64)", self.0)
    }
}

impl std::error::Error for UnknownArch {}

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(word: &str) -> Result<Arch, UnknownArch> {
        match word {
            "x86_64" | "amd64" => Ok(Arch::X86_64),
            "arm64" | "aarch64" => Ok(Arch::Arm64),
            other => Err(UnknownArch(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let check = |word: &str, want: Option<Arch>| {
            assert_eq!(word.parse::<Arch>().ok(), want, "{word}");
            #[cfg(feature = "full")]
            assert_eq!(serde_json::from_value::<Arch>(word.into()).ok(), want, "{word} in JSON");
        };
        check("x86_64", Some(Arch::X86_64));
        check("amd64", Some(Arch::X86_64));
        check("arm64", Some(Arch::Arm64));
        check("aarch64", Some(Arch::Arm64));
        check("x86", None);
        check("X86_64", None);
        check("", None);
        #[cfg(feature = "full")]
        assert_eq!(serde_json::to_string(&Arch::Arm64).unwrap(), "\"arm64\"");
    }
}
