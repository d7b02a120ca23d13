//! JSON values appended to bytes, as serde_json writes them.

/// A number.
pub(crate) fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// A string, or null.
pub(crate) fn text_or_null(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => text(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// A string.
pub(crate) fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    match value.bytes().any(needs_escape) {
        false => out.extend_from_slice(value.as_bytes()),
        true => value.bytes().for_each(|byte| escaped(out, byte)),
    }
    out.push(b'"');
}

/// Bytes as digits, without quotes.
pub(crate) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escaped(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        control if control < 0x20 => {
            out.extend_from_slice(b"\\u00");
            return hex(out, &[control]);
        }
        plain => return out.push(plain),
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_serde_json_does() {
        let every: String = (0..=0x17f).filter_map(char::from_u32).collect();
        for value in ["", "struct task_struct.pid", "\"\\\u{8}\t\n\u{c}\r\u{1f}\u{7f}", &every, "π€𝄞"] {
            let mut out = Vec::new();
            text(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(value).unwrap());
        }
        for value in [0, 9, 10, 99, 100, 12345, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
        let mut out = Vec::new();
        hex(&mut out, &[0, 9, 10, 0xff, 0x1f]);
        text_or_null(&mut out, None);
        assert_eq!(out, b"00090aff1fnull");
    }
}
