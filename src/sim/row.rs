//! One record of the queue table (protocol reference section 1), and how it looks in an answer.

use std::{fmt, fmt::Write as _, sync::Arc};

use jiff::{Timestamp, civil, tz};
use md5::{Digest, Md5};

/// 16 bytes that are written as 32 hex characters: a `MESSAGE_ID` or a `PROCESS_ID`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex(pub [u8; 16]);

impl Hex {
    /// The value of 32 hex characters in lower case; anything else is nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let bytes: &[u8; 32] = text.as_bytes().try_into().ok()?;
        let mut out = [0; 16];
        for (n, pair) in bytes.chunks_exact(2).enumerate() {
            out[n] = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(out))
    }

    /// The `MESSAGE_ID` of an event: the same for every change of one kind on one object.
    pub fn message(event: &str, data: &str) -> Self {
        Self(Md5::new().chain_update(event).chain_update("|").chain_update(data).finalize().into())
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        for (n, byte) in self.0.iter().enumerate() {
            text[2 * n] = b"0123456789abcdef"[usize::from(byte >> 4)];
            text[2 * n + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A record of the queue table.
#[derive(Clone, Debug)]
pub struct Row {
    /// `ID`.
    pub id: u64,
    /// `TIMESTAMP_X`, seconds since 1970.
    pub changed_at: i64,
    /// `MESSAGE_ID`.
    pub message: Hex,
    /// `EVENT_NAME`.
    pub event: Arc<str>,
    /// `EVENT_DATA` as JSON.
    pub data: Box<str>,
    /// No portal should have such a row: `data` is not its data but the members of a JSON object, which it shows behind its
    /// `ID` in the place of everything that a row says of its change.
    pub odd: bool,
    /// `EVENT_ADDITIONAL`: who made the change.
    pub user: Option<u32>,
    /// `PROCESS_ID`; `None` while free.
    pub process: Option<Hex>,
    /// `ERROR`.
    pub error: bool,
}

impl Row {
    /// Appends the row as `event.offline.get` shows it, or, with `full`, as `event.offline.list` does; without its `ID` if
    /// it is `nameless`.
    pub fn write(&self, out: &mut String, zone: &mut Zone, full: bool, nameless: bool) {
        out.push('{');
        if !nameless {
            let _ = write!(out, r#""ID":"{}","#, self.id);
        }
        if self.odd {
            out.push_str(&self.data);
        } else {
            self.write_change(out, zone);
        }
        if full {
            out.push_str(r#","PROCESS_ID":""#);
            if let Some(process) = self.process {
                let _ = write!(out, "{process}");
            }
            let _ = write!(out, r#"","ERROR":"{}""#, u8::from(self.error));
        }
        out.push('}');
    }

    fn write_change(&self, out: &mut String, zone: &mut Zone) {
        let _ = write!(out, r#""TIMESTAMP_X":"{}","EVENT_NAME":""#, zone.format(self.changed_at));
        push_escaped(out, &self.event);
        out.push_str(r#"","EVENT_DATA":"#);
        out.push_str(&self.data);
        match self.user {
            Some(user) => {
                let _ = write!(out, r#","EVENT_ADDITIONAL":{{"user_id":"{user}"}}"#);
            }
            None => out.push_str(r#","EVENT_ADDITIONAL":false"#),
        }
        let _ = write!(out, r#","MESSAGE_ID":"{}""#, self.message);
    }
}

/// Names of events need no escaping, except the ones that somebody made up to see what happens.
fn push_escaped(out: &mut String, text: &str) {
    if text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        out.push_str(text);
    } else {
        let quoted = super::php::quote(text);
        out.push_str(&quoted[1..quoted.len() - 1]);
    }
}

/// The portal's time zone, with the last second that was written: rows of one second come in long runs.
#[derive(Clone, Debug)]
pub struct Zone {
    zone: tz::TimeZone,
    last: Option<(i64, String)>,
}

impl Zone {
    /// A fixed offset in minutes; what is no offset on Earth becomes UTC.
    pub fn new(minutes: i32) -> Self {
        let offset = tz::Offset::from_seconds(minutes.saturating_mul(60)).unwrap_or(tz::Offset::UTC);
        Self { zone: tz::TimeZone::fixed(offset), last: None }
    }

    /// ISO 8601 with the portal's offset, whole seconds.
    pub fn format(&mut self, seconds: i64) -> &str {
        if !matches!(&self.last, Some((at, _)) if *at == seconds) {
            let time = Timestamp::from_second(seconds).unwrap_or_default().to_zoned(self.zone.clone());
            self.last = Some((seconds, time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()));
        }
        self.last.as_ref().map_or("", |(_, text)| text)
    }

    /// Reads a time in a filter; without an offset it is the portal's own.
    pub fn parse(&self, text: &str) -> Option<i64> {
        if let Ok(time) = text.parse::<Timestamp>() {
            return Some(time.as_second());
        }
        let local: civil::DateTime = text.parse().ok()?;
        // A plus that was not escaped in a query arrives as a blank; such a value is refused, not guessed at.
        let offset_lost = text.len() > 19 && text.contains(' ');
        if offset_lost { None } else { local.to_zoned(self.zone.clone()).ok().map(|t| t.timestamp().as_second()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_as_it_is_written() {
        let id = Hex::message("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"123"}}"#);
        assert_eq!(id.to_string().len(), 32);
        assert_ne!(id, Hex::message("ONCRMDEALADD", r#"{"FIELDS":{"ID":"123"}}"#));
        assert_eq!(Hex::parse(&id.to_string()), Some(id));
        for bad in ["", "xyz", &"g".repeat(32), &"A".repeat(32), &"0".repeat(31)] {
            assert_eq!(Hex::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_carry_the_portals_offset() {
        let mut zone = Zone::new(180);
        assert_eq!(zone.format(0), "1970-01-01T03:00:00+03:00");
        assert_eq!(Zone::new(-210).format(0), "1969-12-31T20:30:00-03:30");
        for same in ["1970-01-01T03:00:07+03:00", "1970-01-01T00:00:07Z", "1970-01-01T03:00:07", "1970-01-01 03:00:07"]
        {
            assert_eq!(zone.parse(same), Some(7), "{same}");
        }
        for bad in ["", "yesterday", "1970-01-01T03:00:07 03:00"] {
            assert_eq!(zone.parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_row_is_valid_json_whatever_its_name() {
        let row = Row {
            id: 5,
            changed_at: 0,
            message: Hex([0xab; 16]),
            event: "ON\"X\\".into(),
            data: "false".into(),
            odd: false,
            user: Some(1),
            process: None,
            error: true,
        };
        let mut out = String::new();
        row.write(&mut out, &mut Zone::new(0), true, false);
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["EVENT_NAME"], "ON\"X\\");
        assert_eq!(value["EVENT_DATA"], false);
        assert_eq!(value["EVENT_ADDITIONAL"]["user_id"], "1");
        assert_eq!((&value["PROCESS_ID"], &value["ERROR"], &value["ID"]), (&"".into(), &"1".into(), &"5".into()));
    }
}
