//! Makes a BTFHub-shaped archive of kernels that never were: `archive FOLDER COUNT [REAL.btf.tar.xz…]`.
//!
//! Every BTF is another one. Real archives, when given, are every tenth entry, each made different by an empty xz stream
//! behind it. Beside them: `tree.json` as GitHub's tree API answers, with links for codenames, empty files and markers.

use std::io::Write;
use std::path::Path;

use btf::{Builder, ByteOrder, IntEncoding, Kind};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

/// Distribution, version, how releases look (`N` counts), and how many of 100 entries.
const SHARES: &[(&str, &str, &str, usize)] = &[
    ("ubuntu", "16.04", "4.15.0-N-generic", 12),
    ("ubuntu", "18.04", "5.4.0-N-generic", 14),
    ("ubuntu", "20.04", "5.4.0-N-azure", 12),
    ("debian", "10", "4.19.0-N-amd64", 8),
    ("centos", "7", "3.10.0-1160.N.1.el7.x86_64", 10),
    ("centos", "8", "4.18.0-N.el8.x86_64", 8),
    ("rhel", "8", "4.18.0-305.N.1.el8_4.x86_64", 8),
    ("ol", "7", "5.4.17-2036.N.6.el7uek.x86_64", 10),
    ("amzn", "2", "4.14.N-137.229.amzn2.x86_64", 8),
    ("fedora", "31", "5.3.N-300.fc31.x86_64", 4),
    ("sles", "15.3", "5.3.18-150300.59.N.1-default", 6),
];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, real @ ..] = &arguments[..] else {
        return Err("usage: archive FOLDER COUNT [REAL.btf.tar.xz…]".into());
    };
    let folder = Path::new(folder);
    let real: Vec<Vec<u8>> = real.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    let (mut tree, mut bytes) = (Vec::new(), 0);
    for index in 0..count.parse::<usize>()? {
        let (path, release) = name(index);
        let packed = match index % 10 {
            0 if !real.is_empty() => again(&real[index / 10 % real.len()], index)?,
            _ => pack(&release, &generate(index as u64)?)?,
        };
        bytes += packed.len();
        write(folder, &path, &packed, &mut tree)?;
    }
    write(folder, "debian/10/x86_64/4.19.0-0-amd64.btf.tar.xz", b"", &mut tree)?;
    write(folder, "debian/10/x86_64/5.10.0-1-amd64.hasbtf", b"", &mut tree)?;
    tree.push(
        json!({"path": "ubuntu/focal", "mode": "120000", "type": "blob", "size": 5, "sha": "0".repeat(40)}),
    );
    let list = json!({"sha": "0".repeat(40), "tree": tree, "truncated": false});
    std::fs::write(folder.join("tree.json"), list.to_string())?;
    println!("{count} archives, {bytes} bytes");
    Ok(())
}

/// Path and release of an entry; every fifth one is of arm64.
fn name(index: usize) -> (String, String) {
    let mut place = index % 100;
    let share = SHARES.iter().find(|(_, _, _, share)| {
        let here = place < *share;
        place = place.saturating_sub(*share);
        here
    });
    let (distro, version, release, _) = share.unwrap_or(&SHARES[0]);
    let release = release.replace('N', &(index + 1).to_string());
    let arch = if index % 5 == 4 { "arm64" } else { "x86_64" };
    (format!("{distro}/{version}/{arch}/{release}.btf.tar.xz"), release)
}

/// Structs with members at places of their own.
fn generate(seed: u64) -> Result<Vec<u8>, Failure> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: u32| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as u32 % below
    };
    let mut builder = Builder::new(ByteOrder::Little);
    let int = builder.int("int", 4, IntEncoding::SIGNED)?;
    builder.composite(Kind::Struct, "task_struct", 4096)?;
    builder.member("pid", int, next(1000) * 32, None)?;
    for index in 0..1500 {
        let members = 1 + next(12);
        builder.composite(Kind::Struct, &format!("struct_{index}"), members * 8)?;
        for member in 0..members {
            builder.member(&format!("member_{member}"), int, member * 64 + next(2) * 32, None)?;
        }
    }
    Ok(builder.finish()?)
}

fn pack(release: &str, btf: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(btf.len() as u64);
    header.set_mode(0o444);
    tar.append_data(&mut header, format!("{release}.btf"), btf)?;
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(&tar.into_inner()?)?;
    Ok(encoder.finish()?)
}

/// The same archive with a stream behind it that unpacks to so many zero bytes.
fn again(real: &[u8], index: usize) -> Result<Vec<u8>, Failure> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(&vec![0; 512 * (index + 1)])?;
    Ok([real, &encoder.finish()?].concat())
}

fn write(folder: &Path, path: &str, content: &[u8], tree: &mut Vec<Value>) -> Result<(), Failure> {
    let file = folder.join(path);
    std::fs::create_dir_all(file.parent().ok_or("no folder")?)?;
    std::fs::write(&file, content)?;
    // Git's object ids are sha1; any name that differs with the content does here.
    let sha = kernels::Digest::of(content).to_string();
    tree.push(
        json!({"path": path, "mode": "100644", "type": "blob", "size": content.len(), "sha": &sha[..40]}),
    );
    Ok(())
}
