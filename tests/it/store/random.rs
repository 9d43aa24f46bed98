//! Random sequences of verbs, on the store and on the model in memory: they must say the same and leave the
//! same behind, and some things must hold after every step.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use stoppress::clock::{Random as _, SeededRandom};
use stoppress::domain::batch::TransferFacts;
use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Answer, Profile};
use stoppress::domain::order::Stage;
use stoppress::domain::stop::{Evidence, StopState};
use stoppress::store::{
    Admitted, ChangeKind, Changed, ClaimAsks, Claimed, CloseDue, OrderRef, Report, Scope, Settle, Source,
    StopDue, StopOutcome, StopSettled, TakeOver, Write, Written,
};

use super::claim::named;
use super::model::Model;
use super::on_both;
use crate::common::world::{
    LEASE, Lab, World, able, accepted, at, deaf, forgetful, keeps, ops, refused, removed, unclear,
    unreachable, will_print,
};

on_both!(the_store_does_what_the_model_does);

const SEEDS: u64 = 8;
const STEPS: usize = 200;

struct Dice(SeededRandom);

impl Dice {
    fn below(&self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % end.max(1) as u64) as usize
    }

    fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    fn answer(&self) -> Answer {
        match self.below(9) {
            0 => refused(),
            1 => unreachable(),
            2 => Answer::AnswerLater,
            3 => removed(),
            4 => will_print(),
            5 => Answer::NotFound,
            6 => accepted(),
            _ => unclear(),
        }
    }
}

fn decided(state: StopState, evidence: Option<Evidence>) -> String {
    format!("{} {}", state.word(), evidence.map_or("", Evidence::word))
}

/// An outcome in the model's words.
fn say(written: &Written) -> String {
    match written {
        Written::Admitted(Admitted::New { batch }) => format!("new {}", batch.as_ref().unwrap().id),
        Written::Admitted(Admitted::Same(id)) => format!("same {id}"),
        Written::Admitted(Admitted::Differs(id)) => format!("differs {id}"),
        Written::Admitted(Admitted::WindowClosed) => "window closed".to_owned(),
        Written::Stop(outcome) => match &**outcome {
            StopOutcome::NotFound => "not found".to_owned(),
            StopOutcome::Downloads(order) => format!("downloads of {order}"),
            StopOutcome::Refused(why) => format!("refused {why:?}"),
            StopOutcome::Already(f) => format!("already {} {}", f.id, decided(f.state, f.evidence)),
            StopOutcome::Asked(f) => format!("asked {}", decided(f.state, f.evidence)),
        },
        Written::Changed(Changed::NotAllowed(_)) => "NotAllowed".to_owned(),
        Written::Changed(changed) => format!("{changed:?}"),
        Written::Reported(reported) => format!("{reported:?}"),
        Written::Closed(closed) => {
            closed.iter().map(|batch| batch.id.to_string()).collect::<Vec<_>>().join(" ")
        }
        Written::Claimed(claimed) => claimed.iter().map(say_claimed).collect::<Vec<_>>().join("; "),
        Written::Settled(None) => "nothing".to_owned(),
        Written::Settled(Some(t)) => format!("{} {} {}", t.phase.word(), t.fence, t.unresolved),
        Written::TakenOver(ids) => {
            let mut ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
            ids.sort();
            ids.join(" ")
        }
        Written::StopsClaimed(due) => {
            let said = due.iter().map(|due| match due {
                StopDue::Ask { stop, .. } => format!("ask {}", stop.id),
                StopDue::Waits(id) => format!("waits {id}"),
                StopDue::Decided(f) => format!("decided {} {}", f.id, decided(f.state, f.evidence)),
            });
            said.collect::<Vec<_>>().join("; ")
        }
        Written::StopSettled(settled) => match &**settled {
            StopSettled::NotFound => "not found".to_owned(),
            StopSettled::Done(f) => format!("done {}", decided(f.state, f.evidence)),
            StopSettled::Late(f) => format!("late {}", decided(f.state, f.evidence)),
        },
        other => format!("{other:?}"),
    }
}

fn say_claimed(claimed: &Claimed) -> String {
    match claimed {
        Claimed::Send(out) => {
            let facts = &out.transfer;
            let orders = named(out).join(",");
            format!("send {} {} {} {} {orders}", facts.id, facts.fence, facts.unresolved, out.key)
        }
        Claimed::Behind => "behind".to_owned(),
        Claimed::LookUp { transfer, .. } => format!("look up {}", transfer.id),
        Claimed::Person(id) => format!("person {id}"),
        Claimed::Empty(id) => format!("empty {id}"),
        Claimed::Waits(_) => "waits".to_owned(),
    }
}

/// What must hold whatever happens.
#[derive(Default)]
struct Watch {
    versions: HashMap<OrderId, i64>,
    finals: HashMap<OrderId, (String, StopState)>,
    transfer_of: HashMap<String, String>,
    stopped: HashSet<String>,
    attempts: Vec<TransferFacts>,
}

impl Watch {
    fn claimed(&mut self, claimed: &Claimed) {
        let Claimed::Send(out) = claimed else { return };
        self.attempts.push(out.transfer.clone());
        for order in named(out) {
            assert!(!self.stopped.contains(&order), "{order} was told stopped, and is sent");
            let transfer = self.transfer_of.entry(order).or_insert_with(|| out.transfer.id.to_string());
            assert_eq!(*transfer, out.transfer.id.to_string(), "an order is in one transfer");
        }
    }
}

struct Play<'a> {
    world: &'a World,
    labs: Vec<Lab<'a>>,
    model: Model,
    watch: Watch,
    dice: Dice,
    now: i64,
}

impl Play<'_> {
    fn window(&self, lab: &Lab<'_>) -> stoppress::domain::batch::Joining {
        // The window of this instant, or the one after; sometimes one that has closed.
        let nth = self.now / 300 + self.dice.below(3) as i64;
        lab.window(nth * 300)
    }

    /// One step: the write, and what the model says to it.
    fn step(&mut self) -> (Write, String) {
        let orders: Vec<OrderId> = self.model.orders.keys().cloned().collect();
        let lab = self.dice.below(self.labs.len());
        let lab = &self.labs[lab];
        let (now, world) = (at(self.now), self.world);
        let order = self.dice.pick(&orders).cloned();
        match (self.dice.below(24), order) {
            (0..4, _) | (_, None) => {
                let mut item = lab.admission(&format!("R-{}-{}", self.labs[0].id, self.dice.below(40)));
                item.join = Some(self.window(lab));
                (item.sha256, item.at) = ("a".repeat(64), now);
                let said = self.model.admit(&item.id, &item.reference, item.join.as_ref().unwrap());
                (Write::Admit(Arc::new(item)), said)
            }
            (4..7, Some(order)) => {
                let item = lab.asking(&order, self.now);
                let said = self.model.stop(&order, &item.id, now);
                (Write::Stop(Box::new(item)), said)
            }
            (7..9, Some(order)) => {
                let owner = self.labs.iter().find(|lab| self.owner(&order) == lab.id.as_str()).unwrap();
                let join = self.window(owner);
                let (kind, said) = match self.dice.below(3) {
                    0 => (ChangeKind::Hold, self.model.hold(&order)),
                    1 => (ChangeKind::Release, self.model.release(&order, &join)),
                    _ => (ChangeKind::Reinstate, self.model.reinstate(&order, &join)),
                };
                let mut item = owner.changing(&order, kind, self.now);
                item.join = Some(join);
                (Write::Change(Box::new(item)), said)
            }
            (9..11, _) => {
                let item = CloseDue { now, limit: 2 };
                (Write::Close(item), self.model.close(now, 2))
            }
            (11..14, _) => {
                let item = lab.claiming(self.now, 1 + self.dice.below(3));
                let said = self.model.claim(&item);
                (Write::Claim(Box::new(item)), said)
            }
            (14..18, _) if !self.watch.attempts.is_empty() => {
                let attempt = self.dice.pick(&self.watch.attempts).unwrap().clone();
                let looks = self.dice.below(3) == 0;
                let source = if looks {
                    Source::LookUp(at(self.now - self.dice.below(90) as i64))
                } else {
                    Source::Upload
                };
                let fence = attempt.fence + self.dice.below(2) as i64 * i64::from(looks);
                let item = Settle {
                    transfer: attempt.id,
                    fence,
                    source,
                    answer: self.dice.answer(),
                    at: now,
                    next_at: at(self.now + 20),
                    actor: ops(),
                    escalation: world.escalation_id(),
                };
                let said = self.model.settle(&item);
                (Write::Settle(Box::new(item)), said)
            }
            (18..19, _) => {
                let item = TakeOver { now, all_but: None, limit: 100 };
                (Write::TakeOver(item), self.model.take_over(now))
            }
            (19..21, _) => {
                let item = ClaimAsks {
                    lab: lab.id.clone(),
                    profile: lab.profile.clone(),
                    limit: 3,
                    escalations: world.escalation_ids(3),
                    not_before: None,
                    away: false,
                    now,
                    lease_until: at(self.now + LEASE),
                };
                let said = self.model.claim_stops(&item);
                (Write::ClaimStops(Box::new(item)), said)
            }
            (21, Some(order)) => {
                let stage = [Stage::Received, Stage::InProduction, Stage::Printed, Stage::Shipped];
                let item = Report {
                    order,
                    scope: Scope::Ops,
                    stage: stage[self.dice.below(4)],
                    reported_at: now,
                    reference: None,
                    at: now,
                    actor: ops(),
                    escalation: world.escalation_id(),
                };
                let said = self.model.report(&item);
                (Write::Report(Box::new(item)), said)
            }
            _ => {
                let stops = self.model.orders.values().filter_map(|order| order.stop.as_ref());
                let stops: Vec<_> = stops.map(|stop| stop.id.clone()).collect();
                let id = self.dice.pick(&stops).cloned().unwrap_or_else(|| world.stop_id());
                let fence = self.dice.below(4) as i64;
                let item = stoppress::store::SettleStop {
                    stop: id,
                    scope: Scope::Ops,
                    answer: self.dice.answer(),
                    person: false,
                    asked: Some((fence, at(self.now - self.dice.below(60) as i64))),
                    at: now,
                    next_at: at(self.now + 20),
                    actor: ops(),
                    escalation: world.escalation_id(),
                };
                let said = self.model.settle_stop(&item);
                (Write::SettleStop(Box::new(item)), said)
            }
        }
    }

    fn owner(&self, order: &OrderId) -> &str {
        self.model.lab_of(order)
    }

    /// Compares what is stored with the model, and looks at what must hold.
    async fn compare(&mut self, when: &str) {
        let ids: Vec<OrderId> = self.model.orders.keys().cloned().collect();
        let which: Vec<OrderRef> = ids.iter().cloned().map(OrderRef::Id).collect();
        let found = self.world.store.orders(&Scope::Ops, &which).await.unwrap();
        for (id, facts) in ids.iter().zip(found) {
            let (facts, model) = (facts.unwrap(), &self.model.orders[id]);
            assert_eq!(facts.batch.as_ref().map(|b| &b.id), model.batch.as_ref(), "{when}: batch of {id}");
            if let Some(batch) = &facts.batch {
                let known = &self.model.batches[&batch.id];
                assert_eq!((batch.phase, batch.closes_at), (known.phase, known.closes), "{when}: {id}");
            }
            assert_eq!(facts.stage, model.stage, "{when}: {id}");
            let stop = facts.stop.as_ref().map(|s| (s.id.clone(), s.state, s.evidence));
            let known = model.stop.as_ref().map(|s| (s.id.clone(), s.state, s.evidence));
            assert_eq!(stop, known, "{when}: stop of {id}");
            assert_eq!(facts.transfer.as_ref().map(|t| &t.id), model.transfer.as_ref(), "{when}: {id}");
            if let Some(t) = &facts.transfer {
                let known = &self.model.transfers[&t.id];
                let k = &known.facts;
                assert_eq!(
                    (t.phase, t.fence, t.attempts, t.unresolved, t.next_at, t.horizon_at, t.handed_at),
                    (k.phase, k.fence, k.attempts, k.unresolved, k.next_at, k.horizon_at, k.handed_at),
                    "{when}: transfer of {id}"
                );
                assert!(known.manifest.len() as i64 > 0 && known.key.starts_with(t.id.as_str()));
            }
            let last = self.watch.versions.insert(id.clone(), facts.version).unwrap_or(i64::MIN);
            assert!(
                facts.version >= last,
                "{when}: the version of {id} went from {last} to {}",
                facts.version
            );
            self.finality(when, id, stop.map(|(stop, state, _)| (stop.to_string(), state)));
        }
    }

    fn finality(&mut self, when: &str, id: &OrderId, stop: Option<(String, StopState)>) {
        use StopState::{Stopped, StoppedInPart, TooLate};
        let Some((stop, state)) = stop else {
            self.watch.stopped.remove(id.as_str());
            return;
        };
        if state == Stopped {
            self.watch.stopped.insert(id.to_string());
        }
        let before = self.watch.finals.insert(id.clone(), (stop.clone(), state));
        if let Some((earlier, before)) = before
            && earlier == stop
            && matches!(before, Stopped | StoppedInPart | TooLate)
        {
            assert_eq!(before, state, "{when}: a final answer of {id} stepped back");
        }
    }
}

async fn the_store_does_what_the_model_does(world: World) {
    let mut transfers = 0;
    for seed in 0..SEEDS {
        transfers += play(&world.another().await, seed).await;
    }
    assert!(transfers > 50, "too little happened: {transfers} transfers");
}

/// Plays one sequence, and says how many transfers it came to.
async fn play(world: &World, seed: u64) -> usize {
    let dice = Dice(SeededRandom::new(seed));
    let kinds = [
        Profile { orders_per_call: 3, ..able() },
        forgetful(),
        deaf(),
        Profile { attempts_max: 3, orders_per_call: 2, lookup: seed.is_multiple_of(2), ..able() },
        Profile { stops: stoppress::domain::lab::TakesStops::FinalOnReceipt, ..keeps(900) },
    ];
    let mut model = Model::default();
    let mut labs = Vec::new();
    for nth in 0..2 {
        let profile = kinds[(seed as usize + nth * 2) % kinds.len()].clone();
        // The windows' keys come from the profile at claim time in the store; the model has no such key.
        let profile = Profile { dedupes: dedupes(&profile), ..profile };
        let lab = world.lab(&format!("lab-{seed}-{nth}"), profile).await;
        model.profiles.insert(lab.id.clone(), lab.profile.clone());
        labs.push(lab);
    }
    let mut play = Play { world, labs, model, watch: Watch::default(), dice, now: 1_000 };
    for step in 0..STEPS {
        play.now += [0, 1, 7, 40, 150, 400][play.dice.below(6)];
        let (write, said) = play.step();
        let when = format!("seed {seed}, step {step}: {write:?}");
        let written = world.write(write).await;
        assert_eq!(say(&written), said, "{when}");
        if let Written::Claimed(claimed) = &written {
            for claimed in claimed {
                play.watch.claimed(claimed);
            }
        }
        play.compare(&when).await;
    }
    world.verify().await;
    play.model.transfers.len()
}

fn dedupes(profile: &Profile) -> stoppress::domain::lab::Dedupes {
    use stoppress::domain::lab::Dedupes::{Forever, No};
    if profile.dedupes.truly() { Forever } else { No }
}
