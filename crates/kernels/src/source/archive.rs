//! What a path in an archive of BTFs means.
//!
//! BTFHub, Datadog's fork and the mirrors of openEuler and Kylin have `DISTRO/VERSION/ARCH/RELEASE.btf.tar.xz`, the
//! architecture as `arm64` or `aarch64`, whatever folders are around it. Android's is flat: `a12-5.10-2021-10-arm64`.

use super::names;
use crate::{Arch, KernelId};

/// What files of BTF end with.
const ENDINGS: [&str; 9] = [
    ".btf.tar.xz",
    ".btf.tar.gz",
    ".btf.tar.zst",
    ".btf.tar",
    ".btf.xz",
    ".btf.gz",
    ".btf.zst",
    ".btf.lz4",
    ".btf",
];

/// The kernel of a path; None for files that are no BTF, such as `RELEASE.hasbtf`, and for odd names.
pub(super) fn find_kernel(path: &str) -> Option<KernelId> {
    let parts: Vec<&str> = path.split('/').collect();
    let (file, folders) = parts.split_last()?;
    let name = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending))?;
    match folders {
        [.., distro, version, arch] => match arch.parse::<Arch>() {
            Ok(arch) => of_folders(distro, version, arch, name),
            Err(_) => of_android(name),
        },
        _ => of_android(name),
    }
}

fn of_folders(distro: &str, version: &str, arch: Arch, name: &str) -> Option<KernelId> {
    let distro = names::distro(distro);
    KernelId::new(distro, names::version(distro, version), arch, &names::release(distro, name)).ok()
}

/// `a13-5.10-2022-05-arm64`: Android's version, the kernel's, and the month of the build. These kernels have no
/// os-release, and their `uname -r` has what a phone's vendor put there, so the archive's name is the release.
fn of_android(name: &str) -> Option<KernelId> {
    let (rest, arch) = name.rsplit_once('-')?;
    let (android, _) = rest.split_once('-')?;
    let version = android.strip_prefix("android").or_else(|| android.strip_prefix('a'))?;
    let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    KernelId::new("android", version, arch.parse().ok()?, rest).ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let check = |path: &str, wanted: Option<&str>| {
            assert_eq!(find_kernel(path).map(|id| id.to_string()).as_deref(), wanted, "{path}");
        };
        check(
            "ubuntu/20.04/x86_64/5.4.0-91-generic.btf.tar.xz",
            Some("ubuntu/20.04/x86_64/5.4.0-91-generic"),
        );
        check("ubuntu/focal/arm64/5.4.0-91-generic.btf.tar.xz", Some("ubuntu/20.04/arm64/5.4.0-91-generic"));
        check("debian/bullseye/x86_64/5.10.0-9-amd64.btf.tar.xz", Some("debian/11/x86_64/5.10.0-9-amd64"));
        check(
            "kylin/V10/aarch64/4.19.90-24.4.v2101.ky10.aarch64.btf.tar.xz",
            Some("kylin/V10/arm64/4.19.90-24.4.v2101.ky10.aarch64"),
        );
        check("openEuler/22.03/aarch64/5.10.0-60.btf.tar.xz", Some("openEuler/22.03/arm64/5.10.0-60"));
        check(
            "archive/amzn/2018/x86_64/4.14.1.amzn1.x86_64.btf.tar.xz",
            Some("amzn/1/x86_64/4.14.1.amzn1.x86_64"),
        );
        check(
            "sles/15.4/x86_64/5.14.21-150400.24.11.1-default.btf.tar.xz",
            Some("sles/15.4/x86_64/5.14.21-150400.24.11-default"),
        );
        check(
            "custom-archive/rhel/8/x86_64/4.18.0-80.el8.x86_64.btf",
            Some("rhel/8/x86_64/4.18.0-80.el8.x86_64"),
        );
        check(
            "common-android12-5.10/a12-5.10-2021-10-arm64.btf.tar.xz",
            Some("android/12/arm64/a12-5.10-2021-10"),
        );
        check("a13-5.10-2022-05-arm64.btf.tar.xz", Some("android/13/arm64/a13-5.10-2022-05"));
        check("fedora/31/x86_64/5.5.7-200.fc31.x86_64.hasbtf", None);
        check("ubuntu/20.04/x86_64/x.failed", None);
        check("ubuntu/20.04/s390x/5.4.0-91-generic.btf.tar.xz", None);
        check("ubuntu/20.04/x86_64/.btf.tar.xz", None);
        check("ubuntu/../x86_64/5.4.btf.tar.xz", None);
        check("README.md", None);
        check("", None);
        check("abc-5.10-arm64.btf", None);
    }
}
