//! Exchanges of a queue, and reads of its error rows: what follows from their answers for the portal as a whole.

use super::{
    Call, Obstacle, Session,
    outcome::{failed, useless},
};
use crate::{
    bitrix::{
        client::Access,
        error::{CallError, Trouble},
        errors::ErrorRead,
        exchange::NO_USABLE_ROW,
    },
    protocol::{
        exchange::{Answer, Cleared, Deleted, Exchange, Read, ReadAnswer},
        types::{Connector, Mode, NamelessRow, Row},
    },
    runner::gate::Urgency,
};

/// The error rows of an answer, and those of them that have no name.
pub type ErrorRows = (ReadAnswer<Row>, Vec<NamelessRow>);

impl Session {
    /// One exchange of a queue, and the rows of its answer that have no name. Never fails: what goes wrong is in the answer.
    pub async fn exchange(
        &self,
        connector: &Connector,
        exchange: &Exchange,
        urgency: Urgency,
    ) -> (Answer<Row>, Vec<NamelessRow>) {
        let call = |access: Access| async move { self.client.exchange(&access, connector, exchange).await };
        match self.call_as(urgency, Call::Exchange, call).await {
            Ok(exchanged) => {
                let rows = self.nameless(connector, exchange, &exchanged.answer, exchanged.nameless);
                self.limits.operating(exchanged.operating);
                (self.answered(exchange, exchanged.answer, exchanged.trouble).await, rows)
            }
            Err(obstacle) => (failed(exchange, &obstacle), Vec::new()),
        }
    }

    /// What follows from an answer, and the answer with it.
    async fn answered(&self, exchange: &Exchange, mut answer: Answer<Row>, trouble: Option<CallError>) -> Answer<Row> {
        let Some(trouble) = trouble else {
            if let Some(why) = useless(exchange, &answer) {
                self.standing.useless(why);
            } else if self.standing.served() {
                tracing::info!(portal = %self.portal, "the portal is served again");
            }
            return answer;
        };
        if matches!(trouble.trouble, Trouble::Unauthorized { .. }) {
            // The token expired between two commands: the next exchange is refused as a whole and refreshes it.
            return answer;
        }
        let refused = matches!(answer.read, ReadAnswer::Refused { .. });
        if refused && trouble.trouble == Trouble::Unlicensed && matches!(exchange.read, Some(Read::Reserve { .. })) {
            // The portal does serve us, only in another way. That is no reason to park it. If the mode cannot be
            // changed now, the next refusal comes here again.
            let _ = self.allow(Mode::Conditional).await;
            return answer;
        }
        let obstacle = self.obstacle(&trouble);
        if let ReadAnswer::Refused { retry_after, smaller } = &mut answer.read {
            *retry_after = obstacle.retry_after.or(*retry_after);
            *smaller |= obstacle.smaller;
        }
        if let Deleted::Refused { retry_after, .. } = &mut answer.deleted {
            *retry_after = retry_after.or(obstacle.retry_after);
        }
        for cleared in &mut answer.clears {
            if let Cleared::Refused { retry_after } = cleared {
                *retry_after = retry_after.or(obstacle.retry_after);
            }
        }
        answer
    }

    /// Reads error rows of a queue.
    ///
    /// # Errors
    /// What kept it from working, in words.
    pub async fn error_rows(&self, connector: &Connector, read: ErrorRead) -> Result<ErrorRows, String> {
        let call = |access: Access| async move { self.client.errors(&access, connector, read).await };
        let exchanged = self.call(Call::Errors, call).await.map_err(|obstacle| self.in_words(&obstacle))?;
        self.came(connector, exchanged.nameless.len());
        match exchanged.trouble {
            None => Ok((exchanged.answer.read, exchanged.nameless)),
            // There is more, and it is behind these.
            Some(trouble) if &*trouble.code == NO_USABLE_ROW => {
                Ok((ReadAnswer::Listed { rows: Vec::new(), more: true }, exchanged.nameless))
            }
            // The token expired between two commands: the next call refreshes it.
            Some(trouble) if matches!(trouble.trouble, Trouble::Unauthorized { .. }) => Err(trouble.to_string()),
            Some(trouble) => {
                self.obstacle(&trouble);
                Err(trouble.to_string())
            }
        }
    }

    /// How many error rows a queue has.
    ///
    /// # Errors
    /// What kept it from working.
    pub async fn count_errors(&self, connector: &Connector) -> Result<u64, Obstacle> {
        self.call(Call::Errors, |access| async move { self.client.count_errors(&access, connector).await }).await
    }

    fn in_words(&self, obstacle: &Obstacle) -> String {
        let seen = self.standing.snapshot();
        obstacle.code.clone().or(seen.last_error).unwrap_or_else(|| "the portal must not be called now".to_owned())
    }
}
