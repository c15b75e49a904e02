//! Changes of a portal's record from outside: an installation, an operator's word, the end.
//!
//! They take their turn with refreshes, since both write the same record, and what they change is stored before anybody
//! sees it. What another portal's refresh has found of this one and stored is not written over.

use secrecy::SecretString;
use url::Url;

use super::{Inner, Tokens};
use crate::{
    protocol::token::Input,
    registry::{Grant, PortalRecord, RegistryError},
};

impl Tokens {
    /// An installation has brought a new pair; a refresh that is under way is waited for. Returns the record as it is
    /// stored from now on.
    ///
    /// # Errors
    /// [`RegistryError`]: nothing has changed then.
    pub async fn renew(&self, grant: Grant, now: i64) -> Result<PortalRecord, RegistryError> {
        let mut inner = self.kept.turn().await;
        let record = inner.record.clone().granted(grant, now);
        self.edges.registry.store(record.clone()).await?;
        inner.record = record.clone();
        // Whatever was granted, given or wrong before is older than this.
        (inner.granted, inner.spare, inner.trouble) = (None, None, None);
        inner.machine.step(self.edges.clock.now(), Input::Renewed);
        Ok(record)
    }

    /// A verified callback tells where the portal is now, and which callbacks to believe; `None` leaves what is known.
    /// Returns the record as it is stored from now on.
    ///
    /// # Errors
    /// [`RegistryError`]: nothing has changed then.
    pub async fn learn(
        &self,
        place: Option<Url>,
        application_token: Option<SecretString>,
        now: i64,
    ) -> Result<PortalRecord, RegistryError> {
        let mut inner = self.kept.turn().await;
        self.edges.reread(&mut inner).await;
        let known = inner.newest();
        let record = PortalRecord {
            installed_at: if place.is_some() { Some(now) } else { known.installed_at },
            endpoint: place.unwrap_or(known.endpoint),
            application_token: application_token.or(known.application_token),
            ..known
        };
        self.edges.registry.store(record.clone()).await?;
        inner.record = record.clone();
        if inner.granted.take().is_some() {
            inner.machine.step(self.edges.clock.now(), Input::Renewed);
        }
        Ok(record)
    }

    /// Says since when an operator has the portal parked, or that he has not. Returns the record as it is stored from now
    /// on.
    ///
    /// # Errors
    /// [`RegistryError`]: nothing has changed then.
    pub async fn hold(&self, since: Option<i64>) -> Result<PortalRecord, RegistryError> {
        let mut inner = self.kept.turn().await;
        self.edges.reread(&mut inner).await;
        let record = PortalRecord { held_since: since, ..inner.newest() };
        self.edges.registry.store(record.clone()).await?;
        inner.record = record.clone();
        if inner.granted.take().is_some() {
            inner.machine.step(self.edges.clock.now(), Input::Renewed);
        }
        Ok(record)
    }

    /// Says since when the portal is read without reservations, or that nothing of that time is left there.
    ///
    /// # Errors
    /// [`RegistryError`]: nothing has changed then.
    pub async fn unreserved(&self, since: Option<i64>) -> Result<(), RegistryError> {
        let mut inner = self.kept.turn().await;
        if inner.retired || inner.record.unreserved_since.is_some() == since.is_some() {
            return Ok(());
        }
        self.edges.reread(&mut inner).await;
        let record = PortalRecord { unreserved_since: since, ..inner.newest() };
        self.edges.registry.store(record.clone()).await?;
        inner.record = record;
        if inner.granted.take().is_some() {
            inner.machine.step(self.edges.clock.now(), Input::Renewed);
        }
        Ok(())
    }

    /// The application was uninstalled: the tokens are dropped from the registry, and none is asked for any more. The
    /// access token is kept in memory, for what is still to be confirmed. Returns the record as it is stored from now on.
    ///
    /// # Errors
    /// [`RegistryError`]: nothing has changed then.
    pub async fn retire(&self, now: i64) -> Result<PortalRecord, RegistryError> {
        let mut inner = self.kept.turn().await;
        let record = inner.record.uninstalled(now);
        self.edges.registry.store(record.clone()).await?;
        (inner.granted, inner.spare, inner.retired) = (None, None, true);
        inner.record = PortalRecord { access_token: inner.record.access_token.take(), ..record.clone() };
        Ok(record)
    }
}

impl Inner {
    /// The record with a pair that was granted and could not be stored so far: the one in it is dead.
    fn newest(&self) -> PortalRecord {
        let record = self.record.clone();
        match self.granted.clone() {
            None => record,
            Some(granted) => PortalRecord {
                access_token: Some(granted.access_token),
                refresh_token: Some(granted.refresh_token),
                refreshing_since: None,
                ..record
            },
        }
    }
}
