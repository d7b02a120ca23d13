//! What apt's messages mean.

use plugin::Failure;

/// What stands behind a message of apt (in the C locale).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The server has no such file.
    NotFound,
    /// The server wasn't reached, or answered half.
    Network,
    /// Anything else.
    Other,
    /// A Release file from another time than this machine's.
    Date,
    /// A signature that this machine's keys don't verify.
    Signature,
}

const MEANINGS: &[(Trouble, &[&str])] = &[
    (
        Trouble::Signature,
        &[
            "NO_PUBKEY",
            "EXPKEYSIG",
            "REVKEYSIG",
            "BADSIG",
            "GPG error",
            "signatures were invalid",
            "signatures couldn't be verified",
            "NODATA",
            "Missing key",
            "is not signed",
        ],
    ),
    (Trouble::Date, &["is expired", "is not valid yet", "Release file expired"]),
    (
        Trouble::NotFound,
        &[
            "404  Not Found",
            "410  Gone",
            "not have a Release file",
            "no longer has a Release file",
            "File not found",
        ],
    ),
    (
        Trouble::Network,
        &[
            "Could not resolve",
            "Temporary failure",
            "Could not connect",
            "Unable to connect",
            "Cannot initiate the connection",
            "Connection failed",
            "Connection timed out",
            "Connection reset",
            "Connection refused",
            "connection timed out",
            "Network is unreachable",
            "Could not wait for server fd",
            "Data socket timed out",
            "Error reading from server",
            "Undetermined Error",
            "Could not handshake",
            "408  ",
            "429  ",
            "500  ",
            "502  ",
            "503  ",
            "504  ",
            "Hash Sum mismatch",
            "File has unexpected size",
            "Mirror sync in progress",
            "Could not get lock",
        ],
    ),
];

impl Trouble {
    /// What one message means.
    pub fn of(message: &str) -> Trouble {
        MEANINGS
            .iter()
            .find(|(_, words)| words.iter().any(|word| message.contains(word)))
            .map_or(Trouble::Other, |(trouble, _)| *trouble)
    }

    /// The failure of `doing` something, with apt's own `messages`.
    pub fn failure(self, doing: &str, messages: &[&str]) -> Failure {
        let said = if messages.is_empty() { "apt did not say why".to_owned() } else { messages.join("; ") };
        let message = format!("{doing}: {said}");
        match self {
            Trouble::NotFound => Failure::user(message)
                .help("remove the suite, or let the machine's apt sources name a mirror that has it"),
            Trouble::Network => {
                Failure::transient(message).help("try again; a proxy is taken from apt's configuration")
            }
            Trouble::Signature => Failure::user(message).help(
                "install the newest package debian-archive-keyring: older ones lack the keys of newer suites",
            ),
            Trouble::Date => {
                Failure::user(message).help("set this machine's clock, or use a mirror that is up to date")
            }
            Trouble::Other => Failure::tool(message),
        }
    }
}

/// apt's errors in its stderr, without the letter in front and without those that say nothing of the cause. Of the
/// warnings only those about what went wrong: others tell of old key formats and renamed suites.
pub fn messages(stderr: &str) -> Vec<&str> {
    let warning = |line: &&str| line.starts_with("Failed to fetch") || Trouble::of(line) != Trouble::Other;
    stderr
        .lines()
        .filter_map(|line| line.strip_prefix("E: ").or_else(|| line.strip_prefix("W: ").filter(warning)))
        .filter(|line| !line.starts_with("Some index files failed"))
        .collect()
}

/// The worst of `messages`. A file that wasn't fetched is also called "not signed".
pub fn worst(messages: &[&str]) -> Trouble {
    let not_fetched = messages.iter().any(|message| message.starts_with("Failed to fetch"));
    messages
        .iter()
        .filter(|message| !(not_fetched && message.ends_with("is not signed.")))
        .map(|message| Trouble::of(message))
        .max()
        .unwrap_or(Trouble::Other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Trouble::*;

    #[test]
    fn meanings() {
        let check = |message, expected| assert_eq!(Trouble::of(message), expected, "{message}");
        check("Failed to fetch http://h/dists/sid/InRelease  Could not resolve 'h'", Network);
        check(
            "Failed to fetch http://h/x  Could not connect to h:9 (192.0.2.1). - connect (111: Connection refused)",
            Network,
        );
        check("Failed to fetch http://h/x.deb  503  Service Unavailable [IP: 192.0.2.1 80]", Network);
        check("Failed to fetch http://h/x.deb  Hash Sum mismatch", Network);
        check("Failed to fetch http://h/x.deb  404  Not Found [IP: 192.0.2.1 80]", NotFound);
        check("The repository 'http://h/debian nosuite Release' does not have a Release file.", NotFound);
        check("The repository 'http://h/debian bullseye Release' no longer has a Release file.", NotFound);
        check(
            "GPG error: http://h/debian sid InRelease: The following signatures couldn't be verified because the \
             public key is not available: NO_PUBKEY 6ED0E7B82643E131",
            Signature,
        );
        check("Release file for http://h/InRelease is expired (invalid since 3d 2h). Updates …", Date);
        check("Release file for http://h/InRelease is not valid yet (invalid for another 2h)", Date);
        check("Write error - write (28: No space left on device)", Other);
        check("Failed to fetch http://h/x.deb  403  Forbidden", Other);
    }

    #[test]
    fn what_apt_says() {
        let stderr = "N: note\nW: Download is performed unsandboxed as root as file '/x'\nE: one\n\
                      W: Conflicting distribution: http://h bookworm InRelease (expected x but got y)\n\
                      W: Failed to fetch http://h  403  Forbidden\nW: GPG error: http://h sid InRelease: NO_PUBKEY 1\n\
                      E: Some index files failed to download. They have been ignored, or old ones used instead.\nrest";
        let expected = [
            "one",
            "Failed to fetch http://h  403  Forbidden",
            "GPG error: http://h sid InRelease: NO_PUBKEY 1",
        ];
        assert_eq!(messages(stderr), expected);
    }

    #[test]
    fn the_worst() {
        let check = |messages: &[&str], expected| assert_eq!(worst(messages), expected, "{messages:?}");
        check(&["404  Not Found", "NO_PUBKEY 1", "502  Bad Gateway"], Signature);
        check(&["404  Not Found", "502  Bad Gateway"], Network);
        check(&["The repository 'http://h sid InRelease' is not signed."], Signature);
        check(
            &[
                "Failed to fetch http://h  403  Forbidden",
                "The repository 'http://h sid InRelease' is not signed.",
            ],
            Other,
        );
        check(&[], Other);
    }
}
