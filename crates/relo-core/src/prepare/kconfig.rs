//! Values of the kernel's configuration.

use std::collections::HashMap;

use btf::ByteOrder;

use crate::Refusal;
use crate::open::{Extern, KconfigType, KconfigVar};

/// The values that a configuration gives externs, by the externs' names.
pub(crate) fn read<'e>(
    text: &str,
    externs: impl Iterator<Item = &'e Extern>,
    order: ByteOrder,
) -> Result<HashMap<&'e str, Vec<u8>>, Refusal> {
    let wanted: HashMap<&str, (&'e str, &'e KconfigVar)> = externs
        .filter_map(|external| {
            let var = external.kconfig()?;
            Some((external.name.as_str(), (external.name.as_str(), var)))
        })
        .collect();
    let mut values = HashMap::new();
    for line in text.lines().filter(|line| line.starts_with("CONFIG_")) {
        let refuse = |problem: &str| Refusal::Kconfig { line: line.to_owned(), problem: problem.to_owned() };
        let (name, value) = line.split_once('=').ok_or_else(|| refuse("no separator"))?;
        if value.is_empty() {
            return Err(refuse("no value"));
        }
        let Some(&(name, var)) = wanted.get(name) else {
            continue;
        };
        // The first line of a name counts.
        if !values.contains_key(name) {
            values.insert(name, parse(value, var, order).map_err(|problem| refuse(&problem))?);
        }
    }
    Ok(values)
}

/// The bytes of a value as it is written (libbpf: `bpf_object__process_kconfig_line`).
fn parse(value: &str, var: &KconfigVar, order: ByteOrder) -> Result<Vec<u8>, String> {
    match value.as_bytes()[0] {
        letter @ (b'y' | b'n' | b'm') => tristate(letter, var, order),
        b'"' => string(value, var),
        _number => {
            let number = parse_u64(value).ok_or_else(|| format!("'{value}' isn't a valid integer"))?;
            if !matches!(var.ty, KconfigType::Int | KconfigType::Char) {
                return Err(format!("value '{value}' implies integer type"));
            }
            self::number(number, var, order)
        }
    }
}

fn tristate(letter: u8, var: &KconfigVar, order: ByteOrder) -> Result<Vec<u8>, String> {
    match var.ty {
        KconfigType::Bool if letter == b'm' => Err("value 'm' implies tristate or char type".to_owned()),
        KconfigType::Bool => Ok(vec![u8::from(letter == b'y')]),
        KconfigType::Tristate => {
            let value = match letter {
                b'y' => 1,
                b'm' => 2,
                _no => 0,
            };
            Ok(bytes(value, var.size, order))
        }
        KconfigType::Char => Ok(vec![letter]),
        KconfigType::Int | KconfigType::CharArray => {
            Err(format!("value '{}' implies bool, tristate, or char type", char::from(letter)))
        }
    }
}

/// A string without its quotes, cut to what the array holds with a NUL.
fn string(value: &str, var: &KconfigVar) -> Result<Vec<u8>, String> {
    if var.ty != KconfigType::CharArray {
        return Err(format!("value {value} implies char array type"));
    }
    let text = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or_else(|| format!("invalid string config {value}"))?;
    let size = usize::try_from(var.size).unwrap_or(usize::MAX);
    let len = text.len().min(size.saturating_sub(1));
    let mut bytes = text.as_bytes()[..len].to_vec();
    bytes.push(0);
    Ok(bytes)
}

/// A number in the bytes of its variable (libbpf: `set_kcfg_value_num`).
pub(crate) fn number(value: u64, var: &KconfigVar, order: ByteOrder) -> Result<Vec<u8>, String> {
    match var.ty {
        KconfigType::Int | KconfigType::Char => {}
        KconfigType::Bool if value <= 1 => {}
        KconfigType::Bool => return Err(format!("value '{value}' isn't boolean compatible")),
        KconfigType::Tristate | KconfigType::CharArray => {
            return Err(format!("value '{value}' implies integer, char, or boolean type"));
        }
    }
    if !fits(value, var) {
        return Err(format!("value '{value}' doesn't fit in {} bytes", var.size));
    }
    Ok(bytes(value, var.size, order))
}

fn fits(value: u64, var: &KconfigVar) -> bool {
    let bits = var.size * 8;
    match bits {
        64.. => true,
        _narrow if var.signed => value.wrapping_add(1 << (bits - 1)) < 1 << bits,
        _narrow => value >> bits == 0,
    }
}

fn bytes(value: u64, size: u32, order: ByteOrder) -> Vec<u8> {
    let size = size.min(8) as usize;
    match order {
        ByteOrder::Little => value.to_le_bytes()[..size].to_vec(),
        ByteOrder::Big => value.to_be_bytes()[8 - size..].to_vec(),
    }
}

/// As C's `strtoull` with base 0 reads a whole string: decimal, hexadecimal, octal, either sign.
fn parse_u64(text: &str) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or(digits.strip_prefix("0X"));
    let (digits, radix) = match (hex, digits.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        (None, _) => (digits, 10),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    Some(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::ExternKind;

    fn check(ty: KconfigType, size: u32, signed: bool, value: &str, want: Result<&[u8], &str>) {
        let external = Extern {
            name: "CONFIG_X".to_owned(),
            weak: false,
            kind: ExternKind::Kconfig(KconfigVar::new(ty, size, signed)),
            symbol: 1,
        };
        let text = format!("# CONFIG_Y is not set\nCONFIG_Z=m\nCONFIG_X={value}\nCONFIG_X=99\n");
        let got = read(&text, [&external].into_iter(), ByteOrder::Little)
            .map(|values| values["CONFIG_X"].clone())
            .map_err(|refusal| match refusal {
                Refusal::Kconfig { problem, .. } => problem,
                other => other.to_string(),
            });
        assert_eq!(got, want.map(<[u8]>::to_vec).map_err(str::to_owned), "{ty:?} {value}");
    }

    #[test]
    fn values_by_type() {
        use KconfigType::{Bool, Char, CharArray, Int, Tristate};
        check(Bool, 1, false, "y", Ok(&[1]));
        check(Bool, 1, false, "n", Ok(&[0]));
        check(Bool, 1, false, "m", Err("value 'm' implies tristate or char type"));
        check(Bool, 1, false, "1", Err("value '1' implies integer type"));
        check(Tristate, 4, false, "y", Ok(&[1, 0, 0, 0]));
        check(Tristate, 4, false, "m", Ok(&[2, 0, 0, 0]));
        check(Char, 1, true, "m", Ok(b"m"));
        check(Char, 1, true, "-1", Ok(&[255]));
        check(Int, 4, true, "1000", Ok(&[0xe8, 3, 0, 0]));
        check(Int, 4, true, "0x10", Ok(&[16, 0, 0, 0]));
        check(Int, 4, true, "010", Ok(&[8, 0, 0, 0]));
        check(Int, 4, true, "-2", Ok(&[254, 255, 255, 255]));
        check(Int, 2, false, "65536", Err("value '65536' doesn't fit in 2 bytes"));
        check(Int, 2, true, "32768", Err("value '32768' doesn't fit in 2 bytes"));
        check(Int, 8, false, "0xffffffff81000000", Ok(&[0, 0, 0, 0x81, 255, 255, 255, 255]));
        check(Int, 4, true, "y", Err("value 'y' implies bool, tristate, or char type"));
        check(Int, 4, true, "4x", Err("'4x' isn't a valid integer"));
        check(Int, 4, true, "\"a\"", Err("value \"a\" implies char array type"));
        check(CharArray, 8, false, "\"abc\"", Ok(b"abc\0"));
        check(CharArray, 3, false, "\"abc\"", Ok(b"ab\0"));
        check(CharArray, 3, false, "\"abc", Err("invalid string config \"abc"));
        check(CharArray, 3, false, "\"", Err("invalid string config \""));
        check(Int, 4, true, "", Err("no value"));
    }

    #[test]
    fn both_orders() {
        let var = KconfigVar::new(KconfigType::Int, 4, false);
        assert_eq!(number(0x01020304, &var, ByteOrder::Big), Ok(vec![1, 2, 3, 4]));
    }
}
