//! What `check --online` asks a portal.

use super::Task;
use crate::{
    bitrix::bindings::Target,
    fleet::{Parts, plan},
    metrics::labels::Call,
    protocol::{
        exchange::{Exchange, Read, ReadAnswer},
        types::Mode,
    },
    runner::{gate::Urgency, session::Obstacle, standing::Reason},
};

impl Task {
    /// What the portal says to each question that a start asks, for `check --online`. Binds nothing.
    pub async fn check(&self, parts: &Parts) -> Vec<(String, Result<String, String>)> {
        let (session, client) = (&self.portal.session, &parts.client);
        let why = |obstacle: &Obstacle| {
            let seen = session.standing().snapshot();
            let advice = seen.reason.map(|reason| format!("; {}", reason.advice()));
            let said = obstacle.code.clone().or(seen.last_error).unwrap_or_else(|| "no answer".to_owned());
            format!("{said}{}", advice.unwrap_or_default())
        };
        let mut found = Vec::new();
        match plan::mode(session, parts).await {
            Ok(Mode::Reserve) => found.push(("token and reserve mode".to_owned(), Ok("usable".to_owned()))),
            Ok(Mode::Conditional) => found.push((
                "token and conditional mode".to_owned(),
                Ok("usable; the plan lacks rest_offline_extended, so rows wait for some seconds".to_owned()),
            )),
            Err(obstacle) => {
                found.push(("token".to_owned(), Err(why(&obstacle))));
                return found;
            }
        }
        for queue in &parts.queues {
            // Lists and changes nothing; it takes the same right as the bridge's own calls: an administrator's.
            let look = Exchange { clears: Vec::new(), delete: None, read: Some(Read::Scan { after: None, pages: 1 }) };
            let may = match session.exchange(&queue.connector, &look, Urgency::Due).await.0.read {
                ReadAnswer::Listed { .. } => Ok("granted".to_owned()),
                _ => {
                    let seen = session.standing().snapshot();
                    let advice = seen.reason.map_or("", Reason::advice);
                    Err(format!("{}; {advice}", seen.last_error.unwrap_or_else(|| "no answer".to_owned())))
                }
            };
            found.push(("right to read offline events".to_owned(), may));
            let bindings = session.call(Call::Bindings, |access| async move { client.bindings(&access).await }).await;
            let name = match queue.connector.as_str() {
                "" => "bindings of the plain queue".to_owned(),
                connector => format!("bindings of {connector}"),
            };
            found.push((
                name,
                bindings.map_err(|obstacle| why(&obstacle)).map(|bindings| {
                    let target = Target::Offline { connector: queue.connector.clone() };
                    let bound = |event: &String| bindings.iter().any(|b| b.event == *event && b.target == target);
                    let missing: Vec<&str> = queue.events.iter().filter(|e| !bound(e)).map(String::as_str).collect();
                    if missing.is_empty() {
                        "all are bound".to_owned()
                    } else {
                        format!("`run` will bind {}", missing.join(", "))
                    }
                }),
            ));
        }
        found
    }
}
