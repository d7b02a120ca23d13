//! Every reader gives the answers of `readers/lookup.cases`.

mod fixture;

use bundle::pack::{Method, PackOptions, write_pack};
use bundle::{BuildIdCheck, Hit, Miss, Pack, PackError};
use fixture::cases;

fn said<K>(found: Result<Hit<K>, Miss>, id: impl Fn(&K) -> String) -> String {
    match found {
        Ok(Hit { kernel, rule, build_id }) => {
            let verified = if build_id == BuildIdCheck::Verified { " verified" } else { "" };
            format!("{rule} {}{verified}", id(&kernel))
        }
        Err(Miss::Arch { .. }) => "another architecture".into(),
        Err(Miss::Release(_)) => "no such release".into(),
        Err(Miss::BuildId(_)) => "other build-id".into(),
        Err(Miss::Ambiguous(_)) => "ambiguous".into(),
        Err(Miss::PlainRelease(_)) => "plain release".into(),
    }
}

#[test]
fn the_index() {
    for case in cases::all() {
        for (query, want) in &case.queries {
            let found = said(case.bundle.index().resolve(query), |kernel| kernel.entry.key().to_string());
            assert_eq!(found, *want, "{}: {query:?}", case.title);
        }
    }
}

#[test]
fn the_pack() {
    for case in cases::all() {
        let bytes =
            write_pack(&case.bundle, PackOptions { method: Method::Zstd, ..PackOptions::default() }).unwrap();
        let pack = Pack::new(&bytes[..]).unwrap();
        for (query, want) in &case.queries {
            let found = match pack.find(query) {
                Ok(hit) => Ok(hit),
                Err(PackError::Miss(miss)) => Err(miss),
                Err(error) => panic!("{}: {error}", case.title),
            };
            let id = |k: &bundle::pack::PackedKernel| {
                format!("{}/{}/{}/{}", k.distro, k.version, k.arch, k.release)
            };
            assert_eq!(said(found, id), *want, "{}: {query:?}", case.title);
        }
    }
}
