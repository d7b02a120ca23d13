//! Questions: what relocations ask of a target. Each is read once, however many instructions and kernels wait for it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use btf::{Btf, ByteOrder, CoreRelo, Kind, TypeId};
use rustc_hash::FxHasher;

use crate::relo_kind::Subject;
use crate::spec::Accessor;
use crate::value::{Side, Value};
use crate::{LocalSpec, Mode, ReloError, ReloKind, essential_name};

/// A path from a root in the types of an object, and the value that the object was compiled with.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Index in [`Questions::roots`].
    pub root: usize,
    /// False for local_type_id, which nothing is searched for.
    pub has_candidates: bool,
    pub local: Result<Arc<LocalSpec>, ReloError>,
    values: [Result<Value, ReloError>; 2],
    /// What the answer depends on besides the candidates: questions of all objects that have the same key have the
    /// same answers. None where it depends on more of the object's types than is worth writing down.
    pub key: Option<Key>,
}

/// The local type that a target is searched for.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// Whether any question needs its candidates.
    pub searched: bool,
    /// Its kind and its essential name, or why nothing can be searched for.
    pub wanted: Result<(Kind, Box<[u8]>), ReloError>,
}

/// The questions of an object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Questions {
    pub roots: Vec<Root>,
    pub list: Vec<Question>,
}

/// Bytes that say all, and their hash: looking one up costs no second look at every byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    hash: u64,
    bytes: Arc<[u8]>,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Question {
    /// The value by the local types.
    pub(crate) fn value(&self, mode: Mode) -> &Result<Value, ReloError> {
        &self.values[usize::from(mode == Mode::StrictLibbpf)]
    }
}

impl Questions {
    /// Reads the questions of some relocations; also gives the index of each one's question.
    pub(crate) fn read(
        btf: &Btf<'_>,
        order: ByteOrder,
        relos: impl Iterator<Item = CoreRelo>,
    ) -> (Questions, Vec<usize>) {
        let mut questions = Questions::default();
        let mut writer = KeyWriter(Vec::with_capacity(256));
        let mut roots: BTreeMap<TypeId, usize> = BTreeMap::new();
        let mut known: BTreeMap<(TypeId, u32, u32), usize> = BTreeMap::new();
        let index_of = |relo: CoreRelo| {
            let next = questions.list.len();
            let index = *known.entry((relo.type_id, relo.access.0, relo.kind)).or_insert(next);
            if index == next {
                let next_root = questions.roots.len();
                let root = *roots.entry(relo.type_id).or_insert(next_root);
                if root == next_root {
                    questions.roots.push(Root::read(btf, relo.type_id));
                }
                let question = read_question(btf, order, &relo, root, &mut writer);
                questions.roots[root].searched |= question.has_candidates;
                questions.list.push(question);
            }
            index
        };
        let indexes = relos.map(index_of).collect();
        (questions, indexes)
    }
}

impl Root {
    fn read(btf: &Btf<'_>, id: TypeId) -> Root {
        let read = || {
            let root = btf.resolve(id).map_err(ReloError::local)?;
            match root.name().map_err(ReloError::local)? {
                b"" => Err(ReloError::AnonymousRoot(id)),
                name => Ok((root.kind(), essential_name(name).into())),
            }
        };
        Root { searched: false, wanted: read() }
    }
}

fn read_question(
    btf: &Btf<'_>,
    order: ByteOrder,
    relo: &CoreRelo,
    root: usize,
    writer: &mut KeyWriter,
) -> Question {
    let local = LocalSpec::parse(btf, relo);
    let value = |mode| {
        let spec = local.as_ref().map_err(Clone::clone)?;
        Side { btf, order, mode, broken: ReloError::local }.value(&spec.0)
    };
    let correct = value(Mode::Correct);
    // Only values of enumerators know of two modes.
    let strict = match relo.kind == ReloKind::EnumvalValue as u32 {
        true => value(Mode::StrictLibbpf),
        false => correct.clone(),
    };
    let values = [correct, strict];
    let key = match (&local, &values) {
        (Ok(local), [Ok(correct), Ok(strict)]) => writer.key_of(btf, order, local, [correct, strict]),
        _broken => None,
    };
    let has_candidates = relo.kind != ReloKind::LocalTypeId as u32;
    Question { root, has_candidates, local: local.map(Arc::new), values, key }
}

/// Writes keys, one after the other into the same place.
struct KeyWriter(Vec<u8>);

impl KeyWriter {
    /// Everything of the object that [`crate::decide`] looks at, or None.
    fn key_of(
        &mut self,
        btf: &Btf<'_>,
        order: ByteOrder,
        local: &LocalSpec,
        values: [&Value; 2],
    ) -> Option<Key> {
        let spec = &local.0;
        self.0.clear();
        self.0.extend([spec.kind as u32 as u8, u8::from(order == ByteOrder::Big)]);
        for value in values {
            self.number(value.value);
            self.number(
                u64::from(value.size) << 2 | u64::from(value.validate) << 1 | u64::from(value.diverges),
            );
        }
        self.nature(btf, values[0].field)?;
        match spec.kind.subject() {
            Subject::Type => self.root(btf, spec.root, spec.kind)?,
            Subject::Enumerator => {
                self.name(essential_name(btf.string(spec.accessors.first()?.name?).ok()?));
            }
            Subject::Field => {
                for accessor in &spec.accessors {
                    self.accessor(btf, accessor)?;
                }
            }
        }
        Some(self.finish())
    }

    fn accessor(&mut self, btf: &Btf<'_>, accessor: &Accessor) -> Option<()> {
        let Some(name) = accessor.name else {
            self.name(b"");
            self.number(u64::from(accessor.index));
            return Some(());
        };
        self.name(btf.string(name).ok()?);
        let composite = btf.resolve(accessor.type_id).ok()?;
        self.compatibility(btf, composite.member(accessor.index).ok()?.type_id)
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn name(&mut self, name: &[u8]) {
        self.0.extend_from_slice(name);
        self.0.push(0);
    }

    /// What decides whether an access may change its width.
    fn nature(&mut self, btf: &Btf<'_>, field: TypeId) -> Option<()> {
        let ty = btf.resolve(field).ok()?;
        self.0.push(ty.kind().number());
        if ty.kind() == Kind::Int {
            self.0.push(u8::from(ty.int_encoding().ok()? == btf::IntEncoding::SIGNED));
        }
        Some(())
    }

    /// A root whose kind is all that the "exists" rule compares.
    fn root(&mut self, btf: &Btf<'_>, root: TypeId, kind: ReloKind) -> Option<()> {
        let ty = btf.resolve(root).ok()?;
        let simple = matches!(ty.kind(), Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Fwd);
        self.0.push(ty.kind().number());
        (simple && kind != ReloKind::TypeMatches).then_some(())
    }

    /// What `fields_compatible` compares of a local member's type.
    fn compatibility(&mut self, btf: &Btf<'_>, mut id: TypeId) -> Option<()> {
        for _ in 0..16 {
            let ty = btf.skip(id).ok()?;
            self.0.push(ty.kind().number());
            match ty.kind() {
                Kind::Array => id = ty.array().ok()?.element,
                Kind::Fwd | Kind::Enum | Kind::Enum64 => {
                    self.name(essential_name(ty.name().ok()?));
                    return Some(());
                }
                Kind::Int => {
                    self.0.push(u8::from(ty.int_offset().ok()? == 0));
                    return Some(());
                }
                _only_its_kind => return Some(()),
            }
        }
        None
    }

    fn finish(&self) -> Key {
        let mut hasher = FxHasher::default();
        hasher.write(&self.0);
        Key { hash: hasher.finish(), bytes: self.0[..].into() }
    }
}
