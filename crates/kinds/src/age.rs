//! Ages as `kubectl` shows them.

use jiff::Timestamp;
use serde_json::Value;

/// A duration in the two most significant units, the second one only while it still matters (`5s`, `2m30s`, `3h12m`, `5d`): the
/// format of `k8s.io/apimachinery/pkg/util/duration.HumanDuration`. A duration of less than −1 s is `<invalid>`.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let with_rest = |whole: i64, unit: char, rest: i64, rest_unit: char| {
        if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{rest}{rest_unit}") }
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => with_rest(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => with_rest(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => with_rest(hours / 24, 'd', hours % 24, 'h'),
        () if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        () if hours < 24 * 365 * 8 => with_rest(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        () => format!("{}y", hours / 24 / 365),
    }
}

/// Age of the RFC 3339 time in `time`, or `<unknown>`.
pub(crate) fn since(time: Option<&Value>, now: Timestamp) -> String {
    match time.and_then(Value::as_str).and_then(|time| time.parse::<Timestamp>().ok()) {
        Some(time) => human_duration(now.as_second().saturating_sub(time.as_second())),
        None => "<unknown>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        let (minute, hour, day, year) = (60, 3600, 86_400, 86_400 * 365);
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (9 * minute + 59, "9m59s"),
            (10 * minute + 30, "10m"),
            (179 * minute, "179m"),
            (3 * hour + 12 * minute, "3h12m"),
            (7 * hour, "7h"),
            (8 * hour + 59 * minute, "8h"),
            (47 * hour, "47h"),
            (48 * hour, "2d"),
            (5 * day + 6 * hour, "5d6h"),
            (8 * day + 5 * hour, "8d"),
            (400 * day, "400d"),
            (2 * year + 3 * day, "2y3d"),
            (9 * year + 3 * day, "9y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds} s");
        }
    }

    #[test]
    fn age_of_an_unreadable_time_is_unknown() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(since(None, now), "<unknown>");
        assert_eq!(since(Some(&Value::from("yesterday")), now), "<unknown>");
        assert_eq!(since(Some(&Value::from("1969-12-31T23:59:30Z")), now), "30s");
    }
}
