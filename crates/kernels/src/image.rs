//! A boot image as shipped, and the kernel inside.
//!
//! Read here: x86 bzImage (Documentation/arch/x86/boot.rst), raw arm64 Image (Documentation/arch/arm64/booting.rst),
//! the same compressed as a whole, EFI zboot (drivers/firmware/efi/libstub/zboot-header.S), and ELF as it is.

use btf::Btf;

use crate::compression::{Bound, Compression};
use crate::raw::u32_at;
use crate::{FormatError, elf, raw};

/// Unpacked kernels have up to 70 MB; debug ones several times that.
const MAX_IMAGE: usize = 512 << 20;
const EXPECTED: &str = "a kernel image (x86 bzImage, arm64 Image, EFI zboot, ELF)";

/// A kernel without compression and boot code around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How to read them.
    pub kind: ImageKind,
}

/// How to read the bytes of an unpacked image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// vmlinux with its section headers; on x86 bootable as it is (PVH).
    Elf,
    /// A raw arm64 Image, which has no sections.
    Arm64Raw,
}

/// Takes the kernel out of a boot image.
pub fn unpack(vmlinuz: &[u8]) -> Result<Image, FormatError> {
    if let Some(kind) = find_kind(vmlinuz) {
        return Ok(Image { bytes: vmlinuz.to_vec(), kind });
    }
    let bytes = if let Some(zboot) = Zboot::find(vmlinuz) {
        zboot?.unpack(vmlinuz)?
    } else if vmlinuz.get(0x202..0x206) == Some(b"HdrS") {
        let (payload, offset) = bzimage_payload(vmlinuz)?;
        decode_sized(payload, offset)?
    } else {
        // Image.gz and the like: distributions ship arm64 kernels so.
        let compression = Compression::resolve(vmlinuz, EXPECTED)?;
        compression.decode(vmlinuz, Bound::AtMost { what: "the kernel", limit: MAX_IMAGE })?
    };
    match find_kind(&bytes) {
        Some(kind) => Ok(Image { bytes, kind }),
        None => {
            let expected = "a kernel (ELF or raw arm64 Image) after decompression";
            Err(FormatError::Unknown { expected, start: bytes[..bytes.len().min(8)].to_vec() })
        }
    }
}

/// Whether the bytes start as a boot image does that is neither ELF nor compressed as a whole.
pub(crate) fn is_boot_image(bytes: &[u8]) -> bool {
    let is_bzimage = bytes.get(0x202..0x206) == Some(b"HdrS");
    is_bzimage || Zboot::find(bytes).is_some() || find_kind(bytes) == Some(ImageKind::Arm64Raw)
}

/// The BTF of an unpacked kernel, checked from header to last reference.
pub fn btf(image: &Image) -> Result<&[u8], FormatError> {
    let found = match image.kind {
        ImageKind::Elf => elf::section(&image.bytes, ".BTF")?,
        ImageKind::Arm64Raw => raw::find_btf(&image.bytes),
    };
    let bytes = found.ok_or(FormatError::NoBtf)?;
    Btf::parse(bytes)?.check()?;
    Ok(bytes)
}

/// The GNU build-id of an unpacked kernel in hex digits; None when there is none, or not surely one.
pub fn build_id(image: &Image) -> Result<Option<String>, FormatError> {
    match image.kind {
        ImageKind::Elf => elf::build_id(&image.bytes),
        ImageKind::Arm64Raw => Ok(raw::find_build_id(&image.bytes).map(elf::to_hex)),
    }
}

fn find_kind(bytes: &[u8]) -> Option<ImageKind> {
    if elf::is_elf(bytes) {
        Some(ImageKind::Elf)
    } else if bytes.get(0x38..0x3c) == Some(b"ARM\x64") {
        Some(ImageKind::Arm64Raw)
    } else {
        None
    }
}

/// The compressed kernel in a bzImage by its setup header, and where it starts.
fn bzimage_payload(image: &[u8]) -> Result<(&[u8], u64), FormatError> {
    let short = |what| FormatError::Truncated { what, offset: 0x1f1 };
    let version = image.get(0x206..0x208).ok_or(short("the setup header"))?;
    if u16::from_le_bytes([version[0], version[1]]) < 0x0208 {
        return Err(FormatError::Invalid {
            what: "the boot protocol version (2.08 has the payload's place)",
            offset: 0x206,
        });
    }
    // 0 means 4, for reasons of history.
    let sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let offset = u32_at(image, 0x248).ok_or(short("the setup header"))? as usize;
    let len = u32_at(image, 0x24c).ok_or(short("the setup header"))? as usize;
    let start = offset.saturating_add((sectors + 1) * 512);
    let payload = image.get(start..start.saturating_add(len));
    payload
        .map(|payload| (payload, start as u64))
        .ok_or(FormatError::Truncated { what: "the payload", offset: start as u64 })
}

/// Undoes the compression of a payload that ends with its uncompressed size (u32, little endian).
///
/// In gzip that is part of the format; to all others the kernel's build appends it.
fn decode_sized(payload: &[u8], offset: u64) -> Result<Vec<u8>, FormatError> {
    let end = payload.len().checked_sub(4).ok_or(FormatError::Truncated { what: "the payload", offset })?;
    let compression = match elf::is_elf(payload) {
        // CONFIG_KERNEL_UNCOMPRESSED: vmlinux itself, with its size behind it.
        true => return Ok(payload[..end].to_vec()),
        false => Compression::resolve(payload, "a compressed kernel in the payload")?,
    };
    let size = u32_at(payload, end).unwrap_or_default() as usize;
    let data = match compression {
        Compression::Gzip => payload,
        Compression::Zstd | Compression::Xz | Compression::Lz4Legacy | Compression::Lzma => &payload[..end],
    };
    decode_exactly(compression, data, size)
}

fn decode_exactly(compression: Compression, data: &[u8], size: usize) -> Result<Vec<u8>, FormatError> {
    if size > MAX_IMAGE {
        return Err(FormatError::TooLarge { what: "the kernel", limit: MAX_IMAGE as u64 });
    }
    compression.decode(data, Bound::Exactly(size))
}

/// The header of an EFI zboot image: a PE file that carries a compressed Image.
struct Zboot {
    offset: usize,
    /// Bytes without the appended uncompressed size.
    len: usize,
}

impl Zboot {
    fn find(image: &[u8]) -> Option<Result<Zboot, FormatError>> {
        if !image.starts_with(b"MZ") || image.get(4..8) != Some(b"zimg") {
            return None;
        }
        let read = || Some(Zboot { offset: u32_at(image, 8)? as usize, len: u32_at(image, 12)? as usize });
        Some(read().ok_or(FormatError::Truncated { what: "the zboot header", offset: 8 }))
    }

    /// The name of the compression in the header repeats what the magic number says.
    fn unpack(&self, image: &[u8]) -> Result<Vec<u8>, FormatError> {
        let short = FormatError::Truncated { what: "the zboot payload", offset: self.offset as u64 };
        let end = self.offset.saturating_add(self.len);
        let Some(payload) = image.get(self.offset..end).filter(|payload| payload.len() >= 4) else {
            return Err(short);
        };
        let compression = Compression::resolve(payload, "a compressed kernel in the zboot payload")?;
        let size = match compression {
            Compression::Gzip => u32_at(image, end - 4),
            Compression::Zstd | Compression::Xz | Compression::Lz4Legacy | Compression::Lzma => {
                u32_at(image, end)
            }
        };
        decode_exactly(compression, payload, size.ok_or(short)? as usize)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::compression::tests::{ALL, encode};
    use crate::elf::tests::{make_elf, make_note};
    use crate::raw::tests::{make_btf, make_raw};

    /// A vmlinux with BTF and build-id.
    pub(crate) fn make_vmlinux() -> Vec<u8> {
        make_elf(&[(".BTF", &make_btf(3)), (".note.gnu", &make_note(&[0xab; 20]))])
    }

    /// A bzImage around a payload.
    pub(crate) fn make_bzimage(payload: &[u8]) -> Vec<u8> {
        let mut image = b"MZ".to_vec();
        image.resize(0x300, 0);
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&0x123u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.resize(2 * 512 + 0x123, 0);
        image.extend(payload);
        image.extend(b"what follows");
        image
    }

    /// A payload as the kernel's build makes it.
    pub(crate) fn make_payload(compression: Compression, kernel: &[u8]) -> Vec<u8> {
        let mut payload = encode(compression, kernel);
        if compression != Compression::Gzip {
            payload.extend((kernel.len() as u32).to_le_bytes());
        }
        payload
    }

    fn make_zboot(compression: Compression, kernel: &[u8]) -> Vec<u8> {
        let payload = encode(compression, kernel);
        let mut image = b"MZ\0\0zimg".to_vec();
        image.extend(0x80u32.to_le_bytes());
        image.extend((payload.len() as u32).to_le_bytes());
        image.resize(0x80, 0);
        image.extend(&payload);
        if compression != Compression::Gzip {
            image.extend((kernel.len() as u32).to_le_bytes());
        }
        image
    }

    fn check(vmlinuz: &[u8], kernel: &[u8], kind: ImageKind) {
        let image = unpack(vmlinuz).unwrap();
        assert_eq!((image.bytes.len(), image.kind), (kernel.len(), kind));
        assert!(image.bytes == kernel);
        assert_eq!(btf(&image).unwrap(), make_btf(3));
        assert_eq!(build_id(&image).unwrap().unwrap(), "ab".repeat(20));
    }

    #[test]
    fn every_kind_and_compression() {
        let vmlinux = make_vmlinux();
        let raw = make_raw(&[&make_btf(3), &make_note(&[0xab; 20])]);
        for compression in ALL {
            check(&make_bzimage(&make_payload(compression, &vmlinux)), &vmlinux, ImageKind::Elf);
            check(&make_zboot(compression, &raw), &raw, ImageKind::Arm64Raw);
            check(&encode(compression, &raw), &raw, ImageKind::Arm64Raw);
        }
        let mut uncompressed = vmlinux.clone();
        uncompressed.extend((vmlinux.len() as u32).to_le_bytes());
        check(&make_bzimage(&uncompressed), &vmlinux, ImageKind::Elf);
        check(&vmlinux, &vmlinux, ImageKind::Elf);
        check(&raw, &raw, ImageKind::Arm64Raw);
    }

    fn check_refused(vmlinuz: &[u8], wanted: &str) {
        let error = unpack(vmlinuz).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error:?}, not {wanted:?}");
    }

    #[test]
    fn broken_images_are_errors() {
        let vmlinux = make_vmlinux();
        let bzimage = make_bzimage(&make_payload(Compression::Zstd, &vmlinux));
        let with = |at: usize, bytes: &[u8]| {
            let mut image = bzimage.clone();
            image[at..at + bytes.len()].copy_from_slice(bytes);
            image
        };
        let start = 2 * 512 + 0x123;
        let size_at = bzimage.len() - b"what follows".len() - 4;
        check_refused(b"", "not a kernel image");
        check_refused(
            b"MZ and more",
            "not a kernel image (x86 bzImage, arm64 Image, EFI zboot, ELF), it starts with 4d5a20616e64",
        );
        check_refused(&with(0x206, &[7, 2]), "protocol version");
        check_refused(&with(0x248, &[0xff; 8]), "the payload at byte 4294968319 lies behind the end");
        check_refused(&with(0x24c, &[3, 0, 0, 0]), "the payload at byte 1315");
        check_refused(&with(start, b"\x89LZO\0\r"), "lzo, which is not supported");
        check_refused(&with(start, b"abcdef"), "starts with 616263646566");
        check_refused(&with(size_at, &[1, 0, 0, 0]), "2 bytes after decompression, but 1 are stated");
        check_refused(&with(size_at, &[0xff; 4]), "the limit");
        check_refused(&with(start + 4, &[0xff; 40]), "broken zstd data");
        check_refused(&make_bzimage(&make_payload(Compression::Xz, b"not a kernel")), "after decompression");
        check_refused(b"MZ\0\0zimg", "zboot header");
        check_refused(b"MZ\0\0zimg\xff\xff\xff\xff\xff\xff\xff\xff", "zboot payload");
        let zboot = make_zboot(Compression::Zstd, &vmlinux);
        check_refused(&zboot[..zboot.len() - 1], "zboot payload");
        for len in (0..bzimage.len()).step_by(7) {
            assert!(unpack(&bzimage[..len]).is_err() || len >= size_at + 4, "{len}");
        }
    }

    #[test]
    fn btf_that_is_absent_or_broken() {
        let check = |bytes: Vec<u8>, kind, wanted: &str| {
            let error = btf(&Image { bytes, kind }).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        check(make_elf(&[(".text", b"x")]), ImageKind::Elf, "CONFIG_DEBUG_INFO_BTF");
        check(make_raw(&[b"nothing"]), ImageKind::Arm64Raw, "CONFIG_DEBUG_INFO_BTF");
        check(make_elf(&[(".BTF", b"\x9f\xeb")]), ImageKind::Elf, "broken BTF");
        // A name outside of the strings: only the full check sees it.
        let mut named = make_btf(1);
        named[24] = 200;
        check(make_elf(&[(".BTF", &named)]), ImageKind::Elf, "broken BTF");
        check(b"\x7fELF".to_vec(), ImageKind::Elf, "broken ELF");
    }

    proptest::proptest! {
        #[test]
        fn any_change_is_read_or_refused(at in 0..10_000usize, bytes in proptest::collection::vec(0u8.., 1..20)) {
            let (vmlinux, raw) = (make_vmlinux(), make_raw(&[&make_btf(3), &make_vmlinux(), &make_note(&[1; 20])]));
            let mut images = vec![make_zboot(Compression::Gzip, &raw), vmlinux.clone(), raw];
            images.extend(ALL.map(|compression| make_bzimage(&make_payload(compression, &vmlinux))));
            for mut image in images {
                let at = at % (image.len() - bytes.len());
                image[at..at + bytes.len()].copy_from_slice(&bytes);
                if let Ok(kernel) = unpack(&image) {
                    let _ = (btf(&kernel), build_id(&kernel));
                }
            }
        }
    }
}
