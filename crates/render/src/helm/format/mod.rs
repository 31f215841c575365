//! Go's `fmt`: `print`, `println`, `printf` with every verb and flag.

mod number;
mod printer;
mod verbs;

use printer::Printer;

use super::{
    failure::Failure,
    value::{Value, text},
};

/// `fmt.Sprint`: a space between two operands when neither is a string.
pub(crate) fn print(arguments: &[Value], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut printer = Printer::new(limit);
    let mut after_string = false;
    for (index, argument) in arguments.iter().enumerate() {
        let is_string = matches!(argument, Value::String(_));
        if index > 0 && !is_string && !after_string {
            printer.out.push(b' ');
        }
        printer.argument(argument, 'v')?;
        after_string = is_string;
    }
    Ok(printer.out)
}

/// `fmt.Sprintln`
pub(crate) fn println(arguments: &[Value], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut printer = Printer::new(limit);
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            printer.out.push(b' ');
        }
        printer.argument(argument, 'v')?;
    }
    printer.out.push(b'\n');
    Ok(printer.out)
}

/// `fmt.Sprintf`
pub(crate) fn printf(format: &[u8], arguments: &[Value], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut printer = Printer::new(limit);
    verbs::run(&mut printer, format, arguments)?;
    Ok(printer.out)
}

/// What Sprig's `strval` makes of a value.
pub(crate) fn string_of(value: &Value, limit: usize) -> Result<super::value::Text, Failure> {
    match value {
        Value::String(content) | Value::Bytes(content) => Ok(super::value::Text::clone(content)),
        other => Ok(text(print(std::slice::from_ref(other), limit)?)),
    }
}
