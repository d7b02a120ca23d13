//! Lists of what an archive has.
//!
//! Read here: the answer of GitHub's tree API, Datadog's catalog, `sha256sum`'s output, and plain lists of paths.

use serde_json::Value;

use crate::Digest;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    /// Where, from the archive's root.
    pub path: String,
    /// In bytes, where the list has it.
    pub size: Option<u64>,
    /// What pins it, where the list has something.
    pub pin: Option<ListedPin>,
}

/// What pins a file of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ListedPin {
    /// Its content.
    Sha256(Digest),
    /// Git's object id.
    GitBlob(String),
}

/// The mode of a symbolic link in git's trees; codenames are links to the folders with versions.
const GIT_LINK: &str = "120000";

/// Reads a list of any kind; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Vec<Listed>, String> {
    let mut listed = match text.trim_start().starts_with(['{', '[']) {
        true => parse_json(&serde_json::from_str(text).map_err(|error| error.to_string())?)?,
        false => text.lines().filter_map(parse_line).collect(),
    };
    listed.retain(|file| is_plain(&file.path));
    listed.sort();
    listed.dedup_by(|a, b| a.path == b.path);
    Ok(listed)
}

fn parse_json(value: &Value) -> Result<Vec<Listed>, String> {
    if let Some(tree) = value["tree"].as_array() {
        if value["truncated"] == true {
            return Err(
                "GitHub gives only a part of so large a tree; use a clone, or a list as `index:`".into()
            );
        }
        return Ok(tree.iter().filter_map(of_tree).collect());
    }
    if let Some(paths) = value.as_array() {
        return Ok(paths.iter().filter_map(Value::as_str).map(|path| plain(path, None)).collect());
    }
    if let Some(message) = value["message"].as_str() {
        return Err(format!("the server says: {message}"));
    }
    let catalog = parse_catalog(value);
    if catalog.is_empty() { Err("neither a git tree nor a catalog of BTFs".into()) } else { Ok(catalog) }
}

fn of_tree(entry: &Value) -> Option<Listed> {
    if entry["type"] != "blob" || entry["mode"] == GIT_LINK {
        return None;
    }
    let pin = entry["sha"].as_str().map(|sha| ListedPin::GitBlob(sha.to_owned()));
    Some(Listed { path: entry["path"].as_str()?.to_owned(), size: entry["size"].as_u64(), pin })
}

/// `{"x86_64": {DISTRO: {VERSION: {RELEASE: {"sha256": …}}}}, "arm64": …}`
fn parse_catalog(value: &Value) -> Vec<Listed> {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for (arch, distros) in fields(value) {
        for (distro, versions) in fields(&distros) {
            for (version, releases) in fields(&versions) {
                for (release, file) in fields(&releases) {
                    let Some(Ok(sha256)) = file["sha256"].as_str().map(str::parse) else { continue };
                    let path = format!("{distro}/{version}/{arch}/{release}.btf.tar.xz");
                    found.push(plain(&path, Some(ListedPin::Sha256(sha256))));
                }
            }
        }
    }
    found
}

/// `PATH`, or `SHA256  PATH` as sha256sum writes it.
fn parse_line(line: &str) -> Option<Listed> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let pinned = line.split_once([' ', '\t']).and_then(|(sha256, path)| {
        let path = path.trim_start().trim_start_matches('*');
        Some(plain(path, Some(ListedPin::Sha256(sha256.parse().ok()?))))
    });
    Some(pinned.unwrap_or_else(|| plain(line, None)))
}

fn plain(path: &str, pin: Option<ListedPin>) -> Listed {
    Listed { path: path.trim_start_matches("./").to_owned(), size: None, pin }
}

/// A list must not lead elsewhere.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains(['\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, wanted: &[&str]) {
        let paths: Vec<String> = parse(text).unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(paths, wanted);
    }

    fn check_wrong(text: &str, wanted: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }

    #[test]
    fn git_trees() {
        let tree = json!({"sha": "x", "truncated": false, "tree": [
            {"path": "b/1/x86_64/2.btf.tar.xz", "mode": "100644", "type": "blob", "sha": "02", "size": 9},
            {"path": "a", "mode": "040000", "type": "tree", "sha": "01"},
            {"path": "ubuntu/focal", "mode": "120000", "type": "blob", "sha": "03", "size": 5},
            {"path": "../x", "mode": "100644", "type": "blob", "sha": "04", "size": 5},
        ]});
        let listed = parse(&tree.to_string()).unwrap();
        let pin = Some(ListedPin::GitBlob("02".into()));
        assert_eq!(listed, [Listed { path: "b/1/x86_64/2.btf.tar.xz".into(), size: Some(9), pin }]);
        check_wrong(&json!({"tree": [], "truncated": true}).to_string(), "only a part");
        check_wrong(&json!({"message": "API rate limit exceeded"}).to_string(), "API rate limit exceeded");
        check_wrong("{", "EOF");
        check_wrong("{}", "neither");
    }

    #[test]
    fn catalogs_and_lists() {
        let sha256 = Digest::of(b"abc");
        let catalog =
            json!({"x86_64": {"amzn": {"2": {"4.14.1": {"sha256": sha256}, "odd": {"sha256": "x"}}}}});
        let listed = parse(&catalog.to_string()).unwrap();
        assert_eq!(listed[0].pin, Some(ListedPin::Sha256(sha256)));
        check(&catalog.to_string(), &["amzn/2/x86_64/4.14.1.btf.tar.xz"]);
        check(
            &format!("# list\n./b/c\n\n{sha256}  ./a/b\n{sha256} *d\n/etc/passwd\na/../b\n"),
            &["a/b", "b/c", "d"],
        );
        check("[\"a/b\", 7]", &["a/b"]);
        check("", &[]);
    }
}
