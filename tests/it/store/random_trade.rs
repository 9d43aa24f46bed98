//! Random sequences of what merchants and customers do: stops of orders and of lines, approvals of both, holds,
//! replacements, reinstated orders, among closings, hand-overs and answers of labs. A model in memory says before each
//! step what must be answered, and after it how every order must stand; and a ledger has what the labs were handed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stoppress::clock::{Random as _, SeededRandom};
use stoppress::domain::extras::HoldKind;
use stoppress::domain::ids::{ApprovalId, OrderId};
use stoppress::domain::lab::{Answer, Profile};
use stoppress::domain::measures::Lasting;
use stoppress::domain::order::Held;
use stoppress::domain::stop::StopState;
use stoppress::store::{
    Admitted, ApprovalAsk, ApprovalOutcome, ChangeKind, Changed, Claimed, Decide, Decided, OrderRef,
    Outgoing, Replace, Replaced, Scope, StopOutcome, StopRefused, StopSettled, Write, Written,
};

use super::lines::{exact, lines_of, three};
use super::on_both;
use super::trade_model::{LINES, Lines, Model, Order, Phase};
use crate::common::world::{
    Lab, World, able, accepted, at, ops, refused, removed, shop, unreachable, will_print,
};

on_both!(what_merchants_and_customers_do_is_what_the_model_says);

const SEEDS: u64 = 8;
const STEPS: usize = 160;
struct Play<'a> {
    world: &'a World,
    labs: Vec<Lab<'a>>,
    dice: SeededRandom,
    now: i64,
    next: usize,
    model: Model,
    versions: BTreeMap<OrderId, i64>,
    sending: Vec<(usize, Outgoing)>,
    /// What the labs have and print.
    presses: BTreeMap<OrderId, Lines>,
    /// How often each kind of thing happened.
    seen: BTreeMap<&'static str, usize>,
}

impl Play<'_> {
    fn below(&self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.dice.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % end.max(1) as u64) as usize
    }

    fn order(&self) -> Option<OrderId> {
        let ids: Vec<_> = self.model.orders.keys().cloned().collect();
        ids.get(self.below(ids.len())).cloned()
    }

    fn some_lines(&self) -> Lines {
        let mut lines: Lines = LINES.iter().map(|id| (*id).to_owned()).collect();
        lines.retain(|_| self.below(5) < 2);
        if self.below(2) == 0 {
            lines.reverse();
        }
        if lines.is_empty() { vec![LINES[self.below(3)].to_owned()] } else { lines }
    }

    fn happened(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn lab(&self, order: &OrderId) -> &Lab<'_> {
        &self.labs[self.model.orders[order].lab]
    }

    /// A window that has not closed.
    fn window(&self, lab: usize) -> stoppress::domain::batch::Joining {
        self.labs[lab].window((self.now / 300 + 1) * 300)
    }

    async fn stop(&mut self, order: &OrderId, items: Lines) {
        let mut ask = self.lab(order).asking(order, self.now);
        ask.items = items;
        let expected = if ask.items.is_empty() {
            self.model.stops(order, &ask.id)
        } else {
            self.model.stops_lines(order, &ask.id, &ask.items)
        };
        let told = self.world.write(Write::Stop(Box::new(ask))).await;
        let Written::Stop(told) = told else { panic!("not a stop") };
        assert_eq!(say_stop(&told), expected);
        self.happened("stop");
    }

    async fn ask(&mut self, order: &OrderId, items: Lines) {
        let (approval, hold) = (self.world.approval_id(), self.world.hold_id());
        let mut stop = self.lab(order).asking(order, self.now);
        (stop.scope, stop.items) = (Scope::Platform(shop()), items);
        let ask = ApprovalAsk { id: approval, hold, due_at: at(self.now + 86_400), stop };
        let expected = self.model.asks(&ask, order);
        let told = self.world.write(Write::AskApproval(Box::new(ask))).await;
        let Written::Approval(told) = told else { panic!("not an approval") };
        let said = match *told {
            ApprovalOutcome::Stop(outcome) => format!("stop {}", say_stop(&outcome)),
            ApprovalOutcome::Already(known) => format!("known {} {}", known.id, known.state.word()),
            ApprovalOutcome::Asked(facts) => format!("new {} {:?}", facts.held, facts.items),
        };
        assert_eq!(said, expected);
        self.happened("ask");
    }

    async fn decide(&mut self, order: &OrderId, approval: ApprovalId, agrees: bool) {
        let lab = self.model.orders[order].lab;
        let stop = self.labs[lab].asking(order, self.now);
        let item = Decide {
            approval,
            scope: Scope::Platform(shop()),
            agrees: agrees.then(|| Box::new(stop)),
            join: Some(self.window(lab)),
            why: Some("so it is".to_owned()),
            at: at(self.now),
            actor: ops(),
        };
        let expected = self.model.decides(order, &item);
        let told = self.world.write(Write::Decide(Box::new(item))).await;
        let Written::Decided(told) = told else { panic!("not a decision") };
        let said = match *told {
            Decided::Already(known) => format!("already {}", known.state.word()),
            Decided::Declined(_) => "declined".to_owned(),
            Decided::Refused(StopRefused::WholeOrderOnly) => "refused".to_owned(),
            Decided::Approved(_, Some(stop)) => {
                // Whether it was asked before is in what the model expects.
                let known = expected.starts_with("approved already");
                let word = if known { format!("already {}", stop.id) } else { "asked".to_owned() };
                format!("approved {word} {}", stop.state.word())
            }
            other => format!("{other:?}"),
        };
        assert_eq!(said, expected);
        self.happened(if agrees { "approve" } else { "decline" });
    }

    async fn change(&mut self, order: &OrderId, kind: ChangeKind) {
        let lab = self.model.orders[order].lab;
        let mut item = self.labs[lab].changing(order, kind.clone(), self.now);
        item.join = Some(self.window(lab));
        if kind == ChangeKind::Rejoin {
            item.scope = Scope::Ops;
        }
        let expected = self.model.changes(order, &kind);
        let told = self.world.write(Write::Change(Box::new(item))).await;
        let Written::Changed(told) = told else { panic!("not a change") };
        let said = format!("{told:?}");
        assert!(said.starts_with(expected), "{kind:?}: {said}, not {expected}");
        if told == Changed::Done {
            self.happened("change");
        }
    }

    async fn replace(&mut self, old: &OrderId) {
        let lab = self.model.orders[old].lab;
        self.next += 1;
        let mut stop = self.labs[lab].asking(old, self.now);
        stop.scope = Scope::Platform(shop());
        let mut admission = three(&self.labs[lab], &format!("N-{}", self.next));
        (admission.at, admission.join) = (at(self.now), None);
        let hold = self.world.hold_id();
        let join = Some(self.window(lab));
        let item = Replace { stop, admission: Arc::new(admission), join, hold };
        let expected = self.model.replaces(old, &item);
        let told = self.world.write(Write::Replace(Box::new(item))).await;
        let Written::Replaced(told) = told else { panic!("not a replacement") };
        let said = match told {
            Replaced::Done(_, true) => "done".to_owned(),
            Replaced::Waits(_) => "waits".to_owned(),
            Replaced::By(_) => "by another".to_owned(),
            Replaced::NotAllowed(_) => "not allowed".to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(said, expected);
        if said == "done" {
            self.happened("replace");
        }
    }

    async fn admit(&mut self) {
        let lab = self.below(self.labs.len());
        self.next += 1;
        let mut item = three(&self.labs[lab], &format!("A-{}", self.next));
        (item.at, item.join) = (at(self.now), Some(self.window(lab)));
        let id = item.id.clone();
        let admitted = self.labs[lab].admit_as(item).await;
        assert!(matches!(admitted, Admitted::New { .. }), "{admitted:?}");
        self.model.orders.insert(id, Order::new(lab, None));
    }

    /// Hands over what is due, and looks at every line that leaves the house.
    async fn claim(&mut self, lab: usize) -> usize {
        self.world.close_some(self.now, 10).await;
        let mut sent = 0;
        for claimed in self.labs[lab].claim(self.now).await {
            let out = match claimed {
                Claimed::Send(out) => out,
                Claimed::Empty(_) | Claimed::Waits(_) => continue,
                other => panic!("{other:?}"),
            };
            sent += 1;
            for (order, lines) in super::claim::named(&out).into_iter().zip(lines_of(&out)) {
                let order = OrderId::parse(&order).unwrap();
                let it = self.model.orders.get_mut(&order).unwrap();
                assert!(matches!(it.phase, Phase::House | Phase::Back), "{order} is sent twice: {it:?}");
                assert!(it.stop.is_none() && !it.kept_out(), "{order} is sent: {it:?}");
                assert!(it.in_batch || it.phase == Phase::Back, "{order} is in no batch: {it:?}");
                assert_eq!(lines, it.printed(), "{order}: {it:?}");
                it.phase = Phase::Sending;
            }
            self.sending.push((lab, out));
        }
        sent
    }

    async fn settle(&mut self, at: usize, answer: Answer) {
        let (lab, out) = self.sending.swap_remove(at);
        let took = matches!(answer, Answer::Accepted { .. });
        self.labs[lab].settle(&out, answer, self.now).await.expect("it is the last attempt");
        for (order, lines) in super::claim::named(&out).into_iter().zip(lines_of(&out)) {
            let order = OrderId::parse(&order).unwrap();
            let it = self.model.orders.get_mut(&order).unwrap();
            if took {
                it.phase = Phase::AtLab;
                assert!(self.presses.insert(order, lines).is_none(), "printed twice");
                continue;
            }
            it.phase = Phase::Back;
            for stop in it.line_stops.iter_mut().filter(|stop| stop.state == StopState::Pending) {
                stop.state = StopState::StoppedInPart;
                it.out.extend(stop.items.iter().cloned());
            }
            if let Some((_, state)) = it.stop.as_mut().filter(|(_, state)| *state == StopState::Pending) {
                *state = StopState::Stopped;
                self.model.decided(&order);
            }
        }
        self.happened(if took { "accepted" } else { "fell back" });
    }

    /// The lab answers one of the stops that wait for it. False if there is none.
    async fn answer(&mut self, good: bool) -> bool {
        let at_lab = self.model.orders.iter().filter(|(_, it)| it.phase == Phase::AtLab);
        let pending = |(id, it): (&OrderId, &Order)| match &it.stop {
            Some((_, StopState::Pending)) => Some((id.clone(), None)),
            Some(_) => None,
            None => {
                let open = it.line_stops.iter().position(|stop| stop.state == StopState::Pending)?;
                Some((id.clone(), Some(open)))
            }
        };
        let open: Vec<_> = at_lab.filter_map(pending).collect();
        let Some((order, line)) = open.get(self.below(open.len())).cloned() else { return false };
        let facts = match line {
            None => self.world.stop_of(&order).await,
            Some(at) => {
                let id = self.model.orders[&order].line_stops[at].id.clone();
                let all = self.world.store.line_stops(&order).await.unwrap();
                all.into_iter().find(|stop| stop.id == id).unwrap()
            }
        };
        let answer = match (good, &facts.items) {
            (false, _) => will_print(),
            (true, None) => removed(),
            (true, Some(items)) => Answer::Removed { reason: None, items: items.clone() },
        };
        let settled = self.lab(&order).answer(&facts, answer, self.now).await;
        assert!(matches!(settled, StopSettled::Done(_)), "{settled:?}");
        let state = if good { StopState::Stopped } else { StopState::TooLate };
        let it = self.model.orders.get_mut(&order).unwrap();
        match line {
            None => {
                it.stop.as_mut().unwrap().1 = state;
                if good {
                    self.presses.remove(&order);
                }
                self.model.decided(&order);
            }
            Some(at) if good => {
                it.line_stops[at].state = StopState::StoppedInPart;
                let items = it.line_stops[at].items.clone();
                self.presses.get_mut(&order).unwrap().retain(|id| !items.contains(id));
                it.out.extend(items);
            }
            Some(at) => it.line_stops[at].state = StopState::TooLate,
        }
        self.happened(if good { "removed" } else { "too late" });
        true
    }

    fn approvals(&self) -> Vec<(OrderId, ApprovalId)> {
        let of = |(id, it): (&OrderId, &Order)| {
            it.approvals.iter().map(|approval| (id.clone(), approval.id.clone())).collect::<Vec<_>>()
        };
        self.model.orders.iter().flat_map(of).collect()
    }

    async fn step(&mut self) {
        self.now += [0, 1, 7, 40, 150][self.below(5)];
        let what = self.below(36);
        let order = self.order();
        match (what, order) {
            (0..5, _) | (_, None) => self.admit().await,
            (5..7, Some(order)) => self.stop(&order, Lines::new()).await,
            (7..9, Some(order)) => self.stop(&order, self.some_lines()).await,
            (9..11, Some(order)) => self.ask(&order, Lines::new()).await,
            (11..15, Some(order)) => self.ask(&order, self.some_lines()).await,
            (15..19, _) => {
                let all = self.approvals();
                if let Some((order, approval)) = all.get(self.below(all.len())).cloned() {
                    self.decide(&order, approval, self.below(2) == 0).await;
                }
            }
            (19..22, Some(order)) => {
                let kinds =
                    [ChangeKind::Hold, ChangeKind::Release, ChangeKind::Reinstate, ChangeKind::Rejoin];
                self.change(&order, kinds[self.below(4)].clone()).await;
            }
            (22..24, Some(order)) => self.replace(&order).await,
            (24..28, _) => {
                self.claim(self.below(self.labs.len())).await;
            }
            (28..32, _) if !self.sending.is_empty() => {
                let answer = [accepted(), accepted(), refused(), unreachable()][self.below(4)].clone();
                self.settle(self.below(self.sending.len()), answer).await;
            }
            _ => {
                self.answer(self.below(2) > 0).await;
            }
        }
    }

    /// Compares what is stored with the model.
    async fn compare(&mut self) {
        let which: Vec<OrderRef> = self.model.orders.keys().cloned().map(OrderRef::Id).collect();
        let stored = self.world.store.orders(&Scope::Ops, &which).await.unwrap();
        for ((id, it), facts) in self.model.orders.iter().zip(stored) {
            let facts = facts.unwrap();
            let stop = facts.stop.as_ref().map(|stop| (stop.id.clone(), stop.state));
            assert_eq!(stop, it.stop, "stop of {id}: {it:?}");
            assert_eq!(facts.batch.is_some(), it.in_batch, "batch of {id}: {it:?} {facts:?}");
            assert_eq!(facts.held != Held::No, it.kept_out(), "holds of {id}: {it:?} {facts:?}");
            let count = |kind| facts.extras.holds.iter().filter(|hold| hold.kind == kind).count();
            let asked = it.approvals.iter().any(|approval| approval.open() && approval.held);
            assert_eq!(count(HoldKind::Approval), usize::from(asked), "{id}: {it:?}");
            assert_eq!(count(HoldKind::Hold), usize::from(it.hold), "{id}: {it:?}");
            assert_eq!(count(HoldKind::Replacing), usize::from(it.waits()), "{id}: {it:?}");
            let said = facts.extras.approval.iter().chain(&facts.extras.line_approvals);
            let mut said: Vec<_> =
                said.map(|it| (it.id.clone(), it.items.clone(), it.state, it.held)).collect();
            let known = it.approvals.iter().map(|it| (it.id.clone(), it.items.clone(), it.state, it.held));
            let mut known: Vec<_> = known.collect();
            said.sort_by(|a, b| a.0.cmp(&b.0));
            known.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(said, known, "approvals of {id}");
            let link = facts.extras.replaces.as_ref().map(|link| (link.order.clone(), link.state));
            assert_eq!(link, it.replaces, "what {id} replaces");
            if it.stop.is_none() {
                assert_eq!(facts.lines_out.iter().cloned().collect::<BTreeSet<_>>(), it.out, "{id}");
            }
            if it.stop.is_none() && !it.line_stops.is_empty() {
                let open = it.line_stops.iter().map(|stop| (stop.id.clone(), stop.items.clone(), stop.state));
                let stored = self.world.store.line_stops(id).await.unwrap().into_iter();
                let stored = stored.map(|stop| (stop.id, stop.items.unwrap(), stop.state));
                assert_eq!(stored.collect::<Vec<_>>(), open.collect::<Vec<_>>(), "stops of lines of {id}");
            }
            let last = self.versions.insert(id.clone(), facts.version).unwrap_or(i64::MIN);
            assert!(facts.version >= last, "the version of {id} went from {last} to {}", facts.version);
        }
        self.promises();
    }

    /// What was told holds on the presses.
    fn promises(&self) {
        for (id, it) in &self.model.orders {
            let made = self.presses.get(id);
            assert!(made.is_none() || !it.stopped(), "{id} was told stopped, and is printed");
            if let Some(made) = made {
                assert!(
                    !made.iter().any(|line| it.out.contains(line)),
                    "{id}: a line that is out is printed"
                );
            }
            if let Some((old, _)) = &it.replaces {
                let both = made.is_some() && self.presses.contains_key(old);
                assert!(!both, "{old} and {id} in its place are both printed");
            }
        }
    }

    /// Everybody decides, and everything is handed over.
    async fn end(&mut self) {
        for (order, approval) in self.approvals() {
            self.decide(&order, approval, false).await;
        }
        loop {
            self.now += 301;
            while let Some(at) = self.sending.len().checked_sub(1) {
                self.settle(at, accepted()).await;
            }
            while self.answer(true).await {}
            for order in self.model.orders.keys().cloned().collect::<Vec<_>>() {
                self.change(&order, ChangeKind::Release).await;
                self.change(&order, ChangeKind::Rejoin).await;
            }
            self.compare().await;
            self.now += 301;
            let mut sent = 0;
            for lab in 0..self.labs.len() {
                sent += self.claim(lab).await;
            }
            let waits = self.model.orders.values().any(|it| it.stop.is_none() && it.phase != Phase::AtLab);
            if sent == 0 && !waits {
                break;
            }
        }
        for (id, it) in &self.model.orders {
            let made = self.presses.get(id);
            assert_eq!(made.is_none(), it.stopped(), "{id} is printed or stopped, never neither: {it:?}");
            assert!(made.is_none_or(|made| *made == it.printed()), "{id}: {made:?} {it:?}");
        }
    }
}

fn say_stop(outcome: &StopOutcome) -> String {
    match outcome {
        StopOutcome::Already(stop) => format!("already {} {}", stop.id, stop.state.word()),
        StopOutcome::Asked(stop) => format!("asked {}", stop.state.word()),
        StopOutcome::Refused(StopRefused::WholeOrderOnly) => "refused".to_owned(),
        other => format!("{other:?}"),
    }
}

#[expect(clippy::print_stderr, reason = "a test that fails says of which seed")]
async fn what_merchants_and_customers_do_is_what_the_model_says(world: World) {
    let mut seen: BTreeMap<&'static str, usize> = BTreeMap::new();
    for seed in 0..SEEDS {
        eprintln!("seed {seed}");
        for (what, count) in play(&world.another().await, seed).await {
            *seen.entry(what).or_default() += count;
        }
    }
    for what in [
        "stop",
        "ask",
        "approve",
        "decline",
        "change",
        "replace",
        "accepted",
        "fell back",
        "removed",
        "too late",
    ] {
        assert!(seen.get(what).is_some_and(|count| *count > 5), "too little happened: {what} of {seen:?}");
    }
}

/// Plays one sequence, and says what happened how often.
async fn play(world: &World, seed: u64) -> BTreeMap<&'static str, usize> {
    let patient = |profile: Profile| Profile {
        attempts_max: 100,
        handover_within: Lasting::seconds(72 * 3600),
        orders_per_call: 1 + u32::try_from(seed % 3).unwrap(),
        ..profile
    };
    let mut labs = Vec::new();
    for (nth, profile) in [patient(exact()), patient(able())].into_iter().enumerate() {
        labs.push(world.lab(&format!("lab-{seed}-{nth}"), profile).await);
    }
    let by_lines = labs.iter().map(|lab| lab.profile.stops_lines).collect();
    let model = Model { by_lines, orders: BTreeMap::new() };
    let mut play = Play {
        world,
        labs,
        dice: SeededRandom::new(seed ^ 0x7472_6164),
        now: 1_000,
        next: 0,
        model,
        versions: BTreeMap::new(),
        sending: Vec::new(),
        presses: BTreeMap::new(),
        seen: BTreeMap::new(),
    };
    for _ in 0..STEPS {
        play.step().await;
        play.compare().await;
    }
    play.end().await;
    world.verify().await;
    play.seen
}
