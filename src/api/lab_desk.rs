//! A lab that stays connected: recognised once, asked for its standing every second, and held to the
//! budgets and checks of the lab's side over HTTP with every report.

use std::sync::Arc;

use super::Api;
use super::auth::{Identity, Role, permit};
use super::http::{By, ReportOutcome, StatusReport, StopReply, take_answer, take_report};
use super::limits::Class;
use super::problem::{Answer, Code, Problem};
use crate::domain::ids::{LabId, OrderId, StopId};
use crate::domain::lab::DriverSpec;
use crate::domain::source::Source;
use crate::store::Scope;

/// A lab that is connected.
#[derive(Debug, Clone)]
pub struct LabSeat {
    api: Api,
    who: Arc<Identity>,
    lab: LabId,
}

impl LabSeat {
    /// Recognises a lab by the text of its `authorization`: `Bearer sp_…`. Whoever comes from where many wrong
    /// keys came from waits for the answer.
    ///
    /// # Errors
    /// If the key is not good, or not a lab's.
    pub async fn receive(api: &Api, authorization: Option<&str>, source: Option<Source>) -> Answer<Self> {
        let who = match api.keys.of_bearer(authorization, api.clock.now()) {
            Ok(who) => who,
            Err(problem) if authorization.is_none() => return Err(problem),
            Err(problem) => {
                let problem = api.sources.failed(source, problem);
                api.sources.hold(&problem).await;
                return Err(problem);
            }
        };
        permit(&who, &[Role::Lab])?;
        api.limits.take(&who.key, Class::Read)?;
        let Scope::Lab(lab) = who.scope.clone() else { return Err(Problem::not_found()) };
        Ok(Self { api: api.clone(), who, lab })
    }

    /// Which lab.
    #[must_use]
    pub fn lab(&self) -> &LabId {
        &self.lab
    }

    /// Whether the key is still good.
    #[must_use]
    pub fn key_holds(&self) -> bool {
        self.api.keys.holds(&self.who.key, self.api.clock.now())
    }

    /// What the lab's driver is now; `None` if there is no such lab.
    pub fn with_driver<T>(&self, look: impl FnOnce(&DriverSpec) -> T) -> Option<T> {
        self.api.registry.lab(&self.lab).map(|entry| look(&entry.lab.spec.driver))
    }

    /// Takes an answer to a stop. Gives whether anything changed.
    ///
    /// # Errors
    /// Like [`take_answer`], and if the key is at its end or its budget used up.
    pub async fn answer(&self, stop: StopId, reply: StopReply) -> Answer<bool> {
        self.may()?;
        take_answer(&self.api, &self.who, By::Program, stop, reply).await.map(|(_, changed)| changed)
    }

    /// Takes a report about an order.
    ///
    /// # Errors
    /// Like [`take_report`], and if the key is at its end or its budget used up.
    pub async fn report(&self, order: &OrderId, report: StatusReport) -> Answer<ReportOutcome> {
        self.may()?;
        take_report(&self.api, &self.who, order, report).await
    }

    fn may(&self) -> Answer<()> {
        if !self.key_holds() {
            return Err(Problem::new(Code::Unauthenticated, "The key was revoked or has expired."));
        }
        self.api.limits.take(&self.who.key, Class::Write)
    }
}
