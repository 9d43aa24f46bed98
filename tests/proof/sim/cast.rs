//! What platforms, customers, labs' people and ops ask of a gateway, each as the surface would do it: guards, reads
//! and writes in the same order, on the runtime of the gateway that was asked.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use stoppress::api::windows;
use stoppress::domain::batch::{Joining, later};
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{ApprovalId, BatchId, EscalationId, HoldId, LabId, OrderId, PlatformId, StopId};
use stoppress::domain::lab::{Answer, Lab};
use stoppress::domain::order::Stage;
use stoppress::domain::stop::{AskedBy, StopState};
use stoppress::store::{
    Admission, Admitted, ApprovalAsk, ApprovalOutcome, Change, ChangeKind, Changed, Decide, Decided,
    LabSwitch, MoveBatch, OrderRef, PersonDecision, PutLab, Replace, Replaced, Report, Resolve, Resolved,
    Result, Scope, SetLab, SettleStop, StopAsk, StopOutcome, Write, Written, one,
};
use stoppress::work::{Bench, changes, close, stop, transfer};

use super::addresses::{Said, street};
use super::hub::{Asking, Hub};

/// How an answer to a request ended that was heard by whoever asked.
#[derive(Debug)]
pub(crate) enum End {
    /// An order was admitted, or was there.
    Admitted { reference: usize, id: OrderId, lab: usize },
    /// A stop was answered; whether it was promised to succeed when it was asked.
    Stop { order: OrderId, batch: Option<BatchId>, promised: bool, outcome: Box<StopOutcome> },
    /// A merchant is to decide.
    Approval(ApprovalId, OrderId),
    /// An order replaces another.
    Replaced { id: OrderId, reference: usize, lab: usize },
    /// Another address was asked for, of a lab that had said both of one before or had not.
    Readdressed { order: OrderId, said: Said, contradicted: bool },
    /// Whoever resolves this escalation can know what he said only from then on, by the clock of the gateway.
    TooEarly(EscalationId, Timestamp),
    /// Something else was answered.
    Done,
    /// An error: whoever asked does not know.
    Failed,
}

/// A gateway as those see it who ask it for something.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) bench: Bench,
    pub(crate) hub: Arc<Hub>,
    pub(crate) labs: Arc<Vec<Lab>>,
    pub(crate) nth: usize,
    /// Whether its orders say where they go.
    pub(crate) streets: bool,
}

/// The platform of all orders.
pub(crate) fn shop() -> PlatformId {
    PlatformId::parse("shop").expect("an id")
}

/// The id of a lab by its number.
pub(crate) fn lab_id(nth: usize) -> LabId {
    LabId::parse(&format!("lab-{nth}")).expect("an id")
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Admit { reference: usize, lab: usize, lines: usize, paid: bool, direct: bool, other: bool },
    Stop { order: OrderId, items: Vec<String>, batch: Option<BatchId>, promised: bool, looks: bool },
    Approval { order: OrderId },
    Decide { approval: ApprovalId, order: OrderId, lab: usize, agrees: bool },
    Change { order: OrderId, lab: usize, kind: ChangeKind },
    Replace { order: OrderId, reference: usize, lab: usize },
    Readdress { order: OrderId, lab: usize, to: usize },
    Report { order: OrderId, lab: usize, stage: Stage },
    Answer { stop: StopId, lab: usize, answer: Answer, person: bool },
    Resolve { escalation: EscalationId, decision: PersonDecision },
    Move { batch: BatchId, to: Option<Timestamp>, window: bool },
    Switch { lab: usize, to: LabSwitch },
    Define { lab: usize, spec: String },
    Look { order: OrderId },
}

impl Desk {
    /// Answers a request; what came of it is left in the hub.
    pub(crate) async fn answer(self, ask: Ask) {
        let hub = Arc::clone(&self.hub);
        let end = self.hear(ask).await.unwrap_or(End::Failed);
        let mut state = hub.state();
        state.tell(format!("answered: {}", brief(&end)));
        state.ends.push(end);
    }

    async fn hear(&self, ask: Ask) -> Result<End> {
        match ask {
            Ask::Admit { reference, lab, lines, paid, direct, other } => {
                self.admit((reference, lab), lines, paid, direct, other).await
            }
            Ask::Stop { order, items, batch, promised, looks } => {
                self.stop(order, items, (batch, promised), looks).await
            }
            Ask::Approval { order } => self.approval(order).await,
            Ask::Decide { approval, order, lab, agrees } => self.decide(approval, order, lab, agrees).await,
            Ask::Change { order, lab, kind } => self.change(order, lab, kind).await,
            Ask::Replace { order, reference, lab } => self.replace(order, reference, lab).await,
            Ask::Readdress { order, lab, to } => self.readdress(order, lab, to).await,
            ask => self.write(ask).await,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.bench.clock.now()
    }

    pub(crate) async fn one(&self, write: Write) -> Result<Written> {
        one(&*self.bench.store, write).await
    }

    fn window(&self, lab: usize, direct: bool, at: Timestamp) -> Option<Joining> {
        let lab = &self.labs[lab];
        windows::joining(lab, &[lab.places.first()?], direct, at, &*self.bench.random).ok()
    }

    fn admission(&self, reference: usize, lab: usize, lines: usize, paid: bool, other: bool) -> Admission {
        let now = self.now();
        let sku = if other { "mug" } else { "print-10x15" };
        let items: Vec<_> = (0..lines)
            .map(|line| serde_json::json!({"id": format!("{line}"), "sku": sku, "quantity": 1}))
            .collect();
        let reference = format!("R-{reference}");
        let mut document = serde_json::json!({"reference": reference, "items": items});
        if self.streets {
            document["ship_to"] = serde_json::json!(street(0));
        }
        let document = document.to_string();
        let sha256 = stoppress::domain::event::hash("", Timestamp::UNIX_EPOCH, "", "", "", &document);
        Admission {
            id: OrderId::new(now, &*self.bench.random),
            platform: shop(),
            lab: lab_id(lab),
            region: self.labs[lab].places[0].id.clone(),
            reference,
            document,
            sha256,
            paid,
            join: None,
            route: None,
            at: now,
            actor: Actor("platform:shop".to_owned()),
        }
    }

    async fn admit(
        &self,
        (reference, lab): (usize, usize),
        lines: usize,
        paid: bool,
        direct: bool,
        other: bool,
    ) -> Result<End> {
        let mut closed: Option<Joining> = None;
        let mut admission = self.admission(reference, lab, lines, paid, other);
        for _ in 0..windows::TRIES {
            admission.at = self.now();
            let from = windows::after_closed(closed.as_ref(), admission.at);
            admission.join = paid.then(|| self.window(lab, direct, from)).flatten();
            closed.clone_from(&admission.join);
            let Written::Admitted(admitted) = self.one(Write::Admit(Arc::new(admission.clone()))).await?
            else {
                return Ok(End::Failed);
            };
            let id = match admitted {
                Admitted::New { .. } => admission.id,
                Admitted::Same(id) | Admitted::Differs(id) => id,
                Admitted::WindowClosed => continue,
            };
            self.bench.bells.nudge(close::NAME);
            return Ok(End::Admitted { reference, id, lab });
        }
        Ok(End::Done)
    }

    fn asking(&self, order: OrderId, items: Vec<String>, at: Timestamp) -> StopAsk {
        StopAsk {
            id: StopId::new(at, &*self.bench.random),
            order: OrderRef::Id(order),
            scope: Scope::Platform(shop()),
            reason: "changed_mind".to_owned(),
            comment: None,
            asked_by: AskedBy::Customer,
            requested_by: None,
            items,
            due: None,
            at,
            actor: Actor("platform:shop".to_owned()),
            escalation: EscalationId::new(at, &*self.bench.random),
        }
    }

    async fn stop(
        &self,
        order: OrderId,
        items: Vec<String>,
        (batch, promised): (Option<BatchId>, bool),
        looks: bool,
    ) -> Result<End> {
        // As the gate does it: from the head of the request until the answer is there.
        let guard = self.bench.store.asking(&*self.bench.clock);
        let asking = Asking::begin(&self.hub, self.nth, guard.at);
        if looks {
            self.bench.store.orders(&Scope::Ops, &[OrderRef::Id(order.clone())]).await?;
        }
        let ask = self.asking(order.clone(), items, guard.at);
        let written = self.one(Write::Stop(Box::new(ask))).await;
        drop(asking);
        drop(guard);
        let Written::Stop(outcome) = written? else { return Ok(End::Failed) };
        if let StopOutcome::Asked(facts) | StopOutcome::Already(facts) = &*outcome
            && facts.state == StopState::Pending
        {
            self.bench.bells.nudge(stop::NAME);
        }
        self.bench.bells.nudge(changes::NAME);
        Ok(End::Stop { order, batch, promised, outcome })
    }

    async fn approval(&self, order: OrderId) -> Result<End> {
        let guard = self.bench.store.asking(&*self.bench.clock);
        let asking = Asking::begin(&self.hub, self.nth, guard.at);
        let ask = ApprovalAsk {
            id: ApprovalId::new(guard.at, &*self.bench.random),
            hold: HoldId::new(guard.at, &*self.bench.random),
            due_at: later(guard.at, SignedDuration::from_mins(20)),
            stop: self.asking(order.clone(), Vec::new(), guard.at),
        };
        let written = self.one(Write::AskApproval(Box::new(ask))).await;
        drop(asking);
        drop(guard);
        let Written::Approval(outcome) = written? else { return Ok(End::Failed) };
        self.bench.bells.nudge(changes::NAME);
        Ok(match *outcome {
            ApprovalOutcome::Stop(outcome) => {
                End::Stop { order, batch: None, promised: false, outcome: Box::new(outcome) }
            }
            ApprovalOutcome::Already(facts) | ApprovalOutcome::Asked(facts) => End::Approval(facts.id, order),
        })
    }

    async fn decide(&self, approval: ApprovalId, order: OrderId, lab: usize, agrees: bool) -> Result<End> {
        let mut closed: Option<Joining> = None;
        for _ in 0..windows::TRIES {
            let at = self.now();
            let join = self.window(lab, false, windows::after_closed(closed.as_ref(), at));
            let item = Decide {
                approval: approval.clone(),
                scope: Scope::Platform(shop()),
                agrees: agrees.then(|| Box::new(self.asking(order.clone(), Vec::new(), at))),
                join: join.clone().filter(|_| !agrees),
                why: None,
                at,
                actor: Actor("platform:shop".to_owned()),
            };
            let Written::Decided(decided) = self.one(Write::Decide(Box::new(item))).await? else {
                return Ok(End::Failed);
            };
            if !matches!(*decided, Decided::WindowClosed) {
                self.bench.bells.nudge(close::NAME);
                self.bench.bells.nudge(changes::NAME);
                return Ok(End::Done);
            }
            closed = join;
        }
        Ok(End::Done)
    }

    async fn change(&self, order: OrderId, lab: usize, kind: ChangeKind) -> Result<End> {
        let mut closed: Option<Joining> = None;
        for _ in 0..windows::TRIES {
            let at = self.now();
            let ops = kind == ChangeKind::Reinstate;
            let leaves = matches!(kind, ChangeKind::Hold | ChangeKind::Review);
            let join = self.window(lab, false, windows::after_closed(closed.as_ref(), at));
            let change = Change {
                order: order.clone(),
                scope: if ops { Scope::Ops } else { Scope::Platform(shop()) },
                kind: kind.clone(),
                hold: HoldId::new(at, &*self.bench.random),
                join: join.clone().filter(|_| !leaves),
                if_version: None,
                at,
                actor: Actor(if ops { "ops:one" } else { "platform:shop" }.to_owned()),
                reason: Some("as it was asked".to_owned()),
            };
            let Written::Changed(changed) = self.one(Write::Change(Box::new(change))).await? else {
                return Ok(End::Failed);
            };
            if changed != Changed::WindowClosed {
                self.bench.bells.nudge(close::NAME);
                return Ok(End::Done);
            }
            closed = join;
        }
        Ok(End::Done)
    }

    async fn replace(&self, order: OrderId, reference: usize, lab: usize) -> Result<End> {
        let guard = self.bench.store.asking(&*self.bench.clock);
        let asking = Asking::begin(&self.hub, self.nth, guard.at);
        let mut stop = self.asking(order, Vec::new(), guard.at);
        stop.scope = Scope::Platform(shop());
        let item = Replace {
            stop,
            admission: Arc::new(self.admission(reference, lab, 1, true, false)),
            join: self.window(lab, false, guard.at),
            hold: HoldId::new(guard.at, &*self.bench.random),
        };
        let written = self.one(Write::Replace(Box::new(item))).await;
        drop(asking);
        drop(guard);
        let Written::Replaced(replaced) = written? else { return Ok(End::Failed) };
        self.bench.bells.nudge(changes::NAME);
        self.bench.bells.nudge(stop::NAME);
        Ok(match replaced {
            Replaced::Done(id, _) => End::Replaced { id, reference, lab },
            _ => End::Done,
        })
    }

    /// What is one write and nothing else.
    async fn write(&self, ask: Ask) -> Result<End> {
        let (at, random) = (self.now(), &*self.bench.random);
        let looked_at = match &ask {
            Ask::Resolve { escalation, .. } => Some(escalation.clone()),
            _ => None,
        };
        let ops = Actor("ops:one".to_owned());
        let (write, bell) = match ask {
            Ask::Look { order } => {
                self.bench.store.orders(&Scope::Platform(shop()), &[OrderRef::Id(order)]).await?;
                return Ok(End::Done);
            }
            Ask::Report { order, lab, stage } => {
                let report = Report {
                    order,
                    scope: Scope::Lab(lab_id(lab)),
                    stage,
                    reported_at: at,
                    reference: None,
                    at,
                    actor: Actor::lab(&lab_id(lab)),
                    escalation: EscalationId::new(at, random),
                };
                (Write::Report(Box::new(report)), stop::NAME)
            }
            Ask::Answer { stop, lab, answer, person } => {
                let item = SettleStop {
                    stop,
                    scope: Scope::Lab(lab_id(lab)),
                    answer,
                    person,
                    asked: None,
                    at,
                    next_at: later(at, SignedDuration::from_secs(30)),
                    actor: Actor::lab(&lab_id(lab)),
                    escalation: EscalationId::new(at, random),
                };
                (Write::SettleStop(Box::new(item)), transfer::NAME)
            }
            Ask::Resolve { escalation, decision } => {
                let reason = "somebody looked".to_owned();
                let next = EscalationId::new(at, random);
                (
                    Write::Resolve(Box::new(Resolve { escalation, decision, reason, next, at, actor: ops })),
                    transfer::NAME,
                )
            }
            Ask::Move { batch, to, window } => {
                let to = to.map(|to| (to, to.to_string()));
                let window = to.as_ref().filter(|_| window).and_then(|(to, _)| {
                    let mut join = self.window(0, false, at)?;
                    join.closes_at = *to;
                    Some(join)
                });
                let item = MoveBatch {
                    batch,
                    to,
                    window,
                    seen: None,
                    reason: "as it had to be".to_owned(),
                    at,
                    actor: ops,
                };
                (Write::MoveBatch(Box::new(item)), transfer::NAME)
            }
            Ask::Switch { lab, to } => {
                self.bench.labs.stale();
                (Write::SetLab(Box::new(SetLab { id: lab_id(lab), to, at, actor: ops })), transfer::NAME)
            }
            Ask::Define { lab, spec } => {
                let item = PutLab { id: lab_id(lab), spec, if_version: None, at, actor: ops };
                (Write::PutLab(Box::new(item)), transfer::NAME)
            }
            _ => return Ok(End::Done),
        };
        let written = self.one(write).await?;
        self.bench.bells.nudge(bell);
        self.bench.bells.nudge(close::NAME);
        self.bench.labs.stale();
        Ok(match (written, looked_at) {
            (Written::Resolved(Resolved::TooEarly { until }), Some(escalation)) => {
                End::TooEarly(escalation, until)
            }
            _ => End::Done,
        })
    }
}

fn brief(end: &End) -> String {
    match end {
        End::Stop { order, promised, outcome, .. } => {
            let said = match &**outcome {
                StopOutcome::Asked(facts) => format!("asked {:?} {:?}", facts.state, facts.evidence),
                StopOutcome::Already(facts) => format!("already {:?} {:?}", facts.state, facts.evidence),
                other => format!("{other:?}"),
            };
            format!("stop of {} (promised: {promised}): {said}", super::ledger::short(order.as_str()))
        }
        End::Admitted { reference, id, .. } => {
            format!("R-{reference} is {}", super::ledger::short(id.as_str()))
        }
        End::Failed => "an error".to_owned(),
        End::TooEarly(_, until) => format!("too early until {until}"),
        End::Done => "done".to_owned(),
        other => format!("{other:?}"),
    }
}
