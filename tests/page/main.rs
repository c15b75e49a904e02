//! The status page in a real browser, served by the real binary.

mod browser;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use b24kafka::sim::{Options, Portal, Sim};
use browser::Browser;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use support::{bridge::Bridge, disk::Disk};

const PATIENCE: Duration = Duration::from_secs(60);
/// A name that would be a script if anybody believed it.
const EVIL: &str = "ON<IMG SRC=X ONERROR=DOCUMENT.TITLE='OWNED'>";

struct Stage {
    sim: Sim,
    broker: MockCluster<'static, DefaultProducerContext>,
    bridge: Bridge,
}

impl Stage {
    async fn start(portals: usize) -> Self {
        Self::start_on(portals, |_| None).await
    }

    /// With the registry on a disk, if there is one; the bridge is started with what that takes.
    async fn start_on(portals: usize, disk: impl FnOnce(&Bridge) -> Option<Vec<String>>) -> Self {
        let sim = Sim::start(Options { portals, ..Options::default() }).await.expect("a simulator");
        let broker = MockCluster::new(1).expect("a mock broker");
        for topic in ["bitrix24.crm.deal", "bitrix24.other", "bitrix24.dead-letter"] {
            broker.create_topic(topic, 1, 1).expect("a topic");
        }
        let portals = sim.configuration("unlimited", portals);
        let mut bridge = Bridge::configured(&format!(
            "{portals}\n[fetch]\npoll_min = \"100ms\"\npoll_max = \"1s\"\n[kafka]\nbootstrap_servers = \"{}\"\n\
             message_timeout = \"5s\"\noptions = {{ \"message.max.bytes\" = \"20000\" }}\n",
            broker.bootstrap_servers()
        ));
        tokio::task::block_in_place(|| {
            let prefix = disk(&bridge).unwrap_or_default();
            bridge.start_under(&prefix);
            bridge.wait_ready();
        });
        Self { sim, broker, bridge }
    }

    fn portal(&self, number: usize) -> Portal {
        self.sim.portal(number).expect("a portal")
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.bridge.admin())
    }
}

/// What a browser shows of something the page has a name for, in the overview.
async fn state_of(browser: &Browser, name: &str) -> String {
    let script = "const name = [...document.querySelectorAll('#live dt')].find(dt => dt.textContent.trim() === '{}');\
        return name ? name.nextElementSibling.innerText : ''";
    browser.js(&script.replace("{}", name)).await.as_str().unwrap_or_default().to_owned()
}

fn deals(portal: &Portal, ids: std::ops::Range<u32>) {
    for id in ids {
        portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_tells_the_truth_without_being_loaded_anew() {
    let stage = Stage::start(3).await;
    let browser = Browser::open(1200, 1400).await;
    browser.goto(&stage.url("/")).await;
    browser.says("All is well.").await;
    browser.js("window.kept = true").await;

    deals(&stage.portal(0), 0..1234);
    browser.says("1\u{202f}234").await;
    browser.says("answers and acknowledges").await;

    let evil = format!(r#"{{"T":"{}"}}"#, "x".repeat(30_000));
    let row = stage.portal(1).emit(EVIL, &evil, "");
    browser.says("larger than Kafka takes (too_large)").await;
    browser.says(EVIL).await;
    browser.says("Dead letters\n1\n").await;
    assert_eq!(browser.js("return document.querySelectorAll('#live img').length").await, 0, "it is text");
    assert!(browser.js("return document.title").await.as_str().is_some_and(|title| !title.contains("OWNED")));

    stage.portal(2).revoke_tokens();
    browser.says("parked: it cannot be served until something changes (needs_reinstall)").await;
    browser.says("Warning: one portal is parked").await;
    browser.picture("overview-warned.png").await;

    stage.broker.broker_down(1).expect("down");
    deals(&stage.portal(0), 2000..2010);
    browser.says("Problem: the Kafka broker does not answer").await;
    browser.says("does not answer").await;
    browser.picture("overview-ill.png").await;
    stage.broker.broker_up(1).expect("up");
    browser.says("1\u{202f}244").await;

    assert_eq!(browser.js("return window.kept").await, true, "nothing was loaded anew");
    assert!(stage.portal(1).ledger().entries().iter().any(|entry| entry.id == row));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_cannot_be_written_is_told_in_words_and_so_is_that_it_can_again() {
    let mut disk = None;
    let stage = Stage::start_on(1, |bridge| Some(disk.insert(Disk::under(&bridge.registry())).prefix())).await;
    let disk = disk.expect("a disk");
    println!("the registry is on {}", disk.name());
    let portal = stage.portal(0);
    let browser = Browser::open(1200, 1400).await;
    browser.goto(&stage.url("/")).await;
    browser.says("All is well.").await;
    assert_eq!(state_of(&browser, "Registry").await, "can be written");
    browser.js("window.kept = true").await;

    disk.fill(stage.bridge.id());
    portal.expire_tokens();
    deals(&portal, 0..10);
    browser.says("Warning: the registry cannot be written, so new tokens and portals are not kept: ").await;
    assert_eq!(state_of(&browser, "Registry").await, "cannot be written");
    let text = browser.text().await;
    assert!(!text.contains("All is well."), "{text}");
    browser.picture("overview-registry.png").await;

    disk.free(stage.bridge.id());
    browser.says("All is well.").await;
    assert_eq!(state_of(&browser, "Registry").await, "can be written");
    assert!(portal.wait_until_empty(PATIENCE).await, "its new token is stored and used");
    assert_eq!(browser.js("return window.kept").await, true, "nothing was loaded anew");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_used_with_keys_and_read_by_a_screen_reader() {
    let stage = Stage::start(2).await;
    stage.portal(1).revoke_tokens();
    let browser = Browser::open(1200, 1400).await;
    browser.goto(&stage.url("/")).await;
    browser.says("needs_reinstall").await;

    // The first key leads past the head of the page, and the search needs no mouse.
    let active = browser.client.active_element().await.expect("an element");
    active.send_keys("\u{e004}").await.expect("a tab");
    assert_eq!(browser.js("return document.activeElement.textContent").await, "To the content");
    let search = browser.client.find(fantoccini::Locator::Css("input[type=search]")).await.expect("the search");
    let member = stage.portal(0).member_id();
    search.send_keys(&member).await.expect("typed");
    // It keeps what is typed while the rest is replaced.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(browser.js("return document.activeElement.value").await, member.as_str());
    search.send_keys("\u{e007}").await.expect("enter");
    browser.says("1 of 2, page 1 of 1").await;

    let link = browser.client.find(fantoccini::Locator::Css("#live td a")).await.expect("a portal");
    link.click().await.expect("clicked");
    browser.says("Last success").await;
    browser.says(&member).await;
    browser.goto(&stage.url(&format!("/portals/{}", stage.portal(1).member_id()))).await;
    browser.says("What to do: its tokens are no longer accepted").await;
    browser.picture("portal-parked.png").await;
    browser.goto(&stage.url("/portals/nobody")).await;
    browser.says("No such portal").await;

    browser.goto(&stage.url("/")).await;
    let lacks = "const lacks = [];\
        if (document.documentElement.lang !== 'en') lacks.push('lang');\
        for (const field of document.querySelectorAll('input,select')) if (!field.labels.length) lacks.push(field.name);\
        for (const table of document.querySelectorAll('table')) if (!table.caption) lacks.push('caption');\
        for (const cell of document.querySelectorAll('th')) if (!cell.scope) lacks.push('scope');\
        for (const drawing of document.querySelectorAll('svg')) if (!drawing.getAttribute('aria-label')) lacks.push('svg');\
        if (document.querySelectorAll('main').length !== 1 || document.querySelectorAll('h1').length !== 1) lacks.push('landmarks');\
        return lacks";
    assert_eq!(browser.js(lacks).await, serde_json::json!([]));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_refused_by_its_own_policy_in_light_and_dark_and_on_a_phone() {
    let stage = Stage::start(1).await;
    deals(&stage.portal(0), 0..50);
    assert!(stage.portal(0).wait_until_empty(PATIENCE).await);
    for (dark, name) in [(false, "overview-light.png"), (true, "overview-dark.png")] {
        let said = tokio::task::block_in_place(|| browser::complaints(&stage.url("/"), dark, name));
        assert_eq!(said, "", "the browser complains");
    }
    let phone = Browser::open(500, 900).await;
    phone.goto(&stage.url("/")).await;
    phone.says("All is well.").await;
    let wide = phone.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
    assert_eq!(wide, 0, "nothing sticks out");
    phone.picture("overview-phone.png").await;
    phone.close().await;
    // What the figures look like when the bridge is gone.
    let left = Browser::open(1200, 900).await;
    left.goto(&stage.url("/")).await;
    left.says("All is well.").await;
    let mut stage = stage;
    tokio::task::block_in_place(|| stage.bridge.stop());
    left.says("the bridge does not answer; these figures are old").await;
    left.close().await;
}
