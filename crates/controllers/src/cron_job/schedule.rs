//! Cron schedules: `minute hour day-of-month month day-of-week`, names, ranges, steps and the `@` words.

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, Time},
    tz::{AmbiguousOffset, TimeZone},
};

/// No schedule is searched further than this: `0 0 29 2 1` may need 28 years, `0 0 30 2 *` never comes.
const YEARS: i64 = 30;

/// When something is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Schedule {
    /// At the times that match these fields.
    Fields(Fields),
    /// `@every 90s`: at multiples of a duration after the last time.
    Every(SignedDuration),
}

/// One bit per value that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A day matches both fields if one of them is `*`, else either.
    any_day: bool,
}

/// Range and names of a field.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, names: &[] },
    Field { name: "hour", low: 0, high: 23, names: &[] },
    Field { name: "day of month", low: 1, high: 31, names: &[] },
    Field {
        name: "month",
        low: 1,
        high: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day of week", low: 0, high: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

// === impl Schedule ===

impl Schedule {
    /// Reads a schedule; the error is a sentence for the user.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(word) = text.strip_prefix('@') {
            let fields = match word {
                "yearly" | "annually" => "0 0 1 1 *",
                "monthly" => "0 0 1 * *",
                "weekly" => "0 0 * * 0",
                "daily" | "midnight" => "0 0 * * *",
                "hourly" => "0 * * * *",
                _ => {
                    let every = word.strip_prefix("every ").and_then(|text| text.trim().parse::<SignedDuration>().ok());
                    let every = every.filter(|every| *every >= SignedDuration::from_secs(1));
                    return every.map(Self::Every).ok_or_else(|| {
                        format!(
                            "@{word} is not known; use @hourly, @daily, @weekly, @monthly, @yearly or @every DURATION"
                        )
                    });
                }
            };
            return Self::parse(fields);
        }
        let words: Vec<_> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words.as_slice() else {
            return Err(format!("it has {} fields; write minute, hour, day of month, month, day of week", words.len()));
        };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let mut week = parse_field(weekdays, weekday)?;
        // Sunday is 0 and 7.
        week |= (week >> 7) & 1;
        let star = |text: &str| text.starts_with('*') || text.starts_with('?');
        Ok(Self::Fields(Fields {
            minutes: parse_field(minutes, minute)?,
            hours: parse_field(hours, hour)?,
            days: parse_field(days, day)?,
            months: parse_field(months, month)?,
            weekdays: week,
            any_day: !star(day) && !star(weekday),
        }))
    }

    /// The first time after `after`.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(every) => {
                let next = after.checked_add(*every).ok()?;
                Timestamp::from_second(next.as_second()).ok()
            }
            Self::Fields(fields) => fields.next(after, zone),
        }
    }

    /// The last time in `(after, until]`. Works backwards in growing windows, so that a schedule that was missed for
    /// months costs no more than one that was missed for an hour.
    pub(super) fn last_in(&self, after: Timestamp, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if let Self::Every(every) = self {
            let passed = until.duration_since(after).as_secs() / every.as_secs().max(1);
            let last = after.checked_add(SignedDuration::from_secs(passed.checked_mul(every.as_secs())?)).ok()?;
            return (passed > 0).then_some(last);
        }
        let hours = [1, 24, 24 * 32, 24 * 366, 24 * 366 * YEARS];
        for window in hours {
            let start = until.checked_sub(SignedDuration::from_hours(window)).unwrap_or(Timestamp::MIN).max(after);
            let mut last = None;
            let mut from = start;
            while let Some(next) = self.next(from, zone).filter(|next| *next <= until) {
                (last, from) = (Some(next), next);
            }
            if last.is_some() || start == after {
                return last;
            }
        }
        None
    }
}

// === impl Fields ===

impl Fields {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let first = after.to_zoned(zone.clone()).date();
        let limit = first.checked_add(YEARS.years()).ok()?;
        let mut date = first;
        while date <= limit {
            if !bit(self.months, date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
                continue;
            }
            if self.matches_day(date)
                && let Some(found) = self.first_on(date, after, zone)
            {
                return Some(found);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn matches_day(&self, date: Date) -> bool {
        let day = bit(self.days, date.day());
        let weekday = bit(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.any_day { day || weekday } else { day && weekday }
    }

    /// The earliest matching time of a day after `after`. Times that the clocks skip do not come; of times that come
    /// twice the first counts, unless every hour matches.
    fn first_on(&self, date: Date, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let every_hour = self.hours & 0xff_ffff == 0xff_ffff;
        let mut best: Option<Timestamp> = None;
        for hour in (0..24).filter(|hour| bit(self.hours, *hour)) {
            // Only an hour that comes twice can be out of order with the next.
            if best.is_some() && !every_hour {
                break;
            }
            for minute in (0..60).filter(|minute| bit(self.minutes, *minute)) {
                let time = date.to_datetime(Time::new(hour, minute, 0, 0).ok()?);
                let ambiguous = zone.to_ambiguous_timestamp(time);
                let mut candidates = Vec::with_capacity(2);
                match ambiguous.offset() {
                    AmbiguousOffset::Unambiguous { .. } => candidates.extend(ambiguous.compatible().ok()),
                    AmbiguousOffset::Gap { .. } => {}
                    AmbiguousOffset::Fold { .. } => {
                        candidates.extend(zone.to_ambiguous_timestamp(time).earlier().ok());
                        if every_hour {
                            candidates.extend(zone.to_ambiguous_timestamp(time).later().ok());
                        }
                    }
                }
                for candidate in candidates.into_iter().filter(|candidate| *candidate > after) {
                    best = Some(best.map_or(candidate, |best| best.min(candidate)));
                }
                if best.is_some() && !every_hour {
                    break;
                }
            }
        }
        best
    }
}

fn bit(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| value < 64 && set & (1 << value) != 0)
}

fn parse_field(field: &Field, text: &str) -> Result<u64, String> {
    text.split(',').try_fold(0, |set, part| Ok(set | parse_part(field, part)?))
}

/// `*`, `5`, `1-5`, `*/2`, `1-9/2`, `5/2` (from 5 to the end).
fn parse_part(field: &Field, part: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{part:?} is not a {} between {} and {}, a range a-b, * or a step /n",
            field.name, field.low, field.high
        )
    };
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0).ok_or_else(wrong)?)),
        None => (part, None),
    };
    let value = |text: &str| -> Option<u32> {
        let lower = text.to_ascii_lowercase();
        if let Some(position) = field.names.iter().position(|name| *name == lower) {
            return Some(u32::try_from(position).ok()? + field.low);
        }
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let (low, high) = match (range, range.split_once('-')) {
        ("*" | "?", _) => (field.low, if field.high == 7 { 6 } else { field.high }),
        (_, Some((low, high))) => (value(low).ok_or_else(wrong)?, value(high).ok_or_else(wrong)?),
        (single, None) => {
            let single = value(single).ok_or_else(wrong)?;
            (single, if step.is_some() { field.high } else { single })
        }
    };
    if low < field.low || high > field.high || low > high {
        return Err(wrong());
    }
    Ok((low..=high).step_by(step.map_or(1, |step| step as usize)).fold(0, |set, value| set | 1 << value))
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
