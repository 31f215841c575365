//! Texts in quotes, as Go's `strconv` prints them.

/// Whether Go prints the character as it is inside quotes.
pub(crate) fn is_printable(character: char) -> bool {
    match character {
        ' ' => true,
        character if character.is_ascii() => character.is_ascii_graphic(),
        '\u{ad}' | '\u{feff}' => false,
        character if character.is_control() || character.is_whitespace() => false,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff0}'..='\u{fffb}' => false,
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => false,
        '\u{e0001}'..='\u{e007f}' => false,
        character => !matches!(u32::from(character) & 0xffff, 0xfffe | 0xffff),
    }
}

/// `strconv.Quote` and relatives: `quote` is `"` or `'`, `ascii` escapes everything else.
pub(crate) fn quote_with(input: &[u8], quote: char, ascii: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() + 2);
    let mut buffer = [0; 4];
    out.extend_from_slice(quote.encode_utf8(&mut buffer).as_bytes());
    let mut rest = input;
    while let Some((character, length)) = super::template::decode(rest) {
        if length == 1 && character == char::REPLACEMENT_CHARACTER {
            out.extend_from_slice(format!("\\x{:02x}", rest.first().copied().unwrap_or_default()).as_bytes());
        } else {
            push_escaped(&mut out, character, quote, ascii);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(quote.encode_utf8(&mut buffer).as_bytes());
    out
}

fn push_escaped(out: &mut Vec<u8>, character: char, quote: char, ascii: bool) {
    let mut buffer = [0; 4];
    if character == quote || character == '\\' {
        out.push(b'\\');
        out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        return;
    }
    if is_printable(character) && (!ascii || character.is_ascii()) {
        out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        return;
    }
    let escape = match character {
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        other => match u32::from(other) {
            code @ (0..0x20 | 0x7f) => format!("\\x{code:02x}"),
            code @ 0..0x10000 => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        },
    };
    out.extend_from_slice(escape.as_bytes());
}

/// `strconv.Quote`
pub(crate) fn quote(input: &[u8]) -> Vec<u8> {
    quote_with(input, '"', false)
}

/// [`quote`] for messages.
pub(crate) fn quoted(input: &[u8]) -> String {
    String::from_utf8_lossy(&quote(input)).into_owned()
}
