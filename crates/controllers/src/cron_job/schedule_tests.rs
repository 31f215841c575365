#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn the_next_time_follows_the_fields() {
    let table = [
        ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
        ("*/15 * * * *", "2026-01-01T00:14:59Z", "2026-01-01T00:15:00Z"),
        ("5/20 * * * *", "2026-01-01T00:05:00Z", "2026-01-01T00:25:00Z"),
        ("0 9-17/4 * * *", "2026-01-01T09:00:00Z", "2026-01-01T13:00:00Z"),
        ("30 2 * * mon-fri", "2026-01-02T03:00:00Z", "2026-01-05T02:30:00Z"),
        ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("0 0 1 jan,JUL *", "2026-01-01T00:00:00Z", "2026-07-01T00:00:00Z"),
        // Both day fields given: either is enough.
        ("0 0 13 * fri", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("0 0 13 * fri", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z"),
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("@hourly", "2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z"),
        ("@daily", "2026-01-01T00:30:00Z", "2026-01-02T00:00:00Z"),
        ("@weekly", "2026-01-01T00:30:00Z", "2026-01-04T00:00:00Z"),
        ("@monthly", "2026-01-01T00:30:00Z", "2026-02-01T00:00:00Z"),
        ("@yearly", "2026-01-01T00:30:00Z", "2027-01-01T00:00:00Z"),
        ("@every 90s", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"),
    ];
    for (text, after, expected) in table {
        let next = Schedule::parse(text).unwrap().next(at(after), &TimeZone::UTC);
        assert_eq!(next, Some(at(expected)), "{text} after {after}");
    }
    assert_eq!(Schedule::parse("0 0 30 2 *").unwrap().next(at("2026-01-01T00:00:00Z"), &TimeZone::UTC), None);
}

#[test]
fn what_is_no_schedule_is_refused_with_the_reason() {
    for text in [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "a * * * *",
        "@often",
        "@every 0s",
        "-1 * * * *",
        "99999999999 * * * *",
    ] {
        let refused = Schedule::parse(text);
        assert!(refused.as_ref().is_err_and(|why| !why.is_empty()), "{text}: {refused:?}");
    }
}

#[test]
fn clock_changes_neither_skip_a_day_nor_run_twice() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let daily = Schedule::parse("30 2 * * *").unwrap();
    // 2026-03-29: 02:30 does not exist.
    assert_eq!(daily.next(at("2026-03-28T02:00:00Z"), &berlin), Some(at("2026-03-30T00:30:00Z")));
    // 2026-10-25: 02:30 comes twice, the first counts.
    let first = daily.next(at("2026-10-24T12:00:00Z"), &berlin).unwrap();
    assert_eq!(first, at("2026-10-25T00:30:00Z"));
    assert_eq!(daily.next(first, &berlin), Some(at("2026-10-26T01:30:00Z")));
    // Every hour means every hour.
    let hourly = Schedule::parse("30 * * * *").unwrap();
    assert_eq!(hourly.next(first, &berlin), Some(at("2026-10-25T01:30:00Z")));
}

#[test]
fn the_last_missed_time_is_found_however_long_ago() {
    let table = [
        ("*/5 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:12:00Z", Some("2026-01-01T00:10:00Z")),
        ("*/5 * * * *", "2020-01-01T00:00:00Z", "2026-01-01T00:12:00Z", Some("2026-01-01T00:10:00Z")),
        ("0 0 1 1 *", "2020-01-01T00:00:00Z", "2026-06-01T00:00:00Z", Some("2026-01-01T00:00:00Z")),
        ("0 0 1 1 *", "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z", None),
        ("@every 1h", "2026-01-01T00:10:00Z", "2026-01-01T02:30:00Z", Some("2026-01-01T02:10:00Z")),
    ];
    for (text, after, until, expected) in table {
        let last = Schedule::parse(text).unwrap().last_in(at(after), at(until), &TimeZone::UTC);
        assert_eq!(last, expected.map(at), "{text} in ({after}, {until}]");
    }
}
