//! Timestamps as go-yaml recognises them.

/// The RFC 3339 text, as `encoding/json` prints a time, of what go-yaml takes for a timestamp.
pub(super) fn to_rfc3339(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    // Cheap exclusion: four digits and a dash.
    if bytes.len() < 8 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return None;
    }
    let mut reader = Reader { rest: text };
    let year = reader.digits(4, 4)?;
    reader.literal("-")?;
    let month = reader.digits(1, 2)?;
    reader.literal("-")?;
    let day = reader.digits(1, 2)?;
    let date_only = reader.rest.is_empty();
    if date_only {
        // Only the short form wants two digits each.
        return (bytes.len() == 10 && valid_date(year, month, day)).then(|| format!("{text}T00:00:00Z"));
    }
    let separator = reader.next()?;
    if !matches!(separator, 'T' | 't' | ' ') {
        return None;
    }
    let hour = reader.digits(1, 2)?;
    reader.literal(":")?;
    let minute = reader.digits(1, 2)?;
    reader.literal(":")?;
    let second = reader.digits(1, 2)?;
    let mut fraction = "";
    if reader.literal(".").is_some() || reader.literal(",").is_some() {
        let end = reader.rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(reader.rest.len());
        if end == 0 {
            return None;
        }
        (fraction, reader.rest) = reader.rest.split_at(end);
    }
    let zone = zone(reader.rest, separator)?;
    if !valid_date(year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = fraction.get(..fraction.len().min(9)).unwrap_or_default().trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{point}{fraction}{zone}"))
}

/// `Z`, an offset, or nothing after a blank (which is UTC).
fn zone(text: &str, separator: char) -> Option<String> {
    match text {
        "" if separator == ' ' => Some("Z".to_owned()),
        "Z" if separator != ' ' => Some("Z".to_owned()),
        _ if separator != ' ' => {
            let sign = text.chars().next().filter(|sign| matches!(sign, '+' | '-'))?;
            let mut reader = Reader { rest: &text[1..] };
            let hours = reader.digits(2, 2)?;
            reader.literal(":")?;
            let minutes = reader.digits(2, 2)?;
            if !reader.rest.is_empty() || hours > 24 || minutes > 60 {
                return None;
            }
            if hours == 0 && minutes == 0 {
                Some("Z".to_owned())
            } else {
                Some(format!("{sign}{hours:02}:{minutes:02}"))
            }
        }
        _ => None,
    }
}

fn valid_date(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

struct Reader<'a> {
    rest: &'a str,
}

// === impl Reader ===

impl Reader<'_> {
    fn digits(&mut self, least: usize, most: usize) -> Option<u32> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        digits.parse().ok()
    }

    fn literal(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }
}
