//! `embedded FOLDER EXECUTABLE…`: cuts the BPF objects out of executables that carry them as skeletons.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: embedded FOLDER EXECUTABLE...")?;
    for path in args {
        let bytes = std::fs::read(&path)?;
        let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy();
        for (index, object) in relo_core::embedded_objects(&bytes).iter().enumerate() {
            let number = if index == 0 { String::new() } else { format!(".{index}") };
            std::fs::write(Path::new(&folder).join(format!("{name}{number}.bpf.o")), object.bytes)?;
        }
    }
    Ok(())
}
