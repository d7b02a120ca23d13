use super::*;
use crate::raw::tests::make_btf;

fn corpus() -> (tempfile::TempDir, Corpus) {
    let folder = tempfile::tempdir().unwrap();
    let corpus = Corpus::open(Store::open(folder.path()).unwrap()).unwrap();
    (folder, corpus)
}

fn has_index(corpus: &Corpus, listed: Listed) -> bool {
    corpus.read(listed).unwrap().unwrap().index().is_some()
}

#[test]
fn kernels_are_listed_by_name_and_found_again() {
    let (_folder, mut corpus) = corpus();
    let btfs = [make_btf(20), make_btf(30)];
    let [a, b] = [0, 1].map(|index| corpus.keep(&btfs[index]).unwrap());
    corpus.list([("b".to_owned(), b), ("a name".to_owned(), a)]).unwrap();
    let again = Corpus::open(corpus.store.clone()).unwrap();
    assert_eq!(again.kernels().unwrap().into_iter().collect::<Vec<_>>(), [("a name", a), ("b", b)]);
    assert_eq!(again.get("b"), Some(b));
    let stored = again.read(b).unwrap().unwrap();
    assert_eq!(&stored.btf[..], btfs[1]);
    assert_eq!(stored.index().unwrap().btf(&stored.btf).unwrap().type_count(), 31);
    fs::write(corpus.store.root().join("corpus/list"), "no list\n").unwrap();
    let broken = Corpus::open(corpus.store.clone()).unwrap();
    assert!(broken.get("b").is_none() && broken.kernels().unwrap_err().to_string().contains("line 1"));
}

#[test]
fn an_index_in_doubt_is_made_again() {
    let (_folder, corpus) = corpus();
    let btf = make_btf(50);
    let listed = corpus.keep(&btf).unwrap();
    let path = corpus.path(listed, "index");
    let good = fs::read(&path).unwrap();
    // Absent, cut, of another file: noticed when it is read.
    for broken in [None, Some(&good[..10]), Some(&[0; 500][..])] {
        match broken {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        assert!(has_index(&corpus, listed), "{broken:?}");
        assert_eq!(fs::read(&path).unwrap(), good);
    }
    // Damaged under a good stamp: refused, and made again by whoever took the pass, or by verify.
    let mut damaged = good.clone();
    damaged[80] ^= 1;
    fs::write(&path, &damaged).unwrap();
    assert!(!has_index(&corpus, listed));
    corpus.renew(listed, &btf).unwrap();
    assert!(has_index(&corpus, listed));
    fs::write(&path, &damaged).unwrap();
    assert!(matches!(corpus.verify(listed).unwrap(), Kept::Open { index } if index as usize == good.len()));
    assert!(has_index(&corpus, listed));
}

#[test]
fn a_changed_blob_is_lost() {
    let (_folder, corpus) = corpus();
    let btf = make_btf(50);
    let listed = corpus.keep(&btf).unwrap();
    let blob = corpus.store.blob_path(&listed.digest);
    // A copy is another file with the same content.
    let copy = blob.with_extension("copy");
    fs::copy(&blob, &copy).unwrap();
    fs::rename(&copy, &blob).unwrap();
    assert!(has_index(&corpus, listed));
    let mut changed = btf;
    changed[30] ^= 1;
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, changed).unwrap();
    assert!(corpus.read(listed).unwrap().is_none());
    assert_eq!((corpus.kept(listed), corpus.verify(listed).unwrap()), (Kept::Lost, Kept::Lost));
}

#[test]
fn packed_kernels_are_read_as_they_were() {
    let (_folder, corpus) = corpus();
    let btfs: Vec<Vec<u8>> = (0..3).map(|more| make_btf(5000 + more)).collect();
    let listed: Vec<Listed> = btfs.iter().map(|btf| corpus.keep(btf).unwrap()).collect();
    let mut beside = None;
    for kernel in &listed {
        beside = corpus.pack(*kernel, beside.as_ref()).unwrap();
        assert!(matches!(corpus.kept(*kernel), Kept::Packed { size } if size < 5000));
    }
    for (btf, kernel) in btfs.iter().zip(&listed) {
        assert_eq!(&corpus.read(*kernel).unwrap().unwrap().btf[..], btf);
        assert!(!has_index(&corpus, *kernel));
        corpus.renew(*kernel, btf).unwrap();
        assert!(matches!(corpus.verify(*kernel).unwrap(), Kept::Packed { .. }));
    }
    // At hand again.
    corpus.keep(&btfs[1]).unwrap();
    assert!(has_index(&corpus, listed[1]));
    // At hand and damaged: the packed one is as good.
    let blob = corpus.store.blob_path(&listed[1].digest);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, b"broken").unwrap();
    assert!(matches!(corpus.verify(listed[1]).unwrap(), Kept::Packed { .. }));
    fs::write(corpus.path(listed[2], "packed"), b"broken").unwrap();
    assert_eq!(corpus.verify(listed[2]).unwrap(), Kept::Lost);
}
