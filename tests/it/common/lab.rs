//! A lab in a world, and short words for what tests do to it.

use std::sync::Arc;

use stoppress::domain::batch::{Joining, TransferFacts};
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{LabId, OrderId};
use stoppress::domain::lab::{Answer, Profile};
use stoppress::domain::order::Stage;
use stoppress::domain::stop::{AskedBy, StopFacts};
use stoppress::store::{
    Admission, Admitted, Change, ChangeKind, Changed, Claim, ClaimAsks, Claimed, OrderRef, Outgoing, Report,
    Reported, Scope, Settle, SettleStop, Source, StopAsk, StopDue, StopOutcome, StopSettled, Write, Written,
};

use super::world::{CUTOFF, LEASE, World, accepted, at, ops, shop, unclear};

/// A lab in a world.
pub(crate) struct Lab<'a> {
    pub(crate) world: &'a World,
    pub(crate) id: LabId,
    pub(crate) profile: Arc<Profile>,
}

impl Lab<'_> {
    /// The window that closes so many seconds into the day.
    pub(crate) fn window(&self, closes: i64) -> Joining {
        Joining {
            batch: self.world.batch_id(),
            lab: self.id.clone(),
            region: serde_json::from_str("\"eu\"").unwrap(),
            direct: false,
            opens_at: at(closes - 86_400),
            closes_at: at(closes),
            closes_at_local: at(closes).to_string(),
            production_date: "2026-06-18".to_owned(),
            rule: "regular 24:00".to_owned(),
            time_zone: "Europe/Helsinki".to_owned(),
            tzdata: "2026a".to_owned(),
            promised: true,
            until: None,
        }
    }

    /// An order that is paid for, for the usual window.
    pub(crate) fn admission(&self, reference: &str) -> Admission {
        let join = self.window(CUTOFF);
        Admission {
            id: self.world.order_id(),
            platform: shop(),
            lab: self.id.clone(),
            region: join.region.clone(),
            reference: reference.to_owned(),
            document: format!(r#"{{"reference":"{reference}","items":[{{"id":"1","sku":"print-10x15"}}]}}"#),
            sha256: "a".repeat(64),
            paid: true,
            join: Some(join),
            route: None,
            at: at(0),
            actor: Actor("platform:shop".to_owned()),
        }
    }

    pub(crate) async fn admit_as(&self, admission: Admission) -> Admitted {
        let Written::Admitted(admitted) = self.world.write(Write::Admit(Arc::new(admission))).await else {
            panic!("not an admission")
        };
        admitted
    }

    pub(crate) async fn admit(&self, reference: &str) -> OrderId {
        let admission = self.admission(reference);
        let id = admission.id.clone();
        let admitted = self.admit_as(admission).await;
        assert!(matches!(admitted, Admitted::New { .. }), "{admitted:?}");
        id
    }

    /// A claim for one transfer.
    pub(crate) fn claiming(&self, seconds: i64, count: usize) -> Claim {
        Claim {
            lab: self.id.clone(),
            profile: Arc::clone(&self.profile),
            manual: false,
            ids: self.world.transfer_ids(count),
            escalations: self.world.escalation_ids(count),
            now: at(seconds),
            lease_until: at(seconds + LEASE),
            holder: "one".to_owned(),
            sends: true,
            away: false,
        }
    }

    pub(crate) async fn claim_as(&self, claim: Claim) -> Vec<Claimed> {
        let Written::Claimed(claimed) = self.world.write(Write::Claim(Box::new(claim))).await else {
            panic!("not a claim")
        };
        claimed
    }

    pub(crate) async fn claim(&self, seconds: i64) -> Vec<Claimed> {
        self.claim_as(self.claiming(seconds, 10)).await
    }

    /// A claim that gives exactly one transfer to send.
    pub(crate) async fn send(&self, seconds: i64) -> Outgoing {
        let mut claimed = self.claim(seconds).await;
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        match claimed.remove(0) {
            Claimed::Send(outgoing) => outgoing,
            other => panic!("{other:?}"),
        }
    }

    /// One order, admitted, closed and claimed a second after the cutoff.
    pub(crate) async fn sent(&self, reference: &str) -> (OrderId, Outgoing) {
        let order = self.admit(reference).await;
        self.world.close(CUTOFF).await;
        (order, self.send(CUTOFF + 1).await)
    }

    /// One order that the lab has.
    pub(crate) async fn handed(&self, reference: &str) -> (OrderId, Outgoing) {
        let (order, out) = self.sent(reference).await;
        self.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
        (order, out)
    }

    /// One order of which nobody knows.
    pub(crate) async fn lost(&self, reference: &str) -> (OrderId, Outgoing) {
        let (order, out) = self.sent(reference).await;
        self.settle(&out, unclear(), CUTOFF + 2).await.unwrap();
        (order, out)
    }

    /// The end of an upload, under the fence that it was claimed with.
    pub(crate) async fn settle(&self, out: &Outgoing, answer: Answer, seconds: i64) -> Option<TransferFacts> {
        self.learn(&out.transfer, Source::Upload, answer, seconds).await
    }

    pub(crate) async fn learn(
        &self,
        transfer: &TransferFacts,
        source: Source,
        answer: Answer,
        seconds: i64,
    ) -> Option<TransferFacts> {
        let item = Settle {
            transfer: transfer.id.clone(),
            fence: transfer.fence,
            source,
            answer,
            at: at(seconds),
            next_at: at(seconds + 5),
            actor: Actor::gateway(),
            escalation: self.world.escalation_id(),
        };
        let Written::Settled(settled) = self.world.write(Write::Settle(Box::new(item))).await else {
            panic!("not settled")
        };
        settled
    }

    pub(crate) fn asking(&self, order: &OrderId, seconds: i64) -> StopAsk {
        StopAsk {
            id: self.world.stop_id(),
            order: OrderRef::Id(order.clone()),
            scope: Scope::Ops,
            reason: "changed_mind".to_owned(),
            comment: None,
            asked_by: AskedBy::Customer,
            requested_by: None,
            items: Vec::new(),
            due: None,
            at: at(seconds),
            actor: ops(),
            escalation: self.world.escalation_id(),
        }
    }

    pub(crate) async fn ask_as(&self, ask: StopAsk) -> StopOutcome {
        let Written::Stop(outcome) = self.world.write(Write::Stop(Box::new(ask))).await else {
            panic!("not a stop")
        };
        *outcome
    }

    /// A first stop.
    pub(crate) async fn stop(&self, order: &OrderId, seconds: i64) -> StopFacts {
        match self.ask_as(self.asking(order, seconds)).await {
            StopOutcome::Asked(facts) => facts,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn claim_stops(&self, seconds: i64) -> Vec<StopDue> {
        let item = ClaimAsks {
            lab: self.id.clone(),
            profile: Arc::clone(&self.profile),
            limit: 10,
            escalations: self.world.escalation_ids(10),
            not_before: None,
            away: false,
            now: at(seconds),
            lease_until: at(seconds + LEASE),
        };
        let Written::StopsClaimed(due) = self.world.write(Write::ClaimStops(Box::new(item))).await else {
            panic!("no stops")
        };
        due
    }

    pub(crate) fn answering(&self, stop: &StopFacts, answer: Answer, seconds: i64) -> SettleStop {
        SettleStop {
            stop: stop.id.clone(),
            scope: Scope::Lab(self.id.clone()),
            answer,
            person: false,
            asked: None,
            at: at(seconds),
            next_at: at(seconds + 5),
            actor: Actor::lab(&self.id),
            escalation: self.world.escalation_id(),
        }
    }

    pub(crate) async fn answer_as(&self, item: SettleStop) -> StopSettled {
        let Written::StopSettled(settled) = self.world.write(Write::SettleStop(Box::new(item))).await else {
            panic!("not settled")
        };
        *settled
    }

    pub(crate) async fn answer(&self, stop: &StopFacts, answer: Answer, seconds: i64) -> StopSettled {
        self.answer_as(self.answering(stop, answer, seconds)).await
    }

    pub(crate) fn reporting(&self, order: &OrderId, stage: Stage, seconds: i64) -> Report {
        Report {
            order: order.clone(),
            scope: Scope::Lab(self.id.clone()),
            stage,
            reported_at: at(seconds),
            reference: None,
            at: at(seconds),
            actor: Actor::lab(&self.id),
            escalation: self.world.escalation_id(),
        }
    }

    pub(crate) async fn report_as(&self, item: Report) -> Reported {
        let Written::Reported(reported) = self.world.write(Write::Report(Box::new(item))).await else {
            panic!("not reported")
        };
        reported
    }

    pub(crate) async fn report(&self, order: &OrderId, stage: Stage, seconds: i64) -> Reported {
        self.report_as(self.reporting(order, stage, seconds)).await
    }

    pub(crate) fn changing(&self, order: &OrderId, kind: ChangeKind, seconds: i64) -> Change {
        Change {
            order: order.clone(),
            scope: Scope::Platform(shop()),
            kind,
            hold: self.world.hold_id(),
            join: Some(self.window(CUTOFF)),
            if_version: None,
            at: at(seconds),
            actor: ops(),
            reason: None,
        }
    }

    pub(crate) async fn change_as(&self, change: Change) -> Changed {
        let Written::Changed(changed) = self.world.write(Write::Change(Box::new(change))).await else {
            panic!("not changed")
        };
        changed
    }

    pub(crate) async fn change(&self, order: &OrderId, kind: ChangeKind) -> Changed {
        self.change_as(self.changing(order, kind, 10)).await
    }
}
