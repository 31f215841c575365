//! Go's time layouts: the reference time is Mon Jan 2 15:04:05 MST 2006.

use super::dates::{Time, days_from_civil};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    LongMonth,
    Month,
    NumberMonth,
    ZeroMonth,
    LongWeekDay,
    WeekDay,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    Zone,
    /// `Z` for UTC, colons, seconds, minutes.
    Offset {
        z: bool,
        colon: bool,
        seconds: bool,
        minutes: bool,
    },
    /// Digits after the separator; `trims` drops zeros at the end.
    Fraction {
        digits: usize,
        trims: bool,
        separator: char,
    },
}

/// In the order in which they are tried: longer ones first where one begins another.
const PARTS: [(&str, Part); 34] = [
    ("January", Part::LongMonth),
    ("Jan", Part::Month),
    ("Monday", Part::LongWeekDay),
    ("Mon", Part::WeekDay),
    ("MST", Part::Zone),
    ("002", Part::ZeroYearDay),
    ("01", Part::ZeroMonth),
    ("02", Part::ZeroDay),
    ("03", Part::ZeroHour12),
    ("04", Part::ZeroMinute),
    ("05", Part::ZeroSecond),
    ("06", Part::Year),
    ("15", Part::Hour),
    ("1", Part::NumberMonth),
    ("2006", Part::LongYear),
    ("2", Part::Day),
    ("__2", Part::UnderYearDay),
    ("_2", Part::UnderDay),
    ("3", Part::Hour12),
    ("4", Part::Minute),
    ("5", Part::Second),
    ("PM", Part::UpperPm),
    ("pm", Part::LowerPm),
    ("-070000", Part::Offset { z: false, colon: false, seconds: true, minutes: true }),
    ("-07:00:00", Part::Offset { z: false, colon: true, seconds: true, minutes: true }),
    ("-0700", Part::Offset { z: false, colon: false, seconds: false, minutes: true }),
    ("-07:00", Part::Offset { z: false, colon: true, seconds: false, minutes: true }),
    ("-07", Part::Offset { z: false, colon: false, seconds: false, minutes: false }),
    ("Z070000", Part::Offset { z: true, colon: false, seconds: true, minutes: true }),
    ("Z07:00:00", Part::Offset { z: true, colon: true, seconds: true, minutes: true }),
    ("Z0700", Part::Offset { z: true, colon: false, seconds: false, minutes: true }),
    ("Z07:00", Part::Offset { z: true, colon: true, seconds: false, minutes: true }),
    ("Z07", Part::Offset { z: true, colon: false, seconds: false, minutes: false }),
    ("_2006", Part::UnderDay),
];

/// The text before the next part, the part, and what follows.
fn next(layout: &str) -> Option<(&str, Part, &str)> {
    for (index, _) in layout.char_indices() {
        let (before, rest) = layout.split_at(index);
        if rest.starts_with("_2006") {
            // An underscore, then the year.
            return Some((layout.get(..=index)?, Part::LongYear, rest.get(5..)?));
        }
        if let Some((text, part)) = PARTS.iter().find(|(text, _)| rest.starts_with(text)) {
            let after = rest.get(text.len()..)?;
            let lower_follows = after.starts_with(|character: char| character.is_ascii_lowercase());
            if matches!(part, Part::Month | Part::WeekDay) && lower_follows {
                continue;
            }
            return Some((before, *part, after));
        }
        if let Some(fraction) = fraction(rest) {
            let length = match fraction {
                Part::Fraction { digits, .. } => digits + 1,
                _ => 1,
            };
            return Some((before, fraction, rest.get(length..)?));
        }
    }
    None
}

fn fraction(rest: &str) -> Option<Part> {
    let mut characters = rest.chars();
    let separator = characters.next().filter(|character| matches!(character, '.' | ','))?;
    let digit = characters.next().filter(|digit| matches!(digit, '0' | '9'))?;
    let digits = rest.chars().skip(1).take_while(|next| *next == digit).count();
    if rest.chars().nth(digits + 1).is_some_and(|next| next.is_ascii_digit()) {
        return None;
    }
    Some(Part::Fraction { digits, trims: digit == '9', separator })
}

/// `time.Format`
pub(super) fn format(time: &Time, layout: &str) -> String {
    let civil = time.civil();
    let mut out = String::new();
    let mut rest = layout;
    let name = |names: &[&'static str], index: u32| {
        usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or("")
    };
    let hour12 = if civil.hour.is_multiple_of(12) { 12 } else { civil.hour % 12 };
    while let Some((before, part, after)) = next(rest) {
        out.push_str(before);
        rest = after;
        match part {
            Part::LongMonth => out.push_str(name(&MONTHS, civil.month.wrapping_sub(1))),
            Part::Month => out.push_str(name(&MONTHS, civil.month.wrapping_sub(1)).get(..3).unwrap_or_default()),
            Part::NumberMonth => out.push_str(&civil.month.to_string()),
            Part::ZeroMonth => out.push_str(&format!("{:02}", civil.month)),
            Part::LongWeekDay => out.push_str(name(&DAYS, civil.weekday)),
            Part::WeekDay => out.push_str(name(&DAYS, civil.weekday).get(..3).unwrap_or_default()),
            Part::Day => out.push_str(&civil.day.to_string()),
            Part::UnderDay => out.push_str(&format!("{:2}", civil.day)),
            Part::ZeroDay => out.push_str(&format!("{:02}", civil.day)),
            Part::UnderYearDay => out.push_str(&format!("{:3}", civil.year_day)),
            Part::ZeroYearDay => out.push_str(&format!("{:03}", civil.year_day)),
            Part::Hour => out.push_str(&format!("{:02}", civil.hour)),
            Part::Hour12 => out.push_str(&hour12.to_string()),
            Part::ZeroHour12 => out.push_str(&format!("{hour12:02}")),
            Part::Minute => out.push_str(&civil.minute.to_string()),
            Part::ZeroMinute => out.push_str(&format!("{:02}", civil.minute)),
            Part::Second => out.push_str(&civil.second.to_string()),
            Part::ZeroSecond => out.push_str(&format!("{:02}", civil.second)),
            Part::LongYear if civil.year < 0 => out.push_str(&format!("-{:04}", civil.year.abs())),
            Part::LongYear => out.push_str(&format!("{:04}", civil.year)),
            Part::Year => out.push_str(&format!("{:02}", civil.year.rem_euclid(100))),
            Part::UpperPm => out.push_str(if civil.hour >= 12 { "PM" } else { "AM" }),
            Part::LowerPm => out.push_str(if civil.hour >= 12 { "pm" } else { "am" }),
            Part::Zone if !time.zone.is_empty() => out.push_str(&time.zone),
            Part::Zone => {
                let minutes = time.offset.abs() / 60;
                out.push_str(&format!("{}{:02}", if time.offset < 0 { '-' } else { '+' }, minutes / 60));
                if minutes % 60 != 0 {
                    out.push_str(&format!("{:02}", minutes % 60));
                }
            }
            Part::Offset { z: true, .. } if time.offset == 0 => out.push('Z'),
            Part::Offset { colon, seconds, minutes, .. } => {
                let total = time.offset.abs();
                let colon = if colon { ":" } else { "" };
                out.push_str(&format!("{}{:02}", if time.offset < 0 { '-' } else { '+' }, total / 3600));
                if minutes {
                    out.push_str(&format!("{colon}{:02}", total / 60 % 60));
                }
                if seconds {
                    out.push_str(&format!("{colon}{:02}", total % 60));
                }
            }
            Part::Fraction { digits, trims, separator } => {
                let all = format!("{:09}", time.nanoseconds);
                let zeros = "0".repeat(digits.saturating_sub(all.len()));
                let wanted = format!("{all}{zeros}").get(..digits).unwrap_or_default().to_owned();
                let shown = if trims { wanted.trim_end_matches('0') } else { &wanted };
                if !shown.is_empty() {
                    out.push(separator);
                    out.push_str(shown);
                }
            }
        }
    }
    out + rest
}

#[derive(Debug)]
struct Fields {
    year: i64,
    month: u32,
    day: u32,
    year_day: Option<u32>,
    hour: u32,
    minute: u32,
    second: u32,
    nanoseconds: u32,
    pm: Option<bool>,
    offset: Option<i32>,
    zone: String,
}

/// `time.ParseInLocation` with UTC as the zone.
pub(super) fn parse(layout: &str, text: &str) -> Result<Time, String> {
    let fail =
        |what: &str, value: &str| format!("parsing time {text:?} as {layout:?}: cannot parse {value:?} as {what:?}");
    let mut fields = Fields {
        year: 0,
        month: 1,
        day: 1,
        year_day: None,
        hour: 0,
        minute: 0,
        second: 0,
        nanoseconds: 0,
        pm: None,
        offset: None,
        zone: String::new(),
    };
    let mut rest = layout;
    let mut value = text;
    while let Some((before, part, after)) = next(rest) {
        value = skip(before, value).ok_or_else(|| fail(before, value))?;
        rest = after;
        value = read(part, value, after, &mut fields).ok_or_else(|| fail("layout", value))?;
    }
    value = skip(rest, value).ok_or_else(|| fail(rest, value))?;
    if !value.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {value:?}"));
    }
    if let Some(pm) = fields.pm {
        fields.hour = fields.hour % 12 + if pm { 12 } else { 0 };
    }
    let out_of_range = |what: &str| Err(format!("parsing time {text:?}: {what} out of range"));
    let leap = fields.year % 4 == 0 && (fields.year % 100 != 0 || fields.year % 400 == 0);
    let longest = match fields.month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return out_of_range("month"),
    };
    if fields.day < 1 || fields.day > longest {
        return out_of_range("day");
    }
    if fields.hour > 23 || fields.minute > 59 || fields.second > 59 {
        return out_of_range("time");
    }
    let days = match fields.year_day {
        Some(day) => days_from_civil(fields.year, 1, 1) + i64::from(day) - 1,
        None => days_from_civil(fields.year, fields.month, fields.day),
    };
    let local = days * 86_400 + i64::from(fields.hour * 3600 + fields.minute * 60 + fields.second);
    let offset = fields.offset.unwrap_or(0);
    let zone = match fields.offset {
        Some(0) | None if fields.zone.is_empty() || fields.zone == "UTC" => "UTC".to_owned(),
        Some(_) => fields.zone,
        None => fields.zone,
    };
    Ok(Time { seconds: local - i64::from(offset), nanoseconds: fields.nanoseconds, offset, zone })
}

fn skip<'v>(prefix: &str, value: &'v str) -> Option<&'v str> {
    let mut rest = value;
    for character in prefix.chars() {
        if character == ' ' {
            rest = rest.trim_start_matches(' ');
            continue;
        }
        rest = rest.strip_prefix(character)?;
    }
    Some(rest)
}

fn digits(value: &str, least: usize, most: usize) -> Option<(u32, &str)> {
    let count = value.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    let (number, rest) = value.split_at(count);
    Some((number.parse().ok()?, rest))
}

fn named<'v>(names: &[&str], short: bool, value: &'v str) -> Option<(u32, &'v str)> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = if short { name.get(..3)? } else { name };
        let head = value.get(..name.len())?;
        head.eq_ignore_ascii_case(name)
            .then(|| (u32::try_from(index).unwrap_or(0), value.get(name.len()..).unwrap_or_default()))
    })
}

fn read<'v>(part: Part, value: &'v str, after: &str, fields: &mut Fields) -> Option<&'v str> {
    let (number, rest) = match part {
        Part::LongMonth | Part::Month => {
            named(&MONTHS, part == Part::Month, value).map(|(index, rest)| (index + 1, rest))?
        }
        Part::LongWeekDay | Part::WeekDay => named(&DAYS, part == Part::WeekDay, value)?,
        Part::LongYear => digits(value, 4, 4)?,
        Part::Year | Part::ZeroMonth | Part::ZeroDay | Part::ZeroHour12 | Part::ZeroMinute | Part::ZeroSecond => {
            digits(value, 2, 2)?
        }
        Part::UnderDay => digits(value.trim_start_matches(' '), 1, 2)?,
        Part::ZeroYearDay => digits(value, 3, 3)?,
        Part::UnderYearDay => digits(value.trim_start_matches(' '), 1, 3)?,
        Part::Hour => digits(value, 2, 2)?,
        Part::NumberMonth | Part::Day | Part::Hour12 | Part::Minute | Part::Second => digits(value, 1, 2)?,
        Part::UpperPm | Part::LowerPm => {
            let (am, pm) = if part == Part::UpperPm { ("AM", "PM") } else { ("am", "pm") };
            let head = value.get(..2)?;
            (u32::from(head == pm), if head == am || head == pm { value.get(2..)? } else { return None })
        }
        Part::Zone => {
            let length =
                if value.starts_with("UTC") { 3 } else { value.bytes().take_while(u8::is_ascii_uppercase).count() };
            if !(3..=5).contains(&length) {
                return None;
            }
            fields.zone = value.get(..length)?.to_owned();
            return value.get(length..);
        }
        Part::Offset { z: true, .. } if value.starts_with('Z') => {
            fields.offset = Some(0);
            return value.get(1..);
        }
        Part::Offset { colon, seconds, minutes, .. } => {
            let sign = match value.chars().next()? {
                '+' => 1,
                '-' => -1,
                _ => return None,
            };
            let (hours, mut rest) = digits(value.get(1..)?, 2, 2)?;
            let mut total = hours * 3600;
            for (wanted, scale) in [(minutes, 60), (seconds, 1)] {
                if wanted {
                    let (number, next) = digits(if colon { rest.strip_prefix(':')? } else { rest }, 2, 2)?;
                    total += number * scale;
                    rest = next;
                }
            }
            fields.offset = Some(sign * i32::try_from(total).ok()?);
            return Some(rest);
        }
        Part::Fraction { digits: count, trims, .. } => {
            if trims && !value.starts_with(['.', ',']) {
                return Some(value);
            }
            let found = value.get(1..)?.bytes().take_while(u8::is_ascii_digit).count();
            if !trims && found != count {
                return None;
            }
            fields.nanoseconds = nanoseconds(value.get(1..=found)?)?;
            return value.get(found + 1..);
        }
    };
    match part {
        Part::LongMonth | Part::Month | Part::NumberMonth | Part::ZeroMonth => fields.month = number,
        Part::LongYear => fields.year = number.into(),
        Part::Year => fields.year = i64::from(number) + if number >= 69 { 1900 } else { 2000 },
        Part::Day | Part::UnderDay | Part::ZeroDay => fields.day = number,
        Part::UnderYearDay | Part::ZeroYearDay => fields.year_day = Some(number),
        Part::Hour | Part::Hour12 | Part::ZeroHour12 => fields.hour = number,
        Part::Minute | Part::ZeroMinute => fields.minute = number,
        Part::Second | Part::ZeroSecond => fields.second = number,
        Part::UpperPm | Part::LowerPm => fields.pm = Some(number == 1),
        _ => {}
    }
    // Seconds may have a fraction that the layout does not mention.
    if matches!(part, Part::Second | Part::ZeroSecond)
        && rest.starts_with(['.', ','])
        && fraction(after).is_none()
        && let Some(found) =
            rest.get(1..).map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count()).filter(|found| *found > 0)
    {
        fields.nanoseconds = nanoseconds(rest.get(1..=found)?)?;
        return rest.get(found + 1..);
    }
    Some(rest)
}

fn nanoseconds(digits: &str) -> Option<u32> {
    format!("{digits:0<9}").get(..9)?.parse().ok()
}
