//! Secrets: given as `x`, or in a file named by `x_file`, never both and never shown.

use std::{io::Read as _, path::Path};

use secrecy::SecretString;

use super::{
    form::{Form, Given, Text},
    reader::{Named, Section},
};

/// A secret is a line; a larger file is not one.
const FILE_LIMIT: u64 = 64 << 10;

/// A key and its twin for a file.
#[derive(Clone, Copy)]
pub(super) struct Secret {
    /// The key itself.
    pub key: Named,
    /// The key that names a file.
    pub file: Named,
}

impl Secret {
    /// Reads a secret that has to be given.
    pub fn required(self, section: &mut Section<'_, '_>) -> Option<SecretString> {
        let given = section.has(self.key.0) || section.has(self.file.0);
        let secret = self.optional(section)?;
        if !given {
            section.missing(self.key.0, &format!("give it here, or a file that holds it as {}", self.file.0));
        }
        secret
    }

    /// Reads a secret that may be left out; the outer `None` is a fault.
    pub fn optional(self, section: &mut Section<'_, '_>) -> Option<Option<SecretString>> {
        section.learn(self.key, Plain.right(), None, false);
        section.learn(self.file, FromFile.right(), None, false);
        let plain = section.take(self.key.0);
        let file = section.take(self.file.0);
        match (plain, file) {
            (None, None) => Some(None),
            (Some((value, place)), None) => section.read(self.key.0, &Plain, &value, place).map(Some),
            (None, Some((value, place))) => section.read(self.file.0, &FromFile, &value, place).map(Some),
            (Some((_, other)), Some(_)) => {
                let wrong = format!("is given together with {} ({other})", self.key.0);
                section.fault(self.file.0, wrong, "keep one of the two");
                None
            }
        }
    }
}

/// The secret itself.
struct Plain;

impl Form for Plain {
    type Out = SecretString;

    fn right(&self) -> String {
        "a secret as a text that is not empty".into()
    }

    fn read(&self, given: Given<'_>) -> Result<SecretString, String> {
        Text.read(given).map(SecretString::from)
    }
}

/// The secret in a file.
struct FromFile;

impl Form for FromFile {
    type Out = SecretString;

    fn right(&self) -> String {
        "the path of a file that holds the secret".into()
    }

    fn read(&self, given: Given<'_>) -> Result<SecretString, String> {
        let path = Text.read(given)?;
        from_file(Path::new(&path)).map_err(|wrong| {
            // Which file a relative path leads to depends on where the program was started.
            match std::path::absolute(&path) {
                Ok(whole) if whole != Path::new(&path) => {
                    format!("names {path}, here {}, which {wrong}", whole.display())
                }
                _ => format!("names {path}, which {wrong}"),
            }
        })
    }
}

/// The secret that a file holds, without the newline at its end.
///
/// # Errors
/// What is wrong with the file, to be read behind its path; it holds nothing of the file.
pub fn from_file(path: &Path) -> Result<SecretString, String> {
    from_reader(std::fs::File::open(path).map_err(unreadable)?)
}

/// The secret that a file or a stream holds, see [`from_file`].
///
/// # Errors
/// As [`from_file`].
pub fn from_reader(reader: impl std::io::Read) -> Result<SecretString, String> {
    let mut bytes = Vec::new();
    reader.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(format!("is larger than {} KiB", FILE_LIMIT >> 10));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    // Editors and `echo` end a file with a newline, which belongs to no secret.
    let secret = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
    if secret.trim().is_empty() {
        return Err("is empty".into());
    }
    Ok(SecretString::from(secret.to_owned()))
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read ({error})")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn one_trailing_newline_is_no_part_of_a_secret() {
        let dir = tempfile::tempdir().expect("a directory");
        let read = |bytes: &[u8]| {
            let path = dir.path().join("secret");
            std::fs::write(&path, bytes).expect("written");
            from_file(&path).map(|secret| secret.expose_secret().to_owned())
        };
        assert_eq!(read(b"abc"), Ok("abc".into()));
        assert_eq!(read(b"abc\n"), Ok("abc".into()));
        assert_eq!(read(b"abc\r\n"), Ok("abc".into()));
        assert_eq!(read(b" a c \n\n"), Ok(" a c \n".into()));
        assert_eq!(read(b"\n"), Err("is empty".into()));
        assert_eq!(read(b""), Err("is empty".into()));
        assert_eq!(read(b"\xff"), Err("is not UTF-8".into()));
        assert!(read(&[b'a'; 70_000]).is_err());
        assert!(from_file(dir.path()).is_err());
        assert!(from_file(&dir.path().join("none")).is_err());
    }
}
