//! One portal: what it can do is asked first, then its queues are worked.

mod check;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use url::Url;

use super::{
    Parts, plan,
    upkeep::{self, Missing},
};
use crate::{
    config::portals::{self, Plan},
    kafka::{
        record::Recorder,
        template::{KeyTemplate, TopicTemplate},
    },
    metrics::labels::Call,
    protocol::{
        pace::Bucket,
        types::{Connector, Millis, PortalId},
    },
    registry::{Grant, PortalRecord, RegistryError},
    runner::{
        Command, Runner,
        session::{Obstacle, Session},
        status::{Status, Step},
        tokens::Tokens,
    },
};

/// When a passing trouble kept a portal from being started.
const START_RETRY: Millis = Millis::secs(5);
/// Commands that may wait for a queue; more of the same kind say nothing new.
const COMMANDS: usize = 8;

/// How each portal's queues are read and where their records go.
#[derive(Clone, Debug)]
pub struct QueuePlan {
    /// Which queue.
    pub connector: Connector,
    /// Events to bind.
    pub events: Vec<String>,
    /// Whether all others are unbound.
    pub unbind_others: bool,
    /// The topic's template.
    pub topic: TopicTemplate,
    /// The key's template.
    pub key: KeyTemplate,
}

/// One queue of a portal, from outside.
#[derive(Debug)]
pub struct Queue {
    connector: Connector,
    commands: mpsc::Sender<Command>,
    status: Arc<Status>,
}

impl Queue {
    /// Which queue.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Its state.
    pub fn status(&self) -> &Status {
        &self.status
    }
}

/// One portal, from outside.
pub struct Portal {
    id: PortalId,
    session: Arc<Session>,
    queues: Vec<Queue>,
    missing: Arc<Missing>,
    /// Which callbacks to believe.
    application_token: Mutex<Option<SecretString>>,
    /// Set when it is to come to rest.
    stop: watch::Sender<bool>,
    /// Told when its rows are announced: a start that waits for its turn is cut short.
    announced: Notify,
}

/// The task of a queue has broken: a fault of this program.
#[derive(Debug, thiserror::Error)]
#[error("a task of {0} has broken; this is a fault of b24kafka, please report it with the lines above")]
pub struct Broken(pub String);

/// The task of one portal, before it runs.
pub struct Task {
    portal: Arc<Portal>,
    plan: Plan,
    commands: Vec<mpsc::Receiver<Command>>,
}

impl Portal {
    /// A portal that is not called yet, and the task that will.
    pub fn new(parts: &Arc<Parts>, record: PortalRecord, known: Option<portals::Portal>) -> (Arc<Self>, Task) {
        let (id, domain) = (record.member_id.clone(), record.domain().to_owned());
        let (held, removed) = (record.held_since.is_some(), record.removed_at.is_some());
        let unreserved = record.unreserved_since.is_some();
        let application_token = Mutex::new(record.application_token.clone());
        let plan = known.as_ref().map_or(Plan::Auto, |known| known.plan);
        let spare = known.and_then(|known| known.refresh_token);
        let shared = &parts.shared;
        let tokens =
            Tokens::new(record, spare, parts.app.clone(), parts.client.clone(), parts.registry.clone(), shared);
        let session = Session::new(id.clone(), &domain, parts.client.clone(), tokens, bucket(plan), unreserved, shared);
        if removed {
            session.standing().remove();
        } else if held {
            session.standing().hold();
        }
        let queues = parts.queues.iter().map(|queue| (queue.connector.clone(), Arc::default()));
        let (queues, commands) = open(queues);
        let (session, missing, stop) = (Arc::new(session), Arc::default(), watch::Sender::new(false));
        let portal = Arc::new(Self { queues, id, session, missing, application_token, stop, announced: Notify::new() });
        (portal.clone(), Task { portal, plan, commands })
    }

    /// The same portal with all that is known of it, and a new task for it: the former one has ended.
    pub fn again(&self, known: Option<&portals::Portal>) -> (Arc<Self>, Task) {
        let plan = known.map_or(Plan::Auto, |known| known.plan);
        let (queues, commands) = open(self.queues.iter().map(|q| (q.connector.clone(), q.status.clone())));
        let portal = Arc::new(Self {
            queues,
            id: self.id.clone(),
            session: self.session.clone(),
            missing: self.missing.clone(),
            application_token: Mutex::new(self.application_token()),
            stop: watch::Sender::new(false),
            announced: Notify::new(),
        });
        (portal.clone(), Task { portal, plan, commands })
    }

    /// Makes the records of one of its queues.
    pub fn recorder(&self, plan: &QueuePlan, parts: &Parts) -> Recorder {
        let (id, connector) = (self.id.clone(), plan.connector.clone());
        Recorder::new(id, &self.domain(), connector, plan.topic.clone(), plan.key.clone(), parts.tombstones)
    }

    /// Its `member_id`.
    pub fn id(&self) -> &PortalId {
        &self.id
    }

    /// The host of its endpoint.
    pub fn domain(&self) -> Arc<str> {
        self.session.domain()
    }

    /// Which callbacks to believe; `None` if that is not known yet.
    pub fn application_token(&self) -> Option<SecretString> {
        self.application_token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An installation has brought a new pair of tokens, and perhaps a new place. Whatever kept it from being served is
    /// over, and its events may be bound now.
    ///
    /// # Errors
    /// [`RegistryError`]: nothing has changed then.
    pub async fn renew(&self, grant: Grant) -> Result<(), RegistryError> {
        let record = self.session.renew(grant).await?;
        *self.application_token.lock().unwrap_or_else(PoisonError::into_inner) = record.application_token;
        self.missing.reconsider();
        self.resume();
        Ok(())
    }

    /// Whether this is the token that its callbacks show. Digests take the same time to compare however much of it
    /// matches.
    pub fn believes(&self, shown: &SecretString) -> bool {
        let digest = |token: &SecretString| Sha256::digest(token.expose_secret());
        self.application_token().is_some_and(|known| digest(&known) == digest(shown))
    }

    /// A verified callback tells where it is now, and which callbacks to believe; `None` leaves what is known.
    ///
    /// # Errors
    /// [`RegistryError`]: nothing has changed then.
    pub async fn learn(
        &self,
        place: Option<Url>,
        application_token: Option<SecretString>,
    ) -> Result<(), RegistryError> {
        let record = self.session.learn(place, application_token).await?;
        *self.application_token.lock().unwrap_or_else(PoisonError::into_inner) = record.application_token;
        Ok(())
    }

    /// The application was installed again: whatever kept it from being served is over, and its events may be bound now.
    pub fn reinstalled(&self) {
        self.missing.reconsider();
        self.resume();
    }

    /// The calls to it.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Its queues.
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// Tells all its queues. One that has more to hear than it can remember is going to act anyway.
    pub fn command(&self, command: Command) {
        for queue in &self.queues {
            let _ = queue.commands.try_send(command);
        }
    }

    /// There may be new rows: its queues are polled as soon as what they are at is done. If it waits for its turn at a
    /// start, it is begun with; in trouble it is tried no sooner.
    pub fn wake(&self) {
        self.announced.notify_one();
        self.command(Command::Wake);
    }

    /// Wake-ups are bound at the portal, with this pause between two of them at least; or they are not. Never left out.
    pub async fn expect_wake_ups(&self, pause: Option<Millis>) {
        for queue in &self.queues {
            let _ = queue.commands.send(Command::WakeUps(pause)).await;
        }
    }

    /// Events that its queues should have and have not.
    pub fn missing(&self) -> &Missing {
        &self.missing
    }

    /// Somebody says that what kept it from being served is over: it is tried at once, whatever it waits for.
    pub fn resume(&self) {
        self.session.standing().resume();
        self.session.licence().reconsider();
        self.command(Command::Resume);
    }

    /// Whether anybody serves it: it is neither parked by an operator nor given up.
    pub fn is_served(&self) -> bool {
        !self.session.standing().is_settled()
    }

    /// Whether a call to it would be made now.
    pub fn may_be_called(&self) -> bool {
        self.session.may_be_called()
    }

    /// Tells it to come to rest; this is never left out.
    pub async fn drain(&self) {
        self.stop.send_replace(true);
        for queue in &self.queues {
            let _ = queue.commands.send(Command::Drain).await;
        }
    }

    /// Queues whose request to the portal is not answered: it may bring rows.
    pub fn awaited(&self) -> usize {
        self.queues.iter().filter(|queue| queue.status.next().step == Step::Answer).count()
    }

    /// Rows that are received and not yet acknowledged.
    pub fn held(&self) -> u64 {
        self.queues.iter().map(|queue| queue.status.held()).sum()
    }

    /// Since when rows are held, in seconds since 1970.
    pub fn held_since(&self) -> Option<f64> {
        self.queues.iter().filter_map(|queue| queue.status.held_since()).reduce(f64::min)
    }

    /// Until when the bridge itself had a reason to ask the portal for nothing; `None` if there was none. One queue that may
    /// be read is enough to hear from the portal.
    pub fn left_alone_until(&self) -> Option<Instant> {
        let busy = self.queues.iter().map(|queue| queue.status.busy_until()).min().flatten();
        busy.max(self.session.paused_until())
    }

    /// Queues of which a request of ours may have reserved rows without our knowing, or is on its way to do so.
    pub fn hiding(&self) -> usize {
        let hides = |queue: &&Queue| queue.status.may_hide() || queue.status.next().step == Step::Answer;
        self.queues.iter().filter(hides).count()
    }

    /// Rows that are acknowledged and not yet known to be cleared.
    pub fn unconfirmed(&self) -> u64 {
        self.queues.iter().map(|queue| queue.status.unconfirmed()).sum()
    }

    /// Since when rows wait to be cleared, in seconds since 1970.
    pub fn unconfirmed_since(&self) -> Option<f64> {
        self.queues.iter().filter_map(|queue| queue.status.unconfirmed_since()).reduce(f64::min)
    }

    /// Queues that hold rows which are not acknowledged, or not known to be cleared.
    pub fn unfinished(&self) -> usize {
        let left = |queue: &&Queue| queue.status.held() + queue.status.unconfirmed() > 0;
        self.queues.iter().filter(left).count()
    }

    /// Queues whose task has not ended.
    pub fn busy(&self) -> usize {
        self.queues.iter().filter(|queue| !queue.commands.is_closed()).count()
    }
}

impl Task {
    /// Whose it is, for whoever reads that it has broken.
    pub fn name(&self) -> String {
        format!("portal {}", self.portal.id)
    }

    /// Serves the portal until it is told to come to rest, and its queues are drained if it has come to serve them.
    ///
    /// # Errors
    /// The task of a queue has broken, which is a fault of this program. Its queue is served by nobody then.
    pub async fn run(self, parts: Arc<Parts>, delay: Duration) -> Result<(), Broken> {
        let mut stop = self.portal.stop.subscribe();
        let stopped = async {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        tokio::select! {
            biased;
            () = stopped => return Ok(()),
            () = async {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = self.portal.session.standing().resumed() => {}
                    () = self.portal.announced.notified() => {}
                }
                // In a box: the room for what is done once is not kept for the portal's life.
                Box::pin(self.prepare(&parts)).await;
            } => {}
        }
        let mut runners = JoinSet::new();
        for ((queue, plan), commands) in self.portal.queues.iter().zip(&parts.queues).zip(self.commands) {
            let recorder = self.portal.recorder(plan, &parts);
            let session = self.portal.session.clone();
            let runner = Runner::new(&parts.shared, plan.connector.clone(), recorder, session, queue.status.clone());
            runners.spawn(runner.run(commands));
        }
        let id = &self.portal.id;
        let at_rest = async {
            while let Some(ended) = runners.join_next().await {
                if ended.is_err_and(|error| error.is_panic()) {
                    return Err(Broken(format!("portal {id}")));
                }
            }
            Ok(())
        };
        tokio::select! {
            ended = at_rest => ended,
            () = upkeep::run(&self.portal, &parts) => Ok(()),
            () = plan::run(&self.portal, &parts) => Ok(()),
        }
    }

    /// Asks what the portal can do, as often as it takes.
    async fn prepare(&self, parts: &Parts) {
        let clock = parts.shared.clock;
        loop {
            let Err(obstacle) = self.try_prepare(parts).await else { return };
            let wait = obstacle.retry_after.unwrap_or(START_RETRY);
            tokio::select! {
                () = clock.sleep_until(clock.now().plus(wait)) => {}
                () = self.portal.session.standing().resumed() => {}
            }
        }
    }

    async fn try_prepare(&self, parts: &Parts) -> Result<(), Obstacle> {
        let session = &self.portal.session;
        let client = &parts.client;
        session.allow(plan::mode(session, parts).await?).await?;
        if self.plan == Plan::Auto {
            // When in doubt the lower limit holds; a portal is not kept waiting for a guess.
            let info = session.call(Call::AppInfo, |access| async move { client.app_info(&access).await }).await;
            let plan = if info.is_ok_and(|info| info.enterprise()) { Plan::Enterprise } else { Plan::Standard };
            session.limit(bucket(plan));
        }
        Ok(())
    }
}

/// Queues and what hears their commands.
fn open(of: impl Iterator<Item = (Connector, Arc<Status>)>) -> (Vec<Queue>, Vec<mpsc::Receiver<Command>>) {
    let open = of.map(|(connector, status)| {
        let (commands, heard) = mpsc::channel(COMMANDS);
        (Queue { connector, commands, status }, heard)
    });
    open.unzip()
}

/// The request limit of a plan (protocol reference section 3).
fn bucket(plan: Plan) -> Option<Bucket> {
    match plan {
        Plan::Auto | Plan::Standard => Some(Bucket::new(50, 2)),
        Plan::Enterprise => Some(Bucket::new(250, 5)),
        Plan::Unlimited => None,
    }
}
