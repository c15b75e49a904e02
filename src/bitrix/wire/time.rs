//! Points in time as a portal writes them: ISO 8601 with its offset, whole seconds.

use crate::protocol::types::PortalTime;

/// Seconds since 1970 (UTC); `None` if it is no such time.
///
/// The usual form is read by hand, since every row has one; whatever else is a time is left to `jiff`.
pub fn unix_seconds(text: &str) -> Option<i64> {
    usual(text.as_bytes()).or_else(|| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second))
}

/// The same with the offset that it is written with.
pub fn portal_time(text: &str) -> Option<PortalTime> {
    let seconds = unix_seconds(text)?;
    let offset = match text.as_bytes() {
        [.., sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let offset = i32::try_from(pair(h1, h2)? * 3600 + pair(m1, m2)? * 60).ok()?;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => 0,
    };
    Some(PortalTime { seconds, offset })
}

/// A time as a portal writes it; `None` for one that no calendar has.
pub fn write(time: PortalTime) -> Option<String> {
    let offset = jiff::tz::Offset::from_seconds(time.offset).ok()?;
    let at = jiff::Timestamp::from_second(time.seconds).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::fixed(offset)).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
}

/// `2026-11-24T10:15:30+03:00`, and only what needs no further thought: the last days of months do.
fn usual(text: &[u8]) -> Option<i64> {
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        b'T',
        h1,
        h2,
        b':',
        i1,
        i2,
        b':',
        s1,
        s2,
        sign,
        o1,
        o2,
        b':',
        p1,
        p2,
    ] = text
    else {
        return None;
    };
    let year = pair(y1, y2)? * 100 + pair(y3, y4)?;
    let (month, day) = (within(pair(m1, m2)?, 1, 12)?, within(pair(d1, d2)?, 1, 28)?);
    let hour = within(pair(h1, h2)?, 0, 23)?;
    let (minute, second) = (within(pair(i1, i2)?, 0, 59)?, within(pair(s1, s2)?, 0, 59)?);
    let offset = within(pair(o1, o2)?, 0, 23)? * 3600 + within(pair(p1, p2)?, 0, 59)? * 60;
    let offset = match sign {
        b'+' => offset,
        b'-' => -offset,
        _ => return None,
    };
    let year = within(year, 1, 9998)?;
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar; the year is counted from March so that the leap day is last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

fn pair(tens: &u8, ones: &u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
}

fn within(number: i64, from: i64, to: i64) -> Option<i64> {
    (from..=to).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_usual_forms() {
        for (text, want) in [
            ("1970-01-01T00:00:00+00:00", Some(0)),
            ("2026-11-24T13:15:30+03:00", Some(1_795_515_330)),
            ("2026-11-24T10:15:30Z", Some(1_795_515_330)),
            ("2024-02-29T12:00:00-05:00", Some(1_709_226_000)),
            ("2023-02-29T12:00:00-05:00", None),
            ("0000-00-00T00:00:00+00:00", None),
            ("2026-13-01T00:00:00+00:00", None),
            ("2026-11-24 10:15:30", None),
            ("", None),
            ("2026-11-24T10:15:30+03:0é", None),
        ] {
            assert_eq!(unix_seconds(text), want, "{text}");
        }
    }

    #[test]
    fn a_time_goes_back_to_the_portal_as_it_came() {
        for text in ["2026-11-24T13:15:30+03:00", "1969-12-31T20:30:00-03:30", "2026-02-28T23:59:59+00:00"] {
            assert_eq!(portal_time(text).and_then(write).as_deref(), Some(text));
        }
        let time = portal_time("2026-11-24T13:15:30+03:00").expect("a time");
        assert_eq!(time, PortalTime { seconds: 1_795_515_330, offset: 10_800 });
        assert_eq!(write(time.before(31)).as_deref(), Some("2026-11-24T13:14:59+03:00"));
        assert_eq!(portal_time("2026-11-24T10:15:30Z"), Some(PortalTime { seconds: 1_795_515_330, offset: 0 }));
        assert_eq!(portal_time("soon"), None);
        assert_eq!(write(PortalTime { seconds: i64::MAX, offset: 0 }), None);
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_the_long_one(
            (y, m, d) in (0_u16..=9999, 0_u8..=13, 0_u8..=32),
            (h, i, s) in (0_u8..=24, 0_u8..=60, 0_u8..=61),
            (o, p, sign) in (0_u8..=14, 0_u8..=59, "[+-]"),
        ) {
            let text = format!("{y:04}-{m:02}-{d:02}T{h:02}:{i:02}:{s:02}{sign}{o:02}:{p:02}");
            if let Some(seconds) = usual(text.as_bytes()) {
                prop_assert_eq!(Some(seconds), text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,30}") {
            let _ = unix_seconds(&text);
        }
    }
}
