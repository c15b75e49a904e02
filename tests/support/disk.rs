//! A disk that can be filled and freed again.
//!
//! It is a small file system in memory, mounted in a name space of its own that the bridge joins: nothing of it is to be
//! seen elsewhere, and it is gone with the process that holds it. Where the kernel lets nobody do that, the bridge's files
//! may grow no longer instead, which ends its writes in the same place; its name says which it was. Rights would not do:
//! who runs as root may write anywhere.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::process::Guarded;

/// Room for the lock, a record and one that is being written; pages of 4 KiB.
const SIZE: &str = "size=64k,mode=700";

/// The file system of a directory.
pub enum Disk {
    /// A file system in memory, and the process whose name space it is in.
    Small(Guarded, PathBuf),
    /// A limit on the size of files.
    Limited,
}

impl Disk {
    /// Puts a small file system under a directory, if the kernel lets it.
    pub fn under(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("the registry's directory");
        let mount = format!("mount -t tmpfs -o {SIZE} none \"$1\" && echo mounted && exec sleep 3600");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"]).arg(dir);
        let mut holder = Guarded::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()));
        let mut said = String::new();
        let out = holder.child().stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut said).expect("a line, or the end");
        if said.trim() == "mounted" {
            let seen = PathBuf::from(format!("/proc/{}/root{}", holder.id(), dir.display()));
            Self::Small(holder, seen)
        } else {
            Self::Limited
        }
    }

    /// What it is.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Small(..) => "a full tmpfs",
            Self::Limited => "RLIMIT_FSIZE",
        }
    }

    /// What the bridge is to be started with.
    pub fn prefix(&self) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Small(holder, _) => {
                let id = holder.id().to_string();
                return ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", &id]
                    .map(str::to_owned)
                    .into();
            }
            // The signal that comes with the limit would end it.
            Self::Limited => &["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// From now on no byte can be written.
    pub fn fill(&self, bridge: u32) {
        match self {
            Self::Small(_, seen) => {
                let mut filler = File::options().create(true).append(true).open(seen.join("filler")).expect("a file");
                while filler.write_all(&[0; 512]).is_ok() {}
            }
            Self::Limited => limit(bridge, "0:"),
        }
    }

    /// There is room again.
    pub fn free(&self, bridge: u32) {
        match self {
            Self::Small(_, seen) => fs::remove_file(seen.join("filler")).expect("removed"),
            Self::Limited => limit(bridge, "unlimited:"),
        }
    }

    /// A portal's record as it is stored.
    pub fn stored(&self, dir: &Path, member_id: &str) -> String {
        let dir = match self {
            Self::Small(_, seen) => seen,
            Self::Limited => dir,
        };
        fs::read_to_string(dir.join(format!("{member_id}.json"))).expect("the portal's record")
    }
}

fn limit(process: u32, fsize: &str) {
    let done = Command::new("prlimit").arg(format!("--pid={process}")).arg(format!("--fsize={fsize}")).status();
    assert!(done.is_ok_and(|status| status.success()), "prlimit");
}
