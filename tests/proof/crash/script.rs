//! What the clients of the day do, and when: platforms, customers, merchants, operators of labs, ops.

use stoppress::domain::order::Stage;

/// The cutoff of most windows, in seconds into the day.
pub(crate) const CUTOFF: i64 = 3600;
/// When the day ends: everything is to be settled by then.
pub(crate) const END: i64 = CUTOFF + 11_000;

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Platform, labs, the endpoint: until here a day is prepared once and copied.
    SetUp,
    /// An order, of a lab, paid or not.
    Admit(&'static str, &'static str, bool),
    Stop(&'static str),
    Pay(&'static str),
    Hold(&'static str),
    Release(&'static str),
    /// A customer's request that the merchant decides, so many seconds later at the latest.
    AskMerchant(&'static str, i64),
    Decide(&'static str, bool),
    /// Another order in the place of one.
    Replace(&'static str, &'static str),
    /// The platform asks for another address of an order.
    Readdress(&'static str, &'static str),
    Report(&'static str, Stage),
    /// Ops put off the cutoff of a lab by a minute.
    Postpone(&'static str),
    /// The operator of the lab answers the stop of an order.
    Operator(&'static str),
    /// Ops find out what machines could not.
    FindOut,
    Checkpoint,
    Remember,
}

use Step::{
    Admit, AskMerchant, Checkpoint, Decide, FindOut, Hold, Operator, Pay, Postpone, Readdress, Release,
    Remember, Replace, Report, SetUp, Stop,
};

/// The day.
pub(crate) const SCRIPT: &[(i64, Step)] = &[
    (0, SetUp),
    (10, Admit("a1", "able", true)),
    (11, Admit("a2", "able", true)),
    (12, Admit("a3", "able", true)),
    (13, Admit("a4", "able", true)),
    (14, Admit("p1", "plain", true)),
    (15, Admit("p2", "plain", true)),
    (16, Admit("p3", "plain", true)),
    (17, Admit("w1", "window", true)),
    (18, Admit("w2", "window", true)),
    (18, Admit("g1", "probe", true)),
    (19, Admit("g2", "probe", true)),
    (20, Admit("g3", "probe", true)),
    (21, Admit("h1", "deaf", true)),
    (22, Admit("h2", "deaf", true)),
    (23, Admit("h3", "deaf", true)),
    (24, Admit("k1", "picky", true)),
    (25, Admit("r1", "refuser", true)),
    (26, Admit("r2", "refuser", true)),
    (26, Admit("m1", "mute", true)),
    (26, Admit("m2", "mute", true)),
    (27, Admit("t1", "ahead", true)),
    (28, Admit("t2", "ahead", true)),
    (29, Admit("t3", "ahead", true)),
    (30, Admit("o1", "able", false)),
    (31, Admit("o2", "able", true)),
    (32, Admit("o3", "able", true)),
    (33, Admit("o4", "able", true)),
    (34, Admit("o5", "able", true)),
    (500, Pay("o1")),
    (600, Hold("o2")),
    (700, Release("o2")),
    (800, AskMerchant("o3", 3000)),
    (810, AskMerchant("o4", 300)),
    (900, Decide("o3", true)),
    (1000, Replace("o5", "o6")),
    (1200, Postpone("deaf")),
    (1300, Checkpoint),
    (1400, Remember),
    (2000, Decide("o4", false)),
    (CUTOFF - 300, Stop("t3")),
    (CUTOFF - 100, Stop("a4")),
    (CUTOFF + 5, Stop("p1")),
    (CUTOFF + 6, Stop("p2")),
    (CUTOFF + 7, Stop("w1")),
    (CUTOFF + 20, Stop("g1")),
    (CUTOFF + 21, Stop("g2")),
    (CUTOFF + 22, Stop("g3")),
    (CUTOFF + 80, Stop("h1")),
    (CUTOFF + 85, Readdress("t2", "Katu 5")),
    (CUTOFF + 90, Stop("t2")),
    (CUTOFF + 200, Readdress("o1", "Katu 2")),
    (CUTOFF + 210, Readdress("m2", "Katu 6")),
    (CUTOFF + 400, Operator("t2")),
    (CUTOFF + 420, Readdress("o1", "Katu 3")),
    (CUTOFF + 1000, Report("o1", Stage::InProduction)),
    (CUTOFF + 1870, Readdress("o2", "Katu 4")),
    (CUTOFF + 1900, Stop("a3")),
    (CUTOFF + 2000, Stop("p3")),
    (CUTOFF + 4000, FindOut),
    (CUTOFF + 4100, Checkpoint),
    (CUTOFF + 7500, FindOut),
    (CUTOFF + 8000, FindOut),
];
