//! Sprig's dates: times with an offset, durations, Go's layouts. The clock and the zone (UTC) come from the caller.

use std::rc::Rc;

use super::{
    Function, Outcome,
    Parameter::{Any, String, Time as TimeType},
    arguments, fixed, layout,
    numbers::to_int64,
};
use crate::{
    helm::{failure::Failure, template::evaluate::Evaluator, value::Value},
    strconv,
};

/// A moment, seen from a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    /// Since 1970, UTC.
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    /// Seconds east of UTC.
    pub(crate) offset: i32,
    /// Abbreviation such as `UTC` or `CET`; empty when only the offset is known.
    pub(crate) zone: std::string::String,
}

/// A date and time of day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: u32,
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    /// 0 is Sunday.
    pub(crate) weekday: u32,
    /// From 1.
    pub(crate) year_day: u32,
}

/// Seconds since 1970 of year 1, which is what Go's zero time is.
pub(super) const ZERO_SECONDS: i64 = -62_135_596_800;

/// Days since 1970 of a date.
pub(super) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = i64::from((month + 9) % 12);
    let day_of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = u32::try_from(day_of_year - (153 * shifted_month + 2) / 5 + 1).unwrap_or(1);
    let month = u32::try_from(if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 }).unwrap_or(1);
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

// === impl Time ===

impl Time {
    pub(crate) fn utc(seconds: i64, nanoseconds: u32) -> Time {
        Time { seconds, nanoseconds, offset: 0, zone: "UTC".to_owned() }
    }

    pub(crate) fn civil(&self) -> Civil {
        let local = self.seconds.saturating_add(self.offset.into());
        let (days, rest) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let part = |value: i64| u32::try_from(value).unwrap_or_default();
        Civil {
            year,
            month,
            day,
            hour: part(rest / 3600),
            minute: part(rest / 60 % 60),
            second: part(rest % 60),
            weekday: part((days + 4).rem_euclid(7)),
            year_day: part(days - days_from_civil(year, 1, 1) + 1),
        }
    }

    /// As `time.Format` does.
    pub(crate) fn format(&self, go_layout: &str) -> std::string::String {
        layout::format(self, go_layout)
    }

    /// As `time.String` does.
    pub(crate) fn to_go_string(&self) -> std::string::String {
        self.format("2006-01-02 15:04:05.999999999 -0700 MST")
    }

    fn in_zone(&self, name: &str) -> Time {
        if matches!(name, "Local" | "UTC" | "") {
            return Time::utc(self.seconds, self.nanoseconds);
        }
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(name).ok();
        let stamp = jiff::Timestamp::new(self.seconds, 0).ok();
        match zone.zip(stamp) {
            Some((zone, stamp)) => {
                let info = zone.to_offset_info(stamp);
                Time { offset: info.offset().seconds(), zone: info.abbreviation().to_owned(), ..self.clone() }
            }
            None => Time::utc(self.seconds, self.nanoseconds),
        }
    }

    fn plus(&self, nanoseconds: i64) -> Time {
        let total = i64::from(self.nanoseconds) + nanoseconds.rem_euclid(1_000_000_000);
        Time {
            seconds: self
                .seconds
                .saturating_add(nanoseconds.div_euclid(1_000_000_000))
                .saturating_add(total / 1_000_000_000),
            nanoseconds: u32::try_from(total % 1_000_000_000).unwrap_or_default(),
            ..self.clone()
        }
    }
}

impl From<Time> for Value {
    fn from(time: Time) -> Value {
        Value::Time(Rc::new(time))
    }
}

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("now", &[], |evaluator, _| Ok(now(evaluator).into())),
    fixed("date", &[String, Any], |evaluator, given| formatted(evaluator, given, "Local")),
    fixed("dateInZone", &[String, Any, String], in_zone),
    fixed("date_in_zone", &[String, Any, String], in_zone),
    fixed("dateModify", &[String, TimeType], |_, given| modify(given).or_else(|_| Ok(arguments::any(given, 1)))),
    fixed("date_modify", &[String, TimeType], |_, given| modify(given).or_else(|_| Ok(arguments::any(given, 1)))),
    fixed("mustDateModify", &[String, TimeType], |_, given| modify(given)),
    fixed("must_date_modify", &[String, TimeType], |_, given| modify(given)),
    fixed("htmlDate", &[Any], |evaluator, given| {
        Ok(time_of(evaluator, &arguments::any(given, 0)).in_zone("Local").format("2006-01-02").into())
    }),
    fixed("htmlDateInZone", &[Any, String], |evaluator, given| {
        Ok(time_of(evaluator, &arguments::any(given, 0))
            .in_zone(&arguments::text(given, 1))
            .format("2006-01-02")
            .into())
    }),
    fixed("toDate", &[String, String], |_, given| {
        Ok(layout::parse(&arguments::text(given, 0), &arguments::text(given, 1))
            .unwrap_or_else(|_| Time::utc(ZERO_SECONDS, 0))
            .into())
    }),
    fixed("mustToDate", &[String, String], |_, given| {
        Ok(layout::parse(&arguments::text(given, 0), &arguments::text(given, 1)).map_err(Failure::from)?.into())
    }),
    fixed("unixEpoch", &[TimeType], |_, given| match given.first() {
        Some(Value::Time(time)) => Ok(time.seconds.to_string().into()),
        _ => Err(Failure::new("not a time")),
    }),
    fixed("ago", &[Any], |evaluator, given| {
        let then = time_of(evaluator, &arguments::any(given, 0));
        let seconds = now(evaluator).seconds.saturating_sub(then.seconds);
        Ok(duration_text(seconds.saturating_mul(1_000_000_000)).into())
    }),
    fixed("duration", &[Any], |_, given| {
        let seconds = match arguments::any(given, 0) {
            Value::String(text) => {
                strconv::parse_int(&std::string::String::from_utf8_lossy(&text), 10).unwrap_or_default()
            }
            Value::Int64(seconds) => seconds,
            _ => 0,
        };
        Ok(duration_text(seconds.wrapping_mul(1_000_000_000)).into())
    }),
    fixed("durationRound", &[Any], |evaluator, given| Ok(rounded(evaluator, &arguments::any(given, 0)).into())),
];

fn now(evaluator: &Evaluator<'_>) -> Time {
    Time::utc(evaluator.now.0, evaluator.now.1)
}

/// Times and Unix seconds as they are, everything else is now.
fn time_of(evaluator: &Evaluator<'_>, value: &Value) -> Time {
    match value {
        Value::Time(time) => Time::clone(time),
        Value::Int(_) | Value::Int64(_) => Time::utc(to_int64(value), 0),
        _ => now(evaluator),
    }
}

fn formatted(evaluator: &Evaluator<'_>, given: &[Value], zone: &str) -> Outcome {
    Ok(time_of(evaluator, &arguments::any(given, 1)).in_zone(zone).format(&arguments::text(given, 0)).into())
}

fn in_zone(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    formatted(evaluator, given, &arguments::text(given, 2))
}

fn modify(given: &[Value]) -> Outcome {
    let text = arguments::text(given, 0);
    let nanoseconds = parse_duration(&text).ok_or_else(|| Failure::new(format!("time: invalid duration {text:?}")))?;
    match given.get(1) {
        Some(Value::Time(time)) => Ok(time.plus(nanoseconds).into()),
        _ => Err(Failure::new("not a time")),
    }
}

fn rounded(evaluator: &Evaluator<'_>, value: &Value) -> std::string::String {
    let nanoseconds = match value {
        Value::String(text) => parse_duration(&std::string::String::from_utf8_lossy(text)).unwrap_or_default(),
        Value::Int64(nanoseconds) | Value::Duration(nanoseconds) => *nanoseconds,
        Value::Time(time) => now(evaluator).seconds.saturating_sub(time.seconds).saturating_mul(1_000_000_000),
        _ => 0,
    };
    let total = nanoseconds.unsigned_abs();
    const SECOND: u64 = 1_000_000_000;
    const UNITS: [(u64, &str); 6] = [
        (SECOND * 3600 * 24 * 365, "y"),
        (SECOND * 3600 * 24 * 30, "mo"),
        (SECOND * 3600 * 24, "d"),
        (SECOND * 3600, "h"),
        (SECOND * 60, "m"),
        (SECOND, "s"),
    ];
    UNITS
        .iter()
        .find(|(unit, _)| total > *unit)
        .map_or_else(|| "0s".to_owned(), |(unit, name)| format!("{}{name}", total / unit))
}

/// `time.ParseDuration`, in nanoseconds.
pub(super) fn parse_duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let length =
            after.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(length);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: f64 = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
        total = total.checked_add(whole.checked_mul(*scale as i128)?)?.checked_add((fraction * scale) as i128)?;
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// `time.Duration.String`
pub(crate) fn duration_text(nanoseconds: i64) -> std::string::String {
    let total = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let fraction = |value: u64, digits: usize| {
        let text = format!("{value:0digits$}");
        let trimmed = text.trim_end_matches('0');
        if trimmed.is_empty() { std::string::String::new() } else { format!(".{trimmed}") }
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => format!("{sign}{}{}µs", total / 1_000, fraction(total % 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}{}ms", total / 1_000_000, fraction(total % 1_000_000, 6)),
        _ => {
            let seconds = total / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = format!("{}{}s", seconds % 60, fraction(total % 1_000_000_000, 9));
            match (hours, minutes) {
                (0, 0) => format!("{sign}{rest}"),
                (0, minutes) => format!("{sign}{minutes}m{rest}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{rest}"),
            }
        }
    }
}
