//! The receiver of webhooks: messages reach it through the hub like calls to labs, and it keeps what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stoppress::domain::event::{Actor, Event};
use stoppress::domain::ids::{OrderId, WebhookId};
use stoppress::domain::lab::Answer;
use stoppress::domain::webhook::{KINDS, MessageId};
use stoppress::domain::webhook::{Posted, WebhookSpec};
use stoppress::lab::Pending;
use stoppress::lab::webhook::{Post, Poster};
use stoppress::store::{PutWebhook, Write};

use super::cast::shop;
use super::hub::Hub;
use super::ledger::Request;

/// The number under which the receiver is called: no lab has it.
pub(crate) const RECEIVER: usize = usize::MAX;

/// What the receiver was told.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// The entries of the log that it is to be told of, by order.
    wanted: BTreeMap<String, BTreeSet<i64>>,
    had: BTreeMap<String, BTreeSet<i64>>,
}

impl Received {
    /// The log goes on.
    pub(crate) fn wants(&mut self, event: &Event) {
        let about = OrderId::parse(&event.subject).is_ok();
        if about && KINDS.contains(&event.kind.as_str()) {
            self.wanted.entry(event.subject.clone()).or_default().insert(event.seq);
        }
    }

    /// A message arrives. Gives what is wrong with it.
    pub(crate) fn takes(&mut self, id: &str) -> Option<String> {
        let Ok(MessageId { seq, order: Some(order) }) = MessageId::parse(id) else { return None };
        let had = self.had.entry(order.to_string()).or_default();
        let missed = self.wanted.get(order.as_str()).into_iter().flatten();
        let missed = missed.copied().find(|before| *before < seq && !had.contains(before));
        let first = had.insert(seq);
        let missed = missed.filter(|_| first)?;
        Some(format!("the receiver is told entry {seq} of {order} before entry {missed}"))
    }

    /// How many messages have not arrived.
    pub(crate) fn missing(&self) -> usize {
        let had = |order: &String| self.had.get(order).cloned().unwrap_or_default();
        self.wanted.iter().map(|(order, wanted)| wanted.difference(&had(order)).count()).sum()
    }
}

/// The endpoint of the platform.
pub(crate) fn endpoint(at: jiff::Timestamp) -> Write {
    let random = stoppress::clock::SeededRandom::new(1);
    Write::PutWebhook(Box::new(PutWebhook {
        id: WebhookId::new(at, &random),
        platform: shop(),
        spec: WebhookSpec {
            url: "https://shop.example/hooks".to_owned(),
            events: vec!["*".to_owned()],
            description: String::new(),
        },
        enabled: true,
        secret: "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_owned().into(),
        cursor: 0,
        at,
        actor: Actor("ops:one".to_owned()),
    }))
}

/// Sends webhooks of a gateway into the hub.
#[derive(Debug)]
pub(crate) struct Mailbag {
    pub(crate) hub: Arc<Hub>,
    pub(crate) replica: usize,
}

impl Poster for Mailbag {
    fn post<'a>(&'a self, post: &'a Post) -> Pending<'a, Posted> {
        Box::pin(async move {
            let request = Request::Post { id: post.id.clone() };
            let reply = self.hub.call(self.replica, RECEIVER, request, 60_000_000).await;
            match reply.map(|reply| reply.answer) {
                Ok(Answer::Accepted { .. }) => Posted { status: 200, ..Posted::default() },
                _ => Posted { cause: Some("the connection broke".to_owned()), ..Posted::default() },
            }
        })
    }

    fn refusal(&self, _: &url::Url) -> Option<String> {
        None
    }
}
