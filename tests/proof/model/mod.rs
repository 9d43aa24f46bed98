//! An exhaustive model of how orders are handed over and stopped, of the protocol as it is built.
//!
//! Two replicas work on one store. One or two orders wait in a batch; a stop may be asked of each at any moment, at
//! either replica. The lab is one of eight kinds. Uploads are delayed without limit, overtake each other, are lost or
//! doubled; the lab refuses; replicas die; a live owner is taken over at any moment. A transaction of the store is one
//! step, see [`verbs`]; the pure rules of the crate decide, see [`rules`]. Every state that can be reached is looked
//! at, and none may break the promise, see [`PROMISE`]. Each known mistake is a switch, see [`Mistake`], and is caught.
//!
//! Not in it: the calendar (the end of the window is one event), labs of two phases, stops of lines, holds, reinstated
//! and replaced orders, labs without a machine. Assumed, because nothing could be promised otherwise: the horizon (what
//! was sent has arrived or never will, once it has passed); a lab that keeps its word, and answers the same stop alike;
//! people who say that nothing arrived only once nothing can be on its way; a gateway that is taken for gone is.
//!
//! `STOPPRESS_MODEL=full cargo test --release --test proof model:: -- --nocapture` looks at the larger spaces, too.

mod lab;
mod mistakes;
mod rules;
mod runs;
mod state;
mod steps;
mod verbs;

use stateright::{Model, Property};
use stoppress::domain::batch::BatchPhase;
use stoppress::domain::lab::{Dedupes, Profile, TakesStops};
use stoppress::domain::stop::{Evidence, StopState};

use self::mistakes::Mistake;
use self::rules::Lab;
use self::state::{Ask, COPIES, Intake, JOBS, Ledger, Left, ORDERS, Order, State, broken};
use self::steps::Act;

/// What is looked at: a lab, who may want what, and how much may go wrong.
#[derive(Debug, Clone)]
struct World {
    lab: Lab,
    /// The orders, and those whose stop may be asked, a bit each.
    orders: u8,
    stops: u8,
    /// The attempts that a transfer has.
    attempts: u8,
    /// How often the lab is asked for the stop of an order: then deadlines decide.
    asks: u8,
    left: Left,
    /// Whether the lab may answer a stop later.
    later: bool,
    /// Whether the orders are still to be submitted.
    intake: bool,
    profile: Profile,
    mistake: Option<Mistake>,
}

impl World {
    /// A lab of a kind, one order that may be stopped, and nothing that goes wrong.
    fn of(lab: Lab) -> Self {
        let left = Left { crashes: 0, losses: 0, copies: 0, refusals: 0, looks: 2, anew: 1, repeats: 0 };
        let (orders, stops, attempts, asks) = (1, 1, 2, 2);
        let profile = lab.profile(attempts);
        Self { lab, orders, stops, attempts, asks, left, later: false, intake: false, profile, mistake: None }
    }

    /// The same, where more goes wrong.
    fn faults(mut self, crashes: u8, losses: u8, copies: u8, refusals: u8) -> Self {
        self.left = Left { crashes, losses, copies, refusals, ..self.left };
        self
    }

    /// The same, where no person lets a transfer go once more.
    fn never_anew(mut self) -> Self {
        self.left.anew = 0;
        self
    }

    /// The same, where the lab is asked so often for the stop of an order.
    fn asks(self, asks: u8) -> Self {
        Self { asks, ..self }
    }

    /// The same, where it is looked up so often.
    fn looks(mut self, looks: u8) -> Self {
        self.left.looks = looks;
        self
    }

    /// The same with two orders in the transfer.
    fn two(self, stops: u8) -> Self {
        Self { orders: 3, stops, ..self }
    }

    /// The same with so many attempts.
    fn attempts(self, attempts: u8) -> Self {
        let profile = Profile { attempts_max: i64::from(attempts), ..self.profile };
        Self { attempts, profile, ..self }
    }

    /// The same, where the orders are submitted first.
    fn intake(mut self) -> Self {
        self.intake = true;
        self.left.repeats = 1;
        self
    }

    /// The same, where the lab may answer stops later.
    fn later(self) -> Self {
        Self { later: true, ..self }
    }

    /// The same, where what the lab has is final.
    fn final_on_receipt(self) -> Self {
        let profile = Profile { stops: TakesStops::FinalOnReceipt, ..self.profile };
        Self { profile, ..self }
    }

    /// The same, where the lab's people answer.
    fn by_people(self) -> Self {
        Self { profile: rules::by_people(self.profile), ..self }
    }

    /// The same with a mistake.
    fn with(mut self, mistake: Mistake) -> Self {
        if mistake == Mistake::TrustsForgetful {
            self.profile.dedupes = Dedupes::Forever;
        }
        self.mistake = Some(mistake);
        self
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

/// What is broken in a state, in words.
const PROMISE: [(u8, &str); 8] = [
    (broken::LIE, "S1: what was told stopped is not printed because of us"),
    (broken::TWICE, "S2: no order is printed twice"),
    (broken::BACK, "S3: answers never step back, and never contradict each other"),
    (broken::CONTENT, "S4: what goes out under a key never changes"),
    (broken::LOST, "S5: an order that was accepted and is not stopped comes to the lab, or to a person"),
    (broken::PROMISE, "S6: a stop that was asked before the end of the window is granted"),
    (broken::ALARM, "S7: a lab that keeps its word never seems to contradict what was told"),
    (broken::STUCK, "T1: everything comes to an end"),
];

/// The name of the one property: everything of [`PROMISE`].
const HOLDS: &str = "the promise holds";

/// What a stop can come to: an answer and what it rests on.
macro_rules! answers {
    ($($name:ident = $state:ident $(($evidence:ident))?;)*) => {
        /// The answers that can be told, each under the name by which a run asks for it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Told { $($name,)* }

        impl Told {
            fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            fn property(self) -> Property<World> {
                match self {$(
                    Self::$name => Property::sometimes(stringify!($name), |_, s: &State| {
                        let evidence = None $(.or(Some(Evidence::$evidence)))?;
                        s.orders.iter().any(|it| it.stop == Some(StopState::$state) && it.evidence == evidence)
                    }),
                )*}
            }
        }
    };
}

answers! {
    Waits = Pending;
    NeverHanded = Stopped(NeverHanded);
    LabRemoved = Stopped(LabRemoved);
    PersonConfirmed = Stopped(PersonConfirmed);
    Printed = TooLate(InProduction);
    FinalOnReceipt = TooLate(FinalOnReceipt);
    NoAnswer = WithAPerson(NoAnswer);
    NoChannel = WithAPerson(NoChannel);
    TransferWithAPerson = WithAPerson;
}

impl World {
    /// The answers that must be reachable.
    fn tells(&self) -> Vec<Told> {
        use Told::{
            FinalOnReceipt, LabRemoved, NeverHanded, NoAnswer, NoChannel, PersonConfirmed, Printed, Waits,
        };
        let mut told = vec![NeverHanded, Waits, Printed, PersonConfirmed, Told::TransferWithAPerson];
        match self.profile.stops {
            _ if self.profile.by_person() => told.push(NoAnswer),
            TakesStops::Yes => told.extend([LabRemoved, NoAnswer]),
            TakesStops::No => told.push(NoChannel),
            TakesStops::FinalOnReceipt => told.push(FinalOnReceipt),
        }
        told
    }
}

impl Model for World {
    type State = State;
    type Action = (Act, State);

    fn init_states(&self) -> Vec<State> {
        let order = |at: usize| {
            let there = self.orders & 1 << at != 0;
            let asked = self.stops & 1 << at != 0;
            Order {
                intake: if there && !self.intake { Intake::Told } else { Intake::Not },
                of: at as u8,
                ask: if there && asked { Ask::Open } else { Ask::Never },
                asks: if there && asked { self.asks } else { 0 },
                ..Order::NONE
            }
        };
        vec![State {
            batch: BatchPhase::Open,
            ended: false,
            clear: [false; 2],
            orders: std::array::from_fn::<_, ORDERS, _>(order),
            transfer: None,
            calls: [None; _],
            wire: [None; COPIES],
            lab: Ledger { jobs: [None; JOBS], known: 0, refused: 0, owes: 0, late_stops: 0 },
            left: self.left,
            broken: 0,
            vanishing: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Self::Action>) {
        if state.broken == 0 {
            self.steps(state, actions);
        }
    }

    fn next_state(&self, _: &State, (_, next): Self::Action) -> Option<State> {
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![Property::always(HOLDS, |_, s: &State| s.broken == 0)];
        if self.mistake.is_none() {
            all.extend(self.tells().into_iter().map(Told::property));
        }
        all
    }
}
