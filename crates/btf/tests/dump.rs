//! The text of a BTF: against texts written here, and against bpftool where it is installed.

use std::process::Command;

use btf::{Btf, Builder, ByteOrder, DumpError, Error, IntEncoding, Kind, Roots, TypeId, VarSection};

/// Every kind, holes and bitfields, a pointer back, two types of one name.
fn kernel(order: ByteOrder) -> Result<Vec<u8>, Error> {
    let mut b = Builder::new(order);
    let long = b.int("long unsigned int", 8, IntEncoding::NONE)?;
    let int = b.int("int", 4, IntEncoding::SIGNED)?;
    let char = b.int("char", 1, IntEncoding::SIGNED)?;
    let node = TypeId(char.0 + 2);
    let next = b.reference(Kind::Ptr, "", node)?;
    b.composite(Kind::Struct, "node", 40)?;
    b.member("next", next, 0, None)?;
    b.member("flag", int, 64, Some(1))?;
    b.member("rest", int, 65, Some(7))?;
    b.member("far", char, 128, None)?;
    b.member("after", long, 192, None)?;
    let fwd = b.fwd("elsewhere", false)?;
    let to_fwd = b.reference(Kind::Ptr, "", fwd)?;
    let proto = b.func_proto(int)?;
    b.param("node", next)?;
    b.param("where", to_fwd)?;
    b.param("", TypeId::VOID)?;
    let callback = b.reference(Kind::Ptr, "", proto)?;
    let constant = b.reference(Kind::Const, "", char)?;
    let volatile = b.reference(Kind::Volatile, "", constant)?;
    let name = b.array(volatile, int, 16)?;
    let restricted = b.reference(Kind::Ptr, "", volatile)?;
    let restricted = b.reference(Kind::Restrict, "", restricted)?;
    let tag = b.reference(Kind::TypeTag, "user", int)?;
    let tagged = b.reference(Kind::Ptr, "", tag)?;
    let color = b.enumeration(Kind::Enum, "color", 4, true)?;
    b.enumerator("RED", -1)?;
    b.enumerator("GREEN", 7)?;
    let wide = b.enumeration(Kind::Enum64, "wide", 8, false)?;
    b.enumerator("WIDEST", -1)?;
    let float = b.float("double", 8)?;
    let inner = b.composite(Kind::Union, "", 8)?;
    b.member("color", color, 0, None)?;
    b.member("fraction", float, 0, None)?;
    b.composite(Kind::Struct, "all", 72)?;
    b.member("", inner, 0, None)?;
    b.member("callback", callback, 64, None)?;
    b.member("name", name, 128, None)?;
    b.member("text", restricted, 256, None)?;
    b.member("tagged", tagged, 320, None)?;
    b.member("wide", wide, 384, None)?;
    b.member("node", next, 448, None)?;
    b.member("odd", int, 512, None)?;
    b.composite(Kind::Struct, "node", 4)?;
    b.member("other", int, 0, None)?;
    b.reference(Kind::Typedef, "alias_t", callback)?;
    b.reference(Kind::Func, "act", proto)?;
    let var = b.var("jiffies", long, 1)?;
    b.datasec(".data", 16)?;
    b.var_section(VarSection { type_id: var, offset: 8, size: 8 })?;
    b.decl_tag("guarded", node, Some(1))?;
    b.finish()
}

#[test]
fn raw() {
    let bytes = kernel(ByteOrder::Little).unwrap();
    let text = raw_text(&Btf::parse(&bytes).unwrap());
    let big = kernel(ByteOrder::Big).unwrap();
    assert_eq!(raw_text(&Btf::parse(&big).unwrap()), text, "the byte order does not show");
    for line in [
        "[2] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED\n",
        "[5] STRUCT 'node' size=40 vlen=5\n\t'next' type_id=4 bits_offset=0\n",
        "\t'flag' type_id=2 bits_offset=64 bitfield_size=1\n",
        "[6] FWD 'elsewhere' fwd_kind=struct\n[7] PTR '(anon)' type_id=6\n",
        "[8] FUNC_PROTO '(anon)' ret_type_id=2 vlen=3\n\t'node' type_id=4\n\t'where' type_id=7\n\
         \t'(anon)' type_id=0\n",
        "[12] ARRAY '(anon)' type_id=11 index_type_id=2 nr_elems=16\n",
        "[15] TYPE_TAG 'user' type_id=2\n",
        "[17] ENUM 'color' encoding=SIGNED size=4 vlen=2\n\t'RED' val=-1\n\t'GREEN' val=7\n",
        "[18] ENUM64 'wide' encoding=UNSIGNED size=8 vlen=1\n\t'WIDEST' val=18446744073709551615ULL\n",
        "[24] FUNC 'act' type_id=8 linkage=static\n",
        "[25] VAR 'jiffies' type_id=1, linkage=global\n",
        "[26] DATASEC '.data' size=16 vlen=1\n\ttype_id=25 offset=8 size=8 (VAR 'jiffies')\n",
        "[27] DECL_TAG 'guarded' type_id=5 component_idx=1\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn header() {
    let bytes = kernel(ByteOrder::Little).unwrap();
    let text = c_text(&Btf::parse(&bytes).unwrap(), Roots::Sorted);
    for definition in [
        "enum color {\n\tRED = -1,\n\tGREEN = 7,\n};\n\n",
        "enum wide {\n\tWIDEST = 18446744073709551615ULL,\n};\n\n",
        "struct node {\n\tstruct node *next;\n\tint flag: 1;\n\tint rest: 7;\n\tlong: 0;\n\tchar far;\n\
         \tlong unsigned int after;\n\tlong: 64;\n};\n\n",
        "struct node___2 {\n\tint other;\n};\n\n",
        "typedef int (*alias_t)(struct node *node, struct elsewhere *where, ...);\n\n",
        "\tunion {\n\t\tenum color color;\n\t\tdouble fraction;\n\t};\n",
        "\tint (*callback)(struct node *node, struct elsewhere *where, ...);\n",
        "\tconst volatile char name[16];\n\tconst volatile char * restrict text;\n",
        "\tint __attribute__((btf_type_tag(\"user\"))) *tagged;\n",
    ] {
        assert!(text.contains(definition), "{definition} is not in\n{text}");
    }
}

#[test]
fn what_c_has_no_words_for() {
    let mut b = Builder::new(ByteOrder::Little);
    b.composite(Kind::Struct, "inside_itself", 8).unwrap();
    b.member("again", TypeId(1), 0, None).unwrap();
    let bytes = b.finish().unwrap();
    let btf = Btf::parse(&bytes).unwrap();
    let mut text = String::new();
    assert_eq!(btf.dump_c(&mut text, Roots::Sorted), Err(DumpError::ContainsItself(TypeId(1))));

    let mut b = Builder::new(ByteOrder::Little);
    b.reference(Kind::Typedef, "round", TypeId(2)).unwrap();
    b.reference(Kind::Typedef, "and_round", TypeId(1)).unwrap();
    let bytes = b.finish().unwrap();
    let btf = Btf::parse(&bytes).unwrap();
    assert!(matches!(btf.dump_c(&mut text, Roots::ById), Err(DumpError::TooDeep(_))));
    assert!(btf.dump_raw(&mut text).is_ok(), "raw text follows nothing");
}

/// The two formats of the installed bpftool, whichever version that is.
#[test]
fn real_as_bpftool_prints_it() {
    if Command::new("bpftool").arg("version").output().is_err() {
        let needed = std::env::var_os("BTFPIPE_NO_SKIPS").is_some();
        assert!(!needed, "bpftool is not installed: apt-get install bpftool");
        println!("skipped: bpftool is not installed");
        return;
    }
    let folder = std::env::temp_dir().join(format!("btf-dump-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("kernel.btf");
    let bytes = kernel(ByteOrder::NATIVE).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let btf = Btf::parse(&bytes).unwrap();
    let bpftool = |format: &[&str]| {
        let path = path.to_str().unwrap();
        let output =
            Command::new("bpftool").args(["btf", "dump", "file", path, "format"]).args(format).output();
        output.ok().filter(|it| it.status.success()).map(|it| String::from_utf8(it.stdout).unwrap())
    };
    let raw = bpftool(&["raw"]);
    // Versions before 7.5 never sort and don't know the word.
    let header = bpftool(&["c", "unsorted"]).or_else(|| bpftool(&["c"]));
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(raw_text(&btf), raw.expect("bpftool prints raw text"));
    let header = header.expect("bpftool prints a header");
    assert_eq!(definitions(&c_text(&btf, Roots::ById)), definitions(&header));
}

/// What stands between the lines for the preprocessor, which differ from version to version.
fn definitions(header: &str) -> String {
    let is_frame = |line: &&str| line.is_empty() || line.starts_with(['#', '/']);
    let mut lines: Vec<&str> = header.lines().skip_while(is_frame).collect();
    while lines.last().is_some_and(is_frame) {
        lines.pop();
    }
    lines.join("\n")
}

fn raw_text(btf: &Btf<'_>) -> String {
    let mut text = String::new();
    btf.dump_raw(&mut text).unwrap();
    text
}

fn c_text(btf: &Btf<'_>, roots: Roots<'_>) -> String {
    let mut text = String::new();
    btf.dump_c(&mut text, roots).unwrap();
    text
}
