//! Writes to the people of labs about stops that wait for them: at once, at half of the time, and to the
//! second contact at three quarters. Then the deadline gives the stop to ops.
//!
//! A mail is claimed in the store before it is sent, and how the sending ended is settled under that claim:
//! neither a restart nor another gateway sends it again, but once where nobody knows what came of it. A mail that
//! cannot be sent gives the stop to ops at once.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::labs::Endpoint;
use super::{Bench, Step};
use crate::domain::batch::later;
use crate::domain::calendar::Calendar;
use crate::domain::hours::Hours;
use crate::domain::ids::{EscalationId, LabId, RegionId};
use crate::domain::lab::LabSpec;
use crate::domain::link::LinkKey;
use crate::domain::mail::{Audience, Letter, MailOutcome, link_until, masked, plan};
use crate::domain::order::OrderFacts;
use crate::lab::mail::{Mail, SharedMailer};
use crate::points::point;
use crate::store::{
    ClaimMails, MailDue, MailPlan, MailWanted, OrderRef, Result, Scope, SettleMail, Write, Written, one,
};

/// The loop's name.
pub const NAME: &str = "remind";
/// How long a mail that was taken is ours: longer than two phases of a sending can take.
const LEASE: SignedDuration = SignedDuration::from_secs(150);
/// Mails on their way at the same time.
const AT_ONCE: usize = 8;
/// Stops that are planned in one transaction.
const PLAN_MAX: i64 = 200;

/// Finds the calendar of a region: its clocks.
pub type Calendars = Arc<dyn Fn(&LabId, &RegionId) -> Option<Calendar> + Send + Sync>;

/// What links are made of.
#[derive(Debug, Clone)]
pub struct Links {
    /// The key.
    pub key: Arc<LinkKey>,
    /// Where this gateway is, as the people of labs reach it; `None` if no mail is sent.
    pub public_url: Option<Url>,
}

impl Links {
    /// The link with this token.
    fn with(&self, token: &str) -> Option<String> {
        let url = self.public_url.as_ref()?;
        Some(format!("{}/a/{token}", url.as_str().trim_end_matches('/')))
    }
}

/// The loop that writes mails.
#[derive(Clone)]
pub struct Remind {
    bench: Bench,
    mailer: SharedMailer,
    links: Links,
    calendars: Calendars,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Remind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remind").field("mailer", &self.mailer).finish_non_exhaustive()
    }
}

/// Whether mails about stops of a lab are to be written, and to whom.
fn contact(spec: &LabSpec, mails: bool) -> Option<&crate::domain::lab::Contact> {
    let contact = spec.policy.contact.as_ref().filter(|contact| contact.email.is_some())?;
    // Where stops are tasks of people who cannot be written to, ops must hear of it: that is found out by trying.
    let wanted = if mails { spec.people_answer() } else { spec.profile_in_force().by_person() };
    wanted.then_some(contact)
}

impl Remind {
    /// The loop.
    #[must_use]
    pub fn new(bench: Bench, mailer: SharedMailer, links: Links, calendars: Calendars) -> Self {
        Self { bench, mailer, links, calendars, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    fn contact<'a>(&self, endpoint: &'a Endpoint) -> Option<&'a crate::domain::lab::Contact> {
        contact(&endpoint.spec, self.links.public_url.is_some())
    }

    fn plans(&self, wanted: &MailWanted, now: Timestamp) -> Vec<MailPlan> {
        let Some(endpoint) = self.bench.labs.get(&wanted.lab) else { return Vec::new() };
        let Some(contact) = self.contact(&endpoint) else { return Vec::new() };
        let hours = contact.hours.as_deref().and_then(|text| Hours::parse(text).ok());
        let calendar = (self.calendars)(&wanted.lab, &wanted.region);
        let hours = hours.as_ref().zip(calendar.as_ref());
        plan(&wanted.stop, hours, contact.second_email.is_some(), now)
            .into_iter()
            .map(|(step, at)| MailPlan {
                stop: wanted.stop.id.clone(),
                order: wanted.stop.order.clone(),
                lab: wanted.lab.clone(),
                step,
                at,
            })
            .collect()
    }
}

impl Step for Remind {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let bench = &self.bench;
        bench.labs.refresh(&*bench.store, now).await?;
        let labs: Vec<LabId> = bench
            .labs
            .all()
            .into_iter()
            .filter(|endpoint| self.contact(endpoint).is_some())
            .map(|endpoint| endpoint.id)
            .collect();
        let wanted = bench.store.mail_wanted(&labs, PLAN_MAX).await?;
        let more = wanted.len() as i64 == PLAN_MAX;
        let plans: Vec<MailPlan> = wanted.iter().flat_map(|wanted| self.plans(wanted, now)).collect();
        if !plans.is_empty() {
            one(&*bench.store, Write::PlanMails(plans)).await?;
        }
        let next = bench.store.mail_next().await?;
        let Some(next) = next.filter(|next| *next <= now) else { return Ok(next) };
        let mut places = Vec::new();
        while let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            places.push(place);
        }
        if places.is_empty() {
            // Whoever is done rings.
            return Ok(Some(later(now, LEASE)));
        }
        let claim = ClaimMails { limit: places.len() as i64, now, lease_until: later(now, LEASE) };
        let Written::MailsClaimed(due) = one(&*bench.store, Write::ClaimMails(claim)).await? else {
            return Ok(Some(next));
        };
        for (due, place) in due.into_iter().zip(places) {
            let (remind, guard) = (self.clone(), bench.bells.call());
            tokio::spawn(async move {
                remind.run(due, place).await;
                remind.bench.bells.nudge(NAME);
                drop(guard);
            });
        }
        let next = bench.store.mail_next().await?;
        let soon = later(now, SignedDuration::from_millis(20));
        Ok(if more { Some(soon) } else { next.map(|next| next.max(soon)) })
    }
}

impl Remind {
    async fn run(&self, due: MailDue, place: OwnedSemaphorePermit) {
        let bench = &self.bench;
        let (to, outcome) = match self.written(&due).await {
            Err(error) => {
                tracing::error!(stop = %due.stop, %error, "a mail could not be written; it is tried again");
                return;
            }
            Ok(Err((to, cause))) => (to, MailOutcome::Refused(cause)),
            Ok(Ok(mail)) if due.lapsed => {
                (mail.to, MailOutcome::Unclear("whoever sent it is gone".to_owned()))
            }
            Ok(Ok(mail)) => {
                point!("work.mail.before");
                let outcome = self.mailer.send(&mail).await;
                point!("work.mail.after");
                (mail.to, outcome)
            }
        };
        let now = bench.clock.now();
        let (step, outcome_word) = (due.step.word(), outcome.word());
        let cause = outcome.cause().unwrap_or_default();
        if cause.is_empty() {
            tracing::info!(stop = %due.stop, order = %due.order, step, attempt = due.attempt, outcome = outcome_word, "mail to a lab");
        } else {
            tracing::warn!(stop = %due.stop, order = %due.order, step, attempt = due.attempt, outcome = outcome_word, cause, "mail to a lab");
        }
        metrics::counter!("stoppress_mails_total", "step" => step, "outcome" => outcome_word).increment(1);
        let settle = SettleMail {
            stop: due.stop.clone(),
            step: due.step,
            attempt: due.attempt,
            outcome,
            to: masked(&to),
            at: now,
            escalation: EscalationId::new(now, &*bench.random),
        };
        if let Err(error) = one(&*bench.store, Write::SettleMail(Box::new(settle))).await {
            tracing::error!(stop = %due.stop, %error, "how a mail ended could not be written down; it counts as unclear");
        }
        drop(place);
    }

    /// The mail; or why there can be none.
    async fn written(&self, due: &MailDue) -> Result<std::result::Result<Mail, (String, String)>> {
        let bench = &self.bench;
        let no = |to: &str, cause: &str| Ok(Err((to.to_owned(), cause.to_owned())));
        let endpoint = bench.labs.get(&due.lab);
        let Some((spec, contact)) = endpoint
            .as_ref()
            .and_then(|endpoint| Some((&endpoint.spec, endpoint.spec.policy.contact.as_ref()?)))
        else {
            return no("", "the lab has no contact any more");
        };
        let audience = due.step.audience();
        let to = if audience == Audience::First { &contact.email } else { &contact.second_email };
        let Some(to) = to.as_deref() else { return no("", "the lab has no such contact any more") };
        let found = bench.store.orders(&Scope::Ops, &[OrderRef::Id(due.order.clone())]).await?;
        let Some(order) = found.into_iter().next().flatten() else { return no(to, "the order is not there") };
        let mut stops = bench.store.line_stops(&due.order).await?;
        stops.extend(order.stop.clone());
        let Some(stop) = stops.into_iter().find(|stop| stop.id == due.stop) else {
            return no(to, "the stop was set aside");
        };
        let now = bench.clock.now();
        let until = link_until(stop.deadline_at, now);
        let Some(link) =
            self.links.key.sign(&due.stop, audience, to, until).and_then(|token| self.links.with(&token))
        else {
            return no(to, "this gateway has no mail server (mail.server)");
        };
        let calendar = (self.calendars)(&due.lab, &order.region);
        let local =
            |at: Timestamp| calendar.as_ref().map_or_else(|| at.to_string(), |known| known.shown(at).0);
        let lab_reference = self.lab_reference(&order).await?;
        let letter = Letter {
            step: due.step,
            lab: &spec.name,
            reference: &order.reference,
            lab_reference: lab_reference.as_deref(),
            platform: order.platform.as_str(),
            items: &order.lines_of(&stop),
            part: stop.items.is_some(),
            reason: &stop.reason,
            asked_local: &local(stop.asked_at),
            due_local: &local(stop.deadline_at),
            link: &link,
            link_until_local: &local(until),
        };
        let id = format!("{}.{}", due.stop, due.step.word());
        Ok(Ok(Mail { to: to.to_owned(), subject: letter.subject(), text: letter.text(), id }))
    }

    /// The lab's own reference, as it said it when it took the order.
    async fn lab_reference(&self, order: &OrderFacts) -> Result<Option<String>> {
        let log = self.bench.store.changelog(&Scope::Ops, &order.id).await?.unwrap_or_default();
        let said = log.iter().rev().find_map(|event| event.detail["answer"]["lab_reference"].as_str());
        Ok(said.map(str::to_owned))
    }
}
