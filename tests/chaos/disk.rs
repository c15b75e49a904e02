//! The disk that the registry lives on is full.
//!
//! It is a small file system in memory, mounted in a name space of its own that the bridge joins: nothing of it is to be
//! seen elsewhere, and it is gone with the process that holds it. Where the kernel lets nobody do that, the bridge's files
//! may grow no longer instead, which ends its writes in the same place; the table says which it was.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use b24kafka::sim::{Fault, Portal, Trouble};
use secrecy::ExposeSecret as _;

use super::{
    plan,
    stage::{ADMIN_TOKEN, Setup, Stage},
    support::{
        broker::{Broker, Options},
        process::Guarded,
    },
};

/// Room for the lock, a record and one that is being written; pages of 4 KiB.
const SIZE: &str = "size=64k,mode=700";

enum Disk {
    /// A file system in memory, and the process whose name space it is in.
    Small(Guarded, PathBuf),
    /// A limit on the size of files.
    Limited,
}

impl Disk {
    fn under(dir: &Path) -> Self {
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

    fn name(&self) -> &'static str {
        match self {
            Self::Small(..) => "a full tmpfs",
            Self::Limited => "RLIMIT_FSIZE",
        }
    }

    /// What the bridge is to be started with.
    fn prefix(&self) -> Vec<String> {
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
    fn fill(&self, bridge: u32) {
        match self {
            Self::Small(_, seen) => {
                let mut filler = File::options().create(true).append(true).open(seen.join("filler")).expect("a file");
                while filler.write_all(&[0; 512]).is_ok() {}
            }
            Self::Limited => limit(bridge, "0:"),
        }
    }

    /// There is room again.
    fn free(&self, bridge: u32) {
        match self {
            Self::Small(_, seen) => fs::remove_file(seen.join("filler")).expect("removed"),
            Self::Limited => limit(bridge, "unlimited:"),
        }
    }

    /// A portal's record as it is stored.
    fn stored(&self, dir: &Path, portal: &Portal) -> String {
        let dir = match self {
            Self::Small(_, seen) => seen,
            Self::Limited => dir,
        };
        fs::read_to_string(dir.join(format!("{}.json", portal.member_id()))).expect("the portal's record")
    }
}

fn limit(process: u32, fsize: &str) {
    let done = Command::new("prlimit").arg(format!("--pid={process}")).arg(format!("--fsize={fsize}")).status();
    assert!(done.is_ok_and(|status| status.success()), "prlimit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_the_registry_is_full() {
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new()));
    let mut stage = Stage::new("disk of the registry full", &broker.bootstrap(), Setup::default()).await;
    let registry = stage.bridge.registry();
    let disk = tokio::task::block_in_place(|| Disk::under(&registry));
    // A limit on the size of files would end the trace as well.
    if matches!(disk, Disk::Small(..)) {
        stage.bridge.record();
    }
    tokio::task::block_in_place(|| {
        stage.bridge.start_under(&disk.prefix());
        stage.bridge.wait_ready();
    });
    let portals: Vec<Portal> = stage.sim.portals().collect();
    let rounds = plan::size(2, 10);
    for round in 0..rounds {
        stage.flows(200).await;
        let refused = || stage.bridge.metric("b24kafka_token_refreshes_total{outcome=\"not_stored\"}");
        let (before, bridge) = (refused(), stage.bridge.id());
        let asked: Vec<u64> = portals.iter().map(|portal| portal.requests().oauth).collect();
        if round % 2 == 0 {
            // Full before the refresh begins: its intent cannot be stored, so nobody is asked.
            disk.fill(bridge);
            portals.iter().for_each(Portal::expire_tokens);
        } else {
            // Full while the server is being asked: the pair that it grants cannot be stored.
            portals.iter().for_each(|portal| {
                portal.add_fault(Fault::new(Trouble::Slow(Duration::from_secs(2))).on("oauth").times(1));
                portal.expire_tokens();
            });
            let all_asked = || portals.iter().zip(&asked).all(|(portal, before)| portal.requests().oauth > *before);
            stage.until("the server is asked", all_asked).await;
            disk.fill(bridge);
        }
        stage.until("storing fails", || refused() >= before + 2.0).await;
        stage.stands_still(Duration::from_secs(2)).await;
        let still: Vec<u64> = portals.iter().map(|portal| portal.requests().oauth).collect();
        if round % 2 == 0 {
            assert_eq!(still, asked, "a refresh whose intent is not stored");
        }
        disk.free(bridge);
        for portal in &portals {
            stage.bridge.poll(&portal.member_id(), ADMIN_TOKEN);
        }
        stage.flows(200).await;
        let once = portals.iter().zip(&asked).all(|(portal, before)| portal.requests().oauth == before + 1);
        assert!(once, "one refresh for each portal, whatever could be stored when");
        for portal in &portals {
            let stored = disk.stored(&registry, portal);
            let pair = [portal.access_token(), portal.refresh_token()];
            assert!(pair.iter().all(|token| stored.contains(token.expose_secret())), "the living pair is stored");
        }
    }
    stage.end(&broker.bootstrap(), rounds, disk.name().to_owned()).await;
}
