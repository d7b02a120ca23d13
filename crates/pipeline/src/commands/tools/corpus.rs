//! `btfpipe corpus`: kernels whose BTFs the store keeps at hand, indexed or packed.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kernels::corpus::{Kept, Listed, Reference, StoredBtf};
use kernels::{Corpus, Store};
use rayon::prelude::*;

use crate::commands::tools::batch;
use crate::commands::tools::{ToolError, Voice};
use crate::outcome::Code;

/// Kernels that are packed beside the first of them, or the last that shares little with it.
const GROUP: usize = 16;

/// What to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Keep the BTFs of these files, or folders of them.
    Add(Vec<PathBuf>),
    /// Say what there is.
    List,
    /// Read everything again.
    Verify,
    /// Give up what is quick to read for what is small.
    Pack,
    /// The other way round.
    Unpack,
}

/// Which kernels, and what with them.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to do.
    pub action: Action,
    /// Names of kernels, with `*` and `?`; none for all.
    pub kernels: Vec<String>,
    /// Where the store is; the usual place if it is not said.
    pub store: Option<PathBuf>,
    /// Threads; 0 for as many as there are processors.
    pub jobs: usize,
}

/// Does it.
pub fn run(options: &Options, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let store = options.store.clone().map_or_else(Store::default_path, Ok)?;
    let mut corpus = Corpus::open(Store::open(&store)?)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.jobs)
        .build()
        .map_err(|error| ToolError::engine("threads", error))?;
    let done = match &options.action {
        Action::Add(files) => add(&mut corpus, files, &pool)?,
        other => {
            let chosen = choose(&corpus, &options.kernels)?;
            pool.install(|| work(&corpus, other, &chosen))
        }
    };
    Ok(say(&done, voice))
}

/// A kernel and how it is kept now, or why it is not.
type Done = Result<(String, Listed, Kept), ToolError>;

/// One kernel that can't be read or written costs the others nothing.
fn work(corpus: &Corpus, action: &Action, chosen: &[(String, Listed)]) -> Vec<Done> {
    let done = |(name, listed): &(String, Listed), kept: Result<Kept, kernels::Error>| match kept {
        Ok(kept) => Ok((name.clone(), *listed, kept)),
        Err(error) => Err(error.into()),
    };
    let each = |how: &(dyn Fn(Listed) -> Result<Kept, kernels::Error> + Sync)| {
        chosen.par_iter().map(|kernel| done(kernel, how(kernel.1))).collect()
    };
    match action {
        Action::Add(_) | Action::List => each(&|listed| Ok(corpus.kept(listed))),
        Action::Verify => each(&|listed| corpus.verify(listed)),
        Action::Unpack => each(&|listed| match corpus.read(listed)? {
            Some(stored) => corpus.keep(&stored.btf).map(|listed| corpus.kept(listed)),
            None => Ok(Kept::Lost),
        }),
        Action::Pack => {
            let groups = chosen.par_chunks(GROUP).flat_map_iter(|group| {
                let mut beside = None;
                group.iter().map(move |kernel| done(kernel, pack(corpus, kernel.1, &mut beside)))
            });
            groups.collect()
        }
    }
}

/// Packs a kernel beside the one before; after that the next is packed beside what this one was.
fn pack(corpus: &Corpus, listed: Listed, beside: &mut Option<Reference>) -> Result<Kept, kernels::Error> {
    match corpus.pack(listed, beside.as_ref())? {
        Some(reference) => {
            *beside = Some(reference);
            Ok(corpus.kept(listed))
        }
        None => Ok(Kept::Lost),
    }
}

fn add(corpus: &mut Corpus, files: &[PathBuf], pool: &rayon::ThreadPool) -> Result<Vec<Done>, ToolError> {
    let found = batch::find(files)?;
    let keep = |kernel: &batch::Named| {
        let input = kernels::input::read(&kernel.path)?;
        if input.is_split() {
            return Err(ToolError::engine(&input.name, "split BTF: a module's can't be read alone"));
        }
        // What is kept can be read.
        btf::Btf::parse(&input.btf[..]).map_err(|error| ToolError::btf(&input.name, error))?;
        Ok((kernel.name.display().to_string(), corpus.keep(&input.btf)?))
    };
    let added: Vec<Result<(String, Listed), ToolError>> =
        pool.install(|| found.par_iter().map(keep).collect());
    corpus.list(added.iter().flatten().cloned())?;
    let kept = |(name, listed)| (name, listed, corpus.kept(listed));
    Ok(added.into_iter().map(|added| added.map(kept)).collect())
}

/// A line a kernel, and one for all.
fn say(kernels: &[Done], voice: &mut Voice<'_>) -> Code {
    let (mut full, mut on_disk, mut lost) = (0, 0, 0);
    for kernel in kernels {
        let (name, listed, kept) = match kernel {
            Ok(kernel) => kernel,
            Err(error) => {
                lost += 1;
                voice.note(error);
                continue;
            }
        };
        let how = match kept {
            Kept::Open { index } => {
                on_disk += listed.size + index;
                format!("{} bytes, {index} of index", listed.size)
            }
            Kept::Packed { size } => {
                on_disk += size;
                format!("{} bytes, packed to {size}", listed.size)
            }
            Kept::Lost => {
                lost += 1;
                "lost or damaged: add it again".to_owned()
            }
        };
        if *kept != Kept::Lost {
            full += listed.size;
        }
        if voice.answer(&format!("{}  {name}: {how}\n", &listed.digest.to_string()[..12])).is_err() {
            break;
        }
    }
    voice.note(format_args!(
        "{} kernels, {full} bytes of BTF in {on_disk} bytes; {lost} failed",
        kernels.len() - lost
    ));
    if lost == 0 { Code::Ok } else { Code::Failed }
}

/// The kernels of these names.
fn choose(corpus: &Corpus, patterns: &[String]) -> Result<Vec<(String, Listed)>, ToolError> {
    let mut kernels = corpus.kernels()?;
    for pattern in patterns {
        if !kernels.keys().any(|name| matches(pattern, name)) {
            return Err(ToolError::Usage(format!(
                "the store has no kernel {pattern:?}; \"btfpipe corpus ls\" lists those that it has"
            )));
        }
    }
    let is_wanted = |name: &str| patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name));
    kernels.retain(|name, _| is_wanted(name));
    Ok(kernels.into_iter().map(|(name, listed)| (name.to_owned(), listed)).collect())
}

/// `*` stands for any text, `/` included, `?` for any one character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => (p, n) = (p + 1, n + 1),
            Some(_) | None => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// What a path means that names kernels of the store: `store:NAME`, with `*` and `?`.
pub(super) fn pattern(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix("store:").filter(|_| !path.exists())
}

/// The names of the store's kernels that a pattern means.
pub(super) fn names(pattern: &str) -> Result<Vec<String>, ToolError> {
    let corpus = corpus()?;
    // Not searched for among all: a thousand may be named, each alone.
    if corpus.get(pattern).is_some() {
        return Ok(vec![pattern.to_owned()]);
    }
    Ok(choose(corpus, &[pattern.to_owned()])?.into_iter().map(|(name, _)| name).collect())
}

/// A kernel of the store by its name, or by a pattern that only it has.
pub(super) fn read(pattern: &str) -> Result<(Listed, StoredBtf), ToolError> {
    let corpus = corpus()?;
    let listed = match corpus.get(pattern) {
        Some(listed) => listed,
        None => match &choose(corpus, &[pattern.to_owned()])?[..] {
            [(_, listed)] => *listed,
            several => {
                return Err(ToolError::Usage(format!(
                    "store:{pattern} is {} kernels; name one",
                    several.len()
                )));
            }
        },
    };
    let lost =
        || ToolError::Usage(format!("the store has lost {pattern:?}; \"btfpipe corpus add\" it again"));
    Ok((listed, corpus.read(listed)?.ok_or_else(lost)?))
}

/// Makes the index of a kernel again that turned out to be damaged.
pub(super) fn renew(listed: Listed, btf: &[u8]) -> Result<(), ToolError> {
    Ok(corpus()?.renew(listed, btf)?)
}

/// The corpus of the usual store, opened once for all kernels that a command names.
fn corpus() -> Result<&'static Corpus, ToolError> {
    static CORPUS: OnceLock<Corpus> = OnceLock::new();
    if let Some(corpus) = CORPUS.get() {
        return Ok(corpus);
    }
    let opened = Corpus::open(Store::open(&Store::default_path()?)?)?;
    Ok(CORPUS.get_or_init(|| opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, name: &str, want: bool| {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}")
        };
        check("*", "ubuntu/20.04/5.4.0", true);
        check("ubuntu/*/5.4.0", "ubuntu/20.04/5.4.0", true);
        check("5.4.?", "5.4.0", true);
        check("5.4.?", "5.4.10", false);
        check("*a*b", "xaxbxab", true);
        check("*a*b", "xaxbxa", false);
        check("", "", true);
        check("", "x", false);
        check("x**", "x", true);
    }
}
