//! Number literals: one literal may be an integer, an unsigned integer and a float at once.

use super::unquote::unquote_rune;
use crate::{
    helm::value::{Text, Value},
    strconv,
};

/// A literal, with every reading that it allows.
#[derive(Debug)]
pub(crate) struct Number {
    pub(crate) text: Text,
    pub(crate) integer: Option<i64>,
    pub(crate) unsigned: Option<u64>,
    pub(crate) float: Option<f64>,
    pub(crate) complex: Option<(f64, f64)>,
    rune: bool,
}

/// Reads a literal; `complex` ones have two parts.
pub(super) fn number(text: &[u8], complex: bool) -> Result<Number, String> {
    let mut number =
        Number { text: text.into(), integer: None, unsigned: None, float: None, complex: None, rune: false };
    let shown = String::from_utf8_lossy(text).into_owned();
    if text.first() == Some(&b'\'') {
        let rune = unquote_rune(text).ok_or_else(|| format!("malformed character constant: {shown}"))?;
        number.rune = true;
        number.integer = Some(rune.into());
        number.unsigned = Some(rune.into());
        number.float = Some(rune.into());
        return Ok(number);
    }
    if complex {
        let split = shown.bytes().rposition(|byte| byte == b'+' || byte == b'-').unwrap_or(0);
        let (real, imaginary) = shown.split_at(split);
        let parts = (strconv::parse_float(real), strconv::parse_float(imaginary.trim_end_matches('i')));
        let (Some(real), Some(imaginary)) = parts else { return Err(format!("bad number syntax: {shown:?}")) };
        number.set_complex(real, imaginary);
        return Ok(number);
    }
    if let Some(imaginary) = shown.strip_suffix('i').and_then(strconv::parse_float) {
        number.set_complex(0.0, imaginary);
        return Ok(number);
    }
    number.integer = strconv::parse_int(&shown, 0);
    number.unsigned = if number.integer == Some(0) { Some(0) } else { strconv::parse_uint(&shown, 0) };
    if let Some(integer) = number.integer {
        number.float = Some(integer as f64);
    } else if let Some(unsigned) = number.unsigned {
        number.float = Some(unsigned as f64);
    } else if let Some(float) = strconv::parse_float(&shown) {
        if !shown.contains(['.', 'e', 'E', 'p', 'P']) {
            return Err(format!("integer overflow: {shown:?}"));
        }
        number.set_float(float);
    }
    if number.float.is_none() {
        return Err(format!("illegal number syntax: {shown:?}"));
    }
    Ok(number)
}

// === impl Number ===

impl Number {
    fn set_float(&mut self, float: f64) {
        self.float = Some(float);
        if float.fract() == 0.0 && float.abs() < 9.3e18 {
            let integer = float as i64;
            self.integer = (integer as f64 == float).then_some(integer);
            self.unsigned = (float >= 0.0).then_some(float as u64);
        }
    }

    fn set_complex(&mut self, real: f64, imaginary: f64) {
        self.complex = Some((real, imaginary));
        if imaginary == 0.0 {
            self.set_float(real);
        }
    }

    /// The value of the literal where no type is asked for.
    pub(crate) fn ideal(&self) -> Result<Value, String> {
        let shown = String::from_utf8_lossy(&self.text);
        if let Some((real, imaginary)) = self.complex {
            return Ok(Value::Complex(real, imaginary));
        }
        let hexadecimal =
            shown.len() > 2 && (shown.starts_with("0x") || shown.starts_with("0X")) && !shown.contains(['p', 'P']);
        if let Some(float) = self.float
            && !hexadecimal
            && !self.rune
            && shown.contains(['.', 'e', 'E', 'p', 'P'])
        {
            return Ok(Value::Float(float));
        }
        match self.integer {
            Some(integer) => Ok(Value::Int(integer)),
            None => Err(format!("{shown} overflows int")),
        }
    }
}
