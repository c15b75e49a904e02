//! The forms of values: what a key may hold, said once for reading it, for the fault and for the documentation.

use std::{fs::File, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use figment::value::Value;
use url::Url;

use super::source;

/// A value as it was given.
#[derive(Clone, Copy)]
pub(super) struct Given<'v> {
    /// The value.
    pub value: &'v Value,
    /// Whether it is the text of a variable, from which numbers, switches and lists are still to be read.
    pub variable: bool,
}

/// What a key may hold.
pub(super) trait Form {
    /// What it becomes.
    type Out;

    /// What would be right, as a phrase: `a whole number from 1 to 9`.
    fn right(&self) -> String;

    /// Reads a value; the error says what is wrong, to be read behind the key, and holds no secret.
    fn read(&self, given: Given<'_>) -> Result<Self::Out, String>;
}

impl Given<'_> {
    /// The value as a text.
    pub fn text(self) -> Result<String, String> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| format!("is {}", kind(self.value)))
    }

    /// The value as a list.
    pub fn list(self) -> Result<Vec<Value>, String> {
        self.structured()?.into_array().ok_or_else(|| format!("is {}", kind(self.value)))
    }

    /// The value itself, or for a variable what its TOML says.
    pub fn structured(self) -> Result<Value, String> {
        match (self.variable, self.value.as_str()) {
            (true, Some(text)) => {
                source::parse_value(text).map_err(|message| format!("holds no valid TOML: {message}"))
            }
            _ => Ok(self.value.clone()),
        }
    }
}

/// What sort of value it is, for faults.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "a text",
        Value::Bool(..) => "true or false",
        Value::Num(..) if value.to_i128().is_some() => "a whole number",
        Value::Num(..) => "a number with a fraction",
        Value::Empty(..) => "empty",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    }
}

/// A value in a fault, shortened.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A text that must not be empty.
pub(super) struct Text;

impl Form for Text {
    type Out = String;

    fn right(&self) -> String {
        "a text that is not empty".into()
    }

    fn read(&self, given: Given<'_>) -> Result<String, String> {
        let text = given.text()?;
        if text.trim().is_empty() { Err("is empty".into()) } else { Ok(text) }
    }
}

/// Any text, the empty one included.
pub(super) struct AnyText;

impl Form for AnyText {
    type Out = String;

    fn right(&self) -> String {
        "a text".into()
    }

    fn read(&self, given: Given<'_>) -> Result<String, String> {
        given.text()
    }
}

/// A text that a function checks: its phrase, and the function that turns it into a value or says what is wrong.
pub(super) struct Checked<T>(pub &'static str, pub fn(&str) -> Result<T, String>);

impl<T> Form for Checked<T> {
    type Out = T;

    fn right(&self) -> String {
        self.0.into()
    }

    fn read(&self, given: Given<'_>) -> Result<T, String> {
        (self.1)(&given.text()?)
    }
}

/// A whole number within bounds.
pub(super) struct Whole(pub RangeInclusive<i32>);

impl Form for Whole {
    type Out = i32;

    fn right(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }

    fn read(&self, given: Given<'_>) -> Result<i32, String> {
        let number = match (given.variable, given.value.as_str()) {
            (true, Some(text)) => text.trim().parse::<i128>().map_err(|_| format!("is {}", quote(text)))?,
            _ => given.value.to_i128().ok_or_else(|| format!("is {}", kind(given.value)))?,
        };
        let fits = i32::try_from(number).ok().filter(|number| self.0.contains(number));
        fits.ok_or_else(|| format!("is {number}"))
    }
}

/// `true` or `false`.
pub(super) struct Switch;

impl Form for Switch {
    type Out = bool;

    fn right(&self) -> String {
        "true or false".into()
    }

    fn read(&self, given: Given<'_>) -> Result<bool, String> {
        match (given.variable, given.value.as_str()) {
            (true, Some("true")) => Ok(true),
            (true, Some("false")) => Ok(false),
            (true, Some(text)) => Err(format!("is {}", quote(text))),
            _ => given.value.to_bool().ok_or_else(|| format!("is {}", kind(given.value))),
        }
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Clone> Form for Choice<T> {
    type Out = T;

    fn right(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| format!("{word:?}")).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }

    fn read(&self, given: Given<'_>) -> Result<T, String> {
        let text = given.text()?;
        let found = self.0.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| value.clone()).ok_or_else(|| format!("is {}", quote(&text)))
    }
}

/// A duration within bounds: a whole number and its unit, `"10s"`.
pub(super) struct Span(pub Duration, pub Duration);

impl Form for Span {
    type Out = Duration;

    fn right(&self) -> String {
        format!("a duration such as \"10s\", \"500ms\" or \"5m\", from {} to {}", show(self.0), show(self.1))
    }

    fn read(&self, given: Given<'_>) -> Result<Duration, String> {
        let Some(text) = given.value.as_str() else {
            let unit = if given.value.to_i128().is_some() { " without a unit" } else { "" };
            return Err(format!("is {}{unit}", kind(given.value)));
        };
        let wrong = || format!("is {}", quote(text));
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => return Err(wrong()),
        };
        let span = millis.map(Duration::from_millis).filter(|span| (self.0..=self.1).contains(span));
        span.ok_or_else(wrong)
    }
}

/// A duration in the largest unit that needs no fraction.
fn show(span: Duration) -> String {
    match span.as_millis() {
        ms if ms > 0 && ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms > 0 && ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

/// A number of bytes within bounds: a whole number and its unit, `"64MiB"`.
pub(super) struct Size(pub u64, pub u64);

impl Form for Size {
    type Out = u64;

    fn right(&self) -> String {
        format!("a size such as \"64MiB\" or \"512KiB\", from {}KiB to {}MiB", self.0 >> 10, self.1 >> 20)
    }

    fn read(&self, given: Given<'_>) -> Result<u64, String> {
        let text = given.text()?;
        let wrong = || format!("is {}", quote(&text));
        let (number, unit) = split_unit(&text).ok_or_else(wrong)?;
        let factor: u64 = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).filter(|bytes| (self.0..=self.1).contains(bytes)).ok_or_else(wrong)
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

/// An address to listen on.
pub(super) struct Listen;

impl Form for Listen {
    type Out = SocketAddr;

    fn right(&self) -> String {
        "an IP address and a port such as \"0.0.0.0:8080\" or \"[::]:8080\"".into()
    }

    fn read(&self, given: Given<'_>) -> Result<SocketAddr, String> {
        let text = given.text()?;
        text.parse().map_err(|_| format!("is {}", quote(&text)))
    }
}

/// An absolute URL without user, query and fragment.
pub(super) struct Link {
    /// Whether plain http will do.
    pub http: bool,
}

impl Form for Link {
    type Out = Url;

    fn right(&self) -> String {
        let scheme = if self.http { "an http or https" } else { "an https" };
        format!("{scheme} URL without user, query and fragment, such as \"https://example.bitrix24.com/\"")
    }

    fn read(&self, given: Given<'_>) -> Result<Url, String> {
        self.check(&given.text()?)
    }
}

impl Link {
    /// Reads a URL.
    pub fn check(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|error| format!("is no URL ({error})"))?;
        match url.scheme() {
            "https" => {}
            "http" if self.http => {}
            "http" => return Err("is plain http, which app.allow_http = false forbids".into()),
            _ => return Err("is neither http nor https".into()),
        }
        // Not shown: what stands here may be a password.
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a user or a password".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or a fragment".into());
        }
        Ok(url)
    }
}

/// A file that is there and can be read.
pub(super) struct Readable;

impl Form for Readable {
    type Out = PathBuf;

    fn right(&self) -> String {
        "the path of a readable file".into()
    }

    fn read(&self, given: Given<'_>) -> Result<PathBuf, String> {
        let path = PathBuf::from(Text.read(given)?);
        File::open(&path).map_err(|error| format!("names {}, which cannot be read ({error})", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<F: Form>(form: &F, value: impl Into<Value>, variable: bool) -> Result<F::Out, String> {
        form.read(Given { value: &value.into(), variable })
    }

    #[test]
    fn durations_have_a_unit_and_bounds() {
        let form = Span(Duration::from_millis(100), Duration::from_secs(3600));
        for (text, ms) in [("100ms", 100), ("10s", 10_000), (" 5 m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(read(&form, text, false), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "10", "s", "10 days", "-1s", "1.5s", "99ms", "2h", "99999999999999999999s", "5124095576030432h"]
        {
            assert!(read(&form, text, false).is_err(), "{text}");
        }
        assert_eq!(read(&form, 10, false), Err("is a whole number without a unit".into()));
        assert!(form.right().ends_with("from 100ms to 1h"), "{}", form.right());
    }

    #[test]
    fn sizes_have_a_unit_and_bounds() {
        let form = Size(1 << 10, 1 << 30);
        assert_eq!(read(&form, "64MiB", false), Ok(64 << 20));
        assert_eq!(read(&form, "1024B", false), Ok(1024));
        for text in ["64", "64MB", "1B", "2GiB", "99999999999GiB", "18446744073709551615GiB"] {
            assert!(read(&form, text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_is_text_from_which_the_form_is_read() {
        assert_eq!(read(&Whole(1..=9), "7", true), Ok(7));
        assert_eq!(read(&Whole(1..=9), "7", false), Err("is a text".into()));
        assert_eq!(read(&Whole(1..=9), 10, false), Err("is 10".into()));
        assert_eq!(read(&Whole(1..=9), 1.5, false), Err("is a number with a fraction".into()));
        assert_eq!(read(&Switch, "true", true), Ok(true));
        assert_eq!(read(&Switch, "true", false), Err("is a text".into()));
        assert_eq!(read(&Text, "007", true), Ok("007".into()));
    }

    #[test]
    fn links_never_show_a_password() {
        let link = Link { http: false };
        let wrong = read(&link, "https://user:s3cr3t@example.com/", false).expect_err("a password");
        assert!(!wrong.contains("s3cr3t"));
        for bad in ["http://a/", "ftp://a/", "a", "https://a/?q", "https://a/#f", "https://", ""] {
            assert!(read(&link, bad, false).is_err(), "{bad}");
        }
        assert!(read(&Link { http: true }, "http://127.0.0.1:1/rest/", false).is_ok());
    }
}
