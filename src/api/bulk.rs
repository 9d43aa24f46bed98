//! Many orders at once, whatever they come over: read ahead, checked, and admitted in sets.
//!
//! The next set is read and checked while one commits; commits stay in the order of the lines. One bad
//! order is refused by itself and no other.

use std::borrow::Cow;

use tokio::sync::mpsc;

use super::orders::{Outcome, Prepared, admit, prepare};
use super::problem::{Answer, Code, Problem};
use super::{Api, routes};
use crate::domain::event::Actor;
use crate::domain::ids::PlatformId;
use crate::domain::order::Submission;

/// So many orders go into one commit.
pub(super) const SET: usize = 512;

/// The number of an order in its request, from 1, and what came; or why there will be none.
pub(super) type Read<T> = (u64, Answer<T>);

/// Where orders come from, one after the other.
pub(super) trait Source: Send + 'static {
    /// An order as it came, not looked at yet.
    type Raw: Send;
    /// Adds what is here already, up to a set.
    fn held(&mut self, set: &mut Vec<Read<Self::Raw>>);
    /// Waits for more, and adds it, up to a set. Nothing is lost if it is dropped.
    fn more(&mut self, set: &mut Vec<Read<Self::Raw>>) -> impl Future<Output = ()> + Send;
    /// Whether nothing comes any more.
    fn ended(&self) -> bool;
    /// Reads an order, and whose it is.
    fn read(&self, raw: Self::Raw) -> Answer<(Cow<'_, PlatformId>, Submission)>;
}

/// What became of one order.
pub(super) struct Done {
    /// Its number in the request, from 1.
    pub(super) line: u64,
    /// The platform's reference, where it could be read.
    pub(super) reference: Option<String>,
    /// What became of it.
    pub(super) outcome: Outcome,
}

/// Orders that were read and checked, and go into one commit.
pub(super) struct Set(Vec<Checked>);

struct Checked {
    line: u64,
    reference: Option<String>,
    prepared: Answer<Prepared>,
    /// What no lab can take now: it may have been taken before.
    unrouted: Option<Box<(PlatformId, Submission)>>,
}

/// Reads and checks sets in a task of its own, one set ahead of who takes them. Dropping the receiver
/// ends it.
pub(super) fn read_ahead(api: Api, actor: Actor, source: impl Source) -> mpsc::Receiver<Set> {
    let (ahead, sets) = mpsc::channel(1);
    tokio::spawn(run(api, actor, source, ahead));
    sets
}

async fn run(api: Api, actor: Actor, mut source: impl Source, ahead: mpsc::Sender<Set>) {
    loop {
        let lines = step(&mut source, &ahead).await;
        if lines.is_empty() {
            return;
        }
        let set = check(&api, &actor, &source, lines);
        if ahead.send(set).await.is_err() {
            return;
        }
    }
}

/// The lines of the next set; none at the end.
async fn step<S: Source>(source: &mut S, ahead: &mpsc::Sender<Set>) -> Vec<Read<S::Raw>> {
    let mut set = Vec::new();
    source.held(&mut set);
    while set.is_empty() && !source.ended() {
        source.more(&mut set).await;
    }
    // More that is here already goes into the same commit. What is not is waited for only while another
    // set is before this one.
    while set.len() < SET && !source.ended() {
        tokio::select! {
            biased;
            () = source.more(&mut set) => {}
            _ = ahead.reserve() => break,
        }
    }
    set
}

fn check<S: Source>(api: &Api, actor: &Actor, source: &S, lines: Vec<Read<S::Raw>>) -> Set {
    let now = api.clock.now();
    let checked = lines.into_iter().map(|(line, read)| {
        let (mut reference, mut unrouted) = (None, None);
        let prepared = read.and_then(|raw| source.read(raw)).and_then(|(platform, submission)| {
            let prepared = prepare(api, &platform, &submission, actor, now);
            reference = Some(submission.reference.clone());
            if prepared.as_ref().is_err_and(|problem| problem.code() == Code::NoRoute) {
                unrouted = Some(Box::new((platform.into_owned(), submission)));
            }
            prepared
        });
        Checked { line, reference, prepared, unrouted }
    });
    Set(checked.collect())
}

impl Set {
    /// Admits them; tells of each, in their order.
    pub(super) async fn admit(self, api: &Api) -> Vec<Done> {
        let mut done = Vec::with_capacity(self.0.len());
        let mut places = Vec::with_capacity(self.0.len());
        let mut prepared = Vec::with_capacity(self.0.len());
        for Checked { line, reference, prepared: checked, unrouted } in self.0 {
            let outcome = match (checked, unrouted) {
                (Ok(admission), _) => {
                    places.push(done.len());
                    prepared.push(admission);
                    None
                }
                (Err(problem), Some(unrouted)) => {
                    let known = routes::known(api, &unrouted.0, &unrouted.1, problem).await;
                    Some(known.unwrap_or_else(Outcome::Refused))
                }
                (Err(problem), None) => Some(Outcome::Refused(problem)),
            };
            done.push((line, reference, outcome));
        }
        let outcomes = if prepared.is_empty() { Ok(Vec::new()) } else { admit(api, prepared).await };
        match outcomes {
            Ok(outcomes) => {
                places.into_iter().zip(outcomes).for_each(|(at, outcome)| done[at].2 = Some(outcome));
            }
            Err(problem) => {
                for at in places {
                    done[at].2 = Some(Outcome::Refused(problem.clone()));
                }
            }
        }
        done.into_iter()
            .map(|(line, reference, outcome)| {
                let missing = || Outcome::Refused(Problem::unexpected("an order without an outcome"));
                Done { line, reference, outcome: outcome.unwrap_or_else(missing) }
            })
            .collect()
    }
}
