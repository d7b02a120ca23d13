//! Modules without code, made for the kernel that runs: loaded, and removed again.

mod image;

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use crate::libbpf::Btf;
use crate::setup;

use super::actor::{Done, Scene, Want, Wants, done};
use image::{INIT, Image, Layout, TEXT};

const KERNEL_LOG: &str = "/dev/kmsg";
/// More than a kernel says of one module.
const RECORDS_MAX: usize = 100;
/// In what a kernel says of a module for another kernel: `version magic 'its' should be 'mine'`.
const SHOULD_BE: &str = "' should be '";
/// What the kernel adds to each part of a module: its end is a page's, and it has entries of its own.
const ROUNDED_UP: usize = 4 * 4096;
/// In `/sys/module/NAME/taint`, by the number of the bit.
const TAINTS: &str = "PFSRMBUDAWCIOELKXTNJ";
const PROPRIETARY: u32 = 0;
const OUT_OF_TREE: u32 = 12;
const UNSIGNED: u32 = 13;

/// Two modules that differ in all that an event says.
pub fn load(scene: &Scene<'_>) -> Vec<Done> {
    let name = format!("vm_{}", scene.token);
    let kernel = Kernel::ask(scene, &name);
    let wants = |name: &str, words: &[(&str, &str)]| -> Wants {
        load_one(scene, kernel.as_ref().map_err(Clone::clone)?, name, words)
    };
    let (version, sources) = (format!("1.{}", scene.token), format!("5EED{}", scene.token));
    let own = [
        ("license", "GPL"),
        ("intree", "Y"),
        ("version", version.as_str()),
        ("srcversion", sources.as_str()),
    ];
    vec![
        Done { what: "a module of the kernel's tree was loaded", hooks: &[], wants: wants(&name, &own) },
        Done {
            what: "a proprietary module without a version was loaded",
            hooks: &[],
            wants: wants(&format!("{name}_p"), &[("license", "Proprietary")]),
        },
    ]
}

/// What a module must know of the kernel.
struct Kernel {
    layout: Layout,
    /// It takes a module that has versions of no symbols; others force one in that does not even have a place for them.
    versions: bool,
    magic: String,
}

impl Kernel {
    fn ask(scene: &Scene<'_>, name: &str) -> Result<Self, String> {
        let layout = find_layout(scene)?;
        let mut refused = String::new();
        for versions in [true, false] {
            match find_magic(layout, versions, name) {
                Ok(magic) => return Ok(Kernel { layout, versions, magic }),
                Err(error) => refused = error.to_string(),
            }
        }
        Err(format!("no module can be loaded: {refused}"))
    }
}

/// From the kernel's own BTF, which is hidden from this process.
fn find_layout(scene: &Scene<'_>) -> Result<Layout, String> {
    let reader = scene.act(|out| {
        let none = || io::Error::other("the kernel has no BTF, which says what its modules look like");
        let btf = Btf::parse(setup::uncover_kernel_btf()?.ok_or_else(none)?)
            .map_err(|errno| io::Error::from_raw_os_error(-errno))?;
        let types = btf.types();
        let found = types
            .find_struct("module")
            .and_then(|module| Some((types.size(module)?, types.find_member(module, "name")?)));
        let (size, name) = found.ok_or_else(|| io::Error::other("the kernel's BTF has no struct module"))?;
        write!(out, "{size} {} {}", name.offset, name.size)
    })?;
    let said = String::from_utf8_lossy(&reader.said).into_owned();
    let numbers: Vec<usize> = said.split(' ').filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [size, name_off, name_size] if name_off + name_size <= size => {
            Ok(Layout { size, name_off, name_size })
        }
        _ => Err(format!("a struct module cannot look so: {said}")),
    }
}

/// The kernel says for which words it takes a module when it refuses one that has others.
fn find_magic(layout: Layout, versions: bool, name: &str) -> io::Result<String> {
    let mut log = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(KERNEL_LOG)?;
    log.seek(SeekFrom::End(0))?;
    let image = Image { layout, versions, name, words: &[("license", "GPL"), ("vermagic", "none")] };
    match insert(&image.to_bytes()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {}
        Err(error) => return Err(error),
        Ok(()) => {
            remove(name)?;
            return Err(io::Error::other("the kernel takes one for any kernel"));
        }
    }
    let (mut record, mut said) = (vec![0; 8192], String::new());
    for _ in 0..RECORDS_MAX {
        let length = match log.read(&mut record) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Records that were overwritten meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => continue,
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&record[..length]);
        if let Some(magic) = parse_magic(&text, name) {
            return Ok(magic.to_owned());
        }
        said = text.lines().next().unwrap_or_default().to_owned();
    }
    Err(io::Error::other(format!("the kernel does not say what it wants of one, but {said:?}")))
}

/// `6,339,5140900,-;NAME: version magic 'none' should be 'MAGIC'`, and lines with further values.
fn parse_magic<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    let (_, text) = record.lines().next()?.split_once(';')?;
    let (module, said) = text.split_once(": version magic '")?;
    said.split_once(SHOULD_BE).filter(|_| module.ends_with(name))?.1.strip_suffix('\'')
}

fn load_one(scene: &Scene<'_>, kernel: &Kernel, name: &str, words: &[(&str, &str)]) -> Wants {
    let magic = [("vermagic", kernel.magic.as_str()), ("name", name), ("retpoline", "Y")];
    let words: Vec<(&str, &str)> = words.iter().copied().chain(magic).collect();
    let image = Image { layout: kernel.layout, versions: kernel.versions, name, words: &words }.to_bytes();
    let actor = scene.act(|_| insert(&image))?;
    let loaded = Loaded::ask(name);
    remove(name).map_err(|error| format!("{name} does not go: {error}"))?;
    let loaded = loaded.map_err(|error| format!("/sys/module/{name}: {error}"))?;
    for (word, told) in [("version", &loaded.version), ("srcversion", &loaded.srcversion)] {
        let given = words.iter().find(|(name, _)| *name == word).map_or("", |(_, value)| *value);
        if given != told {
            return Err(format!("the kernel takes the {word} {given:?} for {told:?}"));
        }
    }
    let bit = |number: u32| Want::Number(i128::from(loaded.taints >> number & 1));
    let about = |bytes: usize| Want::Between(bytes as i128, (bytes + ROUNDED_UP) as i128);
    let mut wants = scene.head(&actor);
    wants.extend([
        ("taints", Want::Number(loaded.taints.into())),
        ("stays_bytes", Want::Number(loaded.core_size)),
        // What is freed after the start is gone when one can ask for its size.
        ("init_bytes", about(INIT)),
        ("text_bytes", about(TEXT)),
        ("proprietary", bit(PROPRIETARY)),
        ("out_of_tree", bit(OUT_OF_TREE)),
        ("unsigned_", bit(UNSIGNED)),
        ("name", Want::Text(name.to_owned())),
        ("version", Want::Text(loaded.version)),
        ("srcversion", Want::Text(loaded.srcversion)),
    ]);
    Ok(wants)
}

/// What the kernel says of a module that is loaded.
struct Loaded {
    core_size: i128,
    taints: u64,
    version: String,
    srcversion: String,
}

impl Loaded {
    fn ask(name: &str) -> io::Result<Self> {
        let read = |file: &str| -> io::Result<String> {
            let text = fs::read_to_string(format!("/sys/module/{name}/{file}"))?;
            Ok(text.trim_end().to_owned())
        };
        // The file of a word that the module does not have is not there.
        let read_word = |file: &str| match read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        Ok(Loaded {
            core_size: read("coresize")?.parse().map_err(io::Error::other)?,
            taints: parse_taints(&read("taint")?)?,
            version: read_word("version")?,
            srcversion: read_word("srcversion")?,
        })
    }
}

fn parse_taints(letters: &str) -> io::Result<u64> {
    letters.chars().try_fold(0, |taints, letter| {
        let bit = TAINTS.find(letter).ok_or_else(|| io::Error::other(format!("taint {letter:?}")))?;
        Ok(taints | 1 << bit)
    })
}

#[allow(unsafe_code)]
fn insert(image: &[u8]) -> io::Result<()> {
    // SAFETY: the call reads so many bytes, and a string without parameters.
    done(unsafe { libc::syscall(libc::SYS_init_module, image.as_ptr(), image.len(), c"".as_ptr()) }).map(drop)
}

#[allow(unsafe_code)]
fn remove(name: &str) -> io::Result<()> {
    let name = CString::new(name).map_err(io::Error::other)?;
    // SAFETY: the call reads a string.
    done(unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_its_magic() {
        let line =
            "3,412,2801544,-;vm_a: version magic 'none' should be '6.1.0 SMP mod_unload '\n SUBSYSTEM=x\n";
        assert_eq!(parse_magic(line, "vm_a"), Some("6.1.0 SMP mod_unload "));
        assert_eq!(parse_magic(line, "vm_b"), None);
        assert_eq!(parse_magic("6,1,2,-;vm_a: module verification failed", "vm_a"), None);
        assert_eq!(parse_magic("", "vm_a"), None);
    }

    #[test]
    fn letters_of_taints() {
        assert_eq!(parse_taints("").unwrap(), 0);
        assert_eq!(parse_taints("POE").unwrap(), 1 << PROPRIETARY | 1 << OUT_OF_TREE | 1 << UNSIGNED);
        assert!(parse_taints("?").is_err());
    }
}
