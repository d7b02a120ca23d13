//! What is given of the kernel, besides the BTF that CO-RE relocates against.

use std::str::FromStr;

use crate::{Mode, TargetBtf};

/// What a host would tell libbpf, given as data. What is not given is not guessed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment<'e> {
    /// The kernel's configuration as text: `/boot/config-*`, or `/proc/config.gz` unpacked.
    pub kconfig: Option<&'e str>,
    /// Symbols and their addresses: `/proc/kallsyms` or `System.map`.
    pub kallsyms: Option<&'e str>,
    /// The kernel's version, for `LINUX_KERNEL_VERSION` and for what its verifier can fold.
    pub kernel_version: Option<KernelVersion>,
    /// The BTF that the running kernel has of its own.
    pub kernel_btf: KernelBtf<'e>,
    /// Which rules hold where libbpf is wrong.
    pub mode: Mode,
}

/// The BTF that attach targets, typed ksyms, kfuncs and struct_ops are looked up in.
///
/// libbpf's `btf_custom_path` replaces the BTF that CO-RE relocates against, and only that.
#[derive(Debug, Clone, Copy, Default)]
pub enum KernelBtf<'e> {
    /// The target's: it is the kernel's own.
    #[default]
    Target,
    /// None: the target is all there is, given to the loader from outside.
    Absent,
    /// This: vmlinux, then modules.
    Other(&'e [TargetBtf<'e>]),
}

/// A version of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// 6 of 6.1.192.
    pub major: u32,
    /// 1 of 6.1.192.
    pub minor: u32,
    /// 192 of 6.1.192. Debian and Ubuntu put 0 into `uname -r`; libbpf looks further, so give the real one.
    pub patch: u32,
}

impl KernelVersion {
    /// The number that programs compare with (`KERNEL_VERSION(a, b, c)`).
    pub fn code(self) -> u32 {
        let (major, minor) = (self.major & 0xffff, self.minor & 0xff);
        (major << 16) + (minor << 8) + self.patch.min(255)
    }

    pub(crate) fn is_at_least(self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

/// A text that no version starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a kernel version; give it as in 6.1.192")]
pub struct NotAVersion;

impl FromStr for KernelVersion {
    type Err = NotAVersion;

    /// Reads `6.1`, `6.1.192` and what `uname -r` gives, such as `6.1.0-50-cloud-amd64`.
    fn from_str(text: &str) -> Result<KernelVersion, NotAVersion> {
        let mut parts = text.splitn(3, '.');
        let mut number = |required: bool| {
            let part = parts.next().unwrap_or_default();
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            match part[..digits].parse() {
                Ok(number) => Ok(number),
                Err(_) if required || digits > 0 => Err(NotAVersion),
                Err(_) => Ok(0),
            }
        };
        Ok(KernelVersion { major: number(true)?, minor: number(true)?, patch: number(false)? })
    }
}

/// What the verifier of a kernel can tell. Where the version is not known, what helps to fold is what every one since
/// 5.5 can, and what keeps the verifier from following a path is what any can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verifier {
    /// It reads values of frozen maps (5.5).
    pub constant_maps: bool,
    /// It checks global subprograms by themselves (5.6).
    pub global_functions: bool,
    /// It folds comparisons of pointers with zero (5.8).
    pub pointers_not_null: bool,
    /// It follows exclusive or (5.10).
    pub exclusive_or: bool,
    /// It follows values of less than 8 bytes through the stack (5.16).
    pub small_spills: bool,
    /// It follows immediates that are stored on the stack (6.3).
    pub stored_immediates: bool,
    /// It knows that the address of a kernel symbol or of reserved memory is not null (6.4).
    pub memory_not_null: bool,
    /// It checks global subprograms only where they can be called (6.8); None where the version is not known.
    pub lazy_globals: Option<bool>,
    /// It knows that elements of arrays are there (6.14).
    pub elements_not_null: bool,
}

impl Verifier {
    pub(crate) fn of(version: Option<KernelVersion>) -> Verifier {
        let since = |major, minor| version.map(|version| version.is_at_least(major, minor));
        Verifier {
            constant_maps: since(5, 5).unwrap_or(true),
            global_functions: since(5, 6).unwrap_or(true),
            pointers_not_null: since(5, 8).unwrap_or(false),
            exclusive_or: since(5, 10).unwrap_or(false),
            small_spills: since(5, 16).unwrap_or(false),
            stored_immediates: since(6, 3).unwrap_or(false),
            memory_not_null: since(6, 4).unwrap_or(false),
            lazy_globals: since(6, 8),
            elements_not_null: since(6, 14).unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let check = |text: &str, want: Option<(u32, u32, u32)>| {
            let got = text.parse().ok();
            let want = want.map(|(major, minor, patch)| KernelVersion { major, minor, patch });
            assert_eq!(got, want, "{text}");
        };
        check("6.1.192", Some((6, 1, 192)));
        check("6.1.0-50-cloud-amd64", Some((6, 1, 0)));
        check("7.2.13+deb14-cloud-amd64", Some((7, 2, 13)));
        check("5.10", Some((5, 10, 0)));
        check("6.12-rc1", Some((6, 12, 0)));
        check("6", None);
        check("", None);
        check("linux-6.1", None);
        check("99999999999.1", None);
        check("6.99999999999", None);
        let code = |text: &str| text.parse::<KernelVersion>().map(KernelVersion::code);
        assert_eq!(code("5.10.300"), Ok(0x050aff));
        assert_eq!(code("6.1.50"), Ok(0x060132));
    }
}
