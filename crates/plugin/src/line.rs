//! A line to a message, and back.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{HostMessage, PluginMessage};

/// Why a line is no message.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Something else was printed where only messages belong.
    #[error("not a JSON object with a \"type\"")]
    NotAMessage,
    /// A newer or another protocol's message.
    #[error("unknown message type \"{0}\"")]
    UnknownType(String),
    /// The type is known, the rest doesn't fit.
    #[error("wrong \"{kind}\" message: {source}")]
    Malformed {
        /// The message's type.
        kind: String,
        /// The message's id, if it has one.
        id: Option<u64>,
        /// What doesn't fit.
        source: serde_json::Error,
    },
}

impl HostMessage {
    /// Reads one line.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        parse(line, &["hello", "validate", "run", "cancel", "shutdown"])
    }

    /// Writes one line, with its newline. Fails on a path that is not UTF-8.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        to_line(self)
    }
}

impl PluginMessage {
    /// Reads one line.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        parse(line, &["hello", "progress", "log", "invalid", "result"])
    }

    /// Writes one line, with its newline. Fails on a path that is not UTF-8.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        to_line(self)
    }
}

fn parse<T: DeserializeOwned>(line: &str, known: &[&str]) -> Result<T, LineError> {
    let value: Value = serde_json::from_str(line).map_err(|_| LineError::NotAMessage)?;
    let kind = value.get("type").and_then(Value::as_str).ok_or(LineError::NotAMessage)?.to_owned();
    if !known.contains(&kind.as_str()) {
        return Err(LineError::UnknownType(kind));
    }
    let id = value.get("id").and_then(Value::as_u64);
    serde_json::from_value(value).map_err(|source| LineError::Malformed { kind, id, source })
}

fn to_line<T: Serialize>(message: &T) -> Result<String, serde_json::Error> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line is read, and written again as `written`.
    fn check_plugin(line: &str, written: &str) {
        let message = PluginMessage::parse(line).unwrap();
        assert_eq!(message.to_line().unwrap(), format!("{written}\n"));
    }

    fn check_host(line: &str, written: &str) {
        let message = HostMessage::parse(line).unwrap();
        assert_eq!(message.to_line().unwrap(), format!("{written}\n"));
    }

    fn check_error(line: &str, expected: &str) {
        assert!(PluginMessage::parse(line).unwrap_err().to_string().starts_with(expected));
    }

    #[test]
    fn plugin_messages() {
        let same = |line: &str| check_plugin(line, line);
        same(
            r#"{"type":"hello","protocol":1,"plugin":{"name":"x","version":"0.3.1"},"features":["progress"]}"#,
        );
        same(r#"{"type":"progress","id":2,"done":3,"total":10,"unit":"types","message":"pruning"}"#);
        same(r#"{"type":"log","id":2,"level":"warn","message":"no such type","fields":{"type":"sk_buff"}}"#);
        same(
            r#"{"type":"invalid","id":1,"problems":[{"path":"/keep/3","message":"no such type","help":"try"}]}"#,
        );
        same(
            r#"{"type":"result","id":2,"status":"ok","outputs":[{"name":"btf","path":"out/min.btf"}],"metrics":{"n":4}}"#,
        );
        same(
            r#"{"type":"result","id":2,"status":"error","class":"gone","message":"m","help":"h","at":{"path":"/k"}}"#,
        );
        // Fields that a later version gains, and fields that were left out.
        check_plugin(
            r#"{"new":{"a":[1]},"type":"progress","id":1,"done":0}"#,
            r#"{"type":"progress","id":1,"done":0,"unit":"","message":""}"#,
        );
        check_plugin(
            r#"{"type":"result","id":2,"later":true,"status":"ok"}"#,
            r#"{"type":"result","id":2,"status":"ok"}"#,
        );
    }

    #[test]
    fn host_messages() {
        check_host(r#"{"type":"shutdown","why":"done"}"#, r#"{"type":"shutdown"}"#);
        check_host(r#"{"type":"cancel","id":7}"#, r#"{"type":"cancel","id":7}"#);
        check_host(
            r#"{"type":"run","id":1,"step":"resolve","workdir":"/w","outdir":"/w/out","tmpdir":"/w/tmp"}"#,
            concat!(
                r#"{"type":"run","id":1,"action":"","step":"resolve","config":null,"workdir":"/w","#,
                r#""outdir":"/w/out","tmpdir":"/w/tmp","jobs":1,"attempt":1}"#
            ),
        );
    }

    #[test]
    fn what_is_no_message() {
        check_error("hello", "not a JSON object");
        check_error("", "not a JSON object");
        check_error("[1]", "not a JSON object");
        check_error(r#"{"id":1}"#, "not a JSON object");
        check_error(r#"{"type":"dance","id":1}"#, "unknown message type \"dance\"");
        check_error(r#"{"type":"progress","id":"x"}"#, "wrong \"progress\" message: invalid type");
        check_error(r#"{"type":"result","id":1,"status":"maybe"}"#, "wrong \"result\" message");
    }

    #[test]
    fn a_malformed_message_keeps_its_id() {
        let error = HostMessage::parse(r#"{"type":"run","id":9}"#).unwrap_err();
        assert!(matches!(error, LineError::Malformed { id: Some(9), .. }));
    }
}
