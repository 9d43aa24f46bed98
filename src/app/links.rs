//! Puts the server of links and the API together: the desk at which labs that dial out are received.

use std::sync::Arc;
use std::time::Duration;

use crate::api::Api;
use crate::api::http::{ReportOutcome, StatusReport, StopReply, Word as ApiWord};
use crate::api::lab_desk::LabSeat;
use crate::api::problem::{Code, Problem};
use crate::domain::ids::LabId;
use crate::domain::order::Stage;
use crate::domain::source::Source;
use crate::lab::link::desk::{Desk, LateAnswer, No, Refusal, Seat, StageReport, Standing, Taken, Word};
use crate::lab::{Pending, Settings, link};

/// The desk of a gateway.
pub(super) struct Reception(pub(super) Api);

impl Desk for Reception {
    fn receive<'a>(
        &'a self,
        authorization: Option<&'a str>,
        source: Option<Source>,
    ) -> Pending<'a, Result<Arc<dyn Seat>, Refusal>> {
        Box::pin(async move {
            let seat = LabSeat::receive(&self.0, authorization, source).await.map_err(refusal)?;
            match seat.with_driver(|driver| driver.kind == link::DRIVER.kind) {
                Some(true) => Ok(Arc::new(Place(seat)) as Arc<dyn Seat>),
                Some(false) => {
                    let text = format!(
                        "the driver of lab {} is not \"link\": it is called, and need not dial",
                        seat.lab()
                    );
                    Err(Refusal::new(No::NotLinked, "not_linked", text))
                }
                None => {
                    let text = format!("there is no lab {}", seat.lab());
                    Err(Refusal::new(No::NotLinked, "not_linked", text))
                }
            }
        })
    }
}

struct Place(LabSeat);

impl Seat for Place {
    fn lab(&self) -> &LabId {
        self.0.lab()
    }

    fn settings(&self) -> Settings {
        self.0.with_driver(|driver| driver.settings.clone()).unwrap_or_default()
    }

    fn standing(&self) -> Standing {
        if !self.0.key_holds() {
            Standing::KeyEnded
        } else if self.0.with_driver(|driver| driver.kind == link::DRIVER.kind) == Some(true) {
            Standing::Good
        } else {
            Standing::NotLinked
        }
    }

    fn report(&self, report: StageReport) -> Pending<'_, Result<Taken, Refusal>> {
        Box::pin(async move {
            let StageReport { order, stage, at, reference } = report;
            let came = self.0.report(&order, StatusReport { stage, at, reference }).await;
            match came.map_err(refusal)? {
                ReportOutcome::Taken => Ok(Taken::Taken),
                ReportOutcome::Unchanged => Ok(Taken::Unchanged),
                ReportOutcome::ShippedAnyway => Ok(Taken::ShippedAnyway),
            }
        })
    }

    fn answer(&self, answer: LateAnswer) -> Pending<'_, Result<Taken, Refusal>> {
        Box::pin(async move {
            let LateAnswer { stop, word, reason, items } = answer;
            let (answer, stage) = match word {
                Word::Removed => (ApiWord::Removed, Stage::default()),
                Word::WillPrint(stage) => (ApiWord::WillPrint, stage),
                Word::Later => (ApiWord::AnswerLater, Stage::default()),
            };
            let changed =
                self.0.answer(stop, StopReply { answer, reason, stage, items }).await.map_err(refusal)?;
            Ok(if changed { Taken::Taken } else { Taken::Unchanged })
        })
    }
}

/// The API's problem in the words of a link.
fn refusal(problem: Problem) -> Refusal {
    let code = problem.code();
    let (no, retry_after) = match code {
        Code::Unauthenticated => (No::Unauthenticated, None),
        Code::Forbidden => (No::Forbidden, None),
        Code::RateLimited | Code::Unavailable | Code::Internal => {
            (No::TryAgain, Some(Duration::from_secs(1)))
        }
        _ => (No::Refused, None),
    };
    Refusal { no, code: code.word(), text: problem.document().detail, retry_after }
}
