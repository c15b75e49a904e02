//! The disk that the registry lives on is full.

use std::time::Duration;

use b24kafka::sim::{Fault, Portal, Trouble};
use secrecy::ExposeSecret as _;

use super::{
    plan,
    stage::{ADMIN_TOKEN, Setup, Stage},
    support::{
        broker::{Broker, Options},
        disk::Disk,
    },
};

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
            let stored = disk.stored(&registry, &portal.member_id());
            let pair = [portal.access_token(), portal.refresh_token()];
            assert!(pair.iter().all(|token| stored.contains(token.expose_secret())), "the living pair is stored");
        }
    }
    stage.end(&broker.bootstrap(), rounds, disk.name().to_owned()).await;
}
