//! Changes of an order other than a stop.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::answers::OrderAnswer;
use super::extract::{self, IfMatch, Json, Maybe, Order, version_mismatch};
use super::orders::{find, join, shown};
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::api::{Api, windows};
use crate::domain::Fault;
use crate::domain::batch::Joining;
use crate::domain::order::{Address, Handing, Item, OrderFacts, OrderState, Submission};
use crate::domain::verdict::{Changeable, can_change};
use crate::store::{self, Change, ChangeKind, Changed, OrderRef, Write, Written};

/// Why an order is changed. The body may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Why {
    /// Why, at most 500 characters.
    #[schema(max_length = 500)]
    reason: Option<String>,
}

/// The parts of an order to replace. At least one must be there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Patch {
    /// The new shipping address: until the order is handed over.
    ship_to: Option<Address>,
    /// The new billing address, or null for none: until the order is paid for.
    #[serde(default)]
    #[schema(value_type = Option<Address>)]
    bill_to: Given<Address>,
    /// All items anew: while the order is in review.
    items: Option<Vec<Item>>,
    /// Why, at most 500 characters.
    #[schema(max_length = 500)]
    reason: Option<String>,
}

/// Tells a null from a field that is not there.
#[derive(Debug, Default)]
enum Given<T> {
    /// It is not there.
    #[default]
    Absent,
    /// It is null.
    Null,
    /// It has a value.
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(input)?.map_or(Self::Null, Self::Value))
    }
}

macro_rules! change {
    ($(#[doc = $doc:literal])+ $name:ident $path:literal $kind:ident) => {
        $(#[doc = $doc])+
        #[utoipa::path(post, path = $path, tag = "orders",
            params(
                ("order" = String, Path, description = "Its id, or `@` and the platform's reference"),
                ("If-Match" = Option<String>, Header, description = "Only if the order has this `ETag`"),
            ),
            request_body = inline(Option<Why>),
            responses(
                (status = 200, description = "The order as it is now, changed or so before.", body = OrderAnswer,
                    headers(("ETag" = String))),
                (status = 404, description = "`not_found`", body = Document,
                    content_type = "application/problem+json"),
                (status = 409, description = "`not_allowed`: `state` does not allow it; \
                    `idempotency_key_in_use`.", body = Document, content_type = "application/problem+json"),
                (status = 412, description = "`version_mismatch`: `version` is the version now.",
                    body = Document, content_type = "application/problem+json"),
            ))]
        pub(super) async fn $name(
            api: State<Api>,
            caller: Caller,
            order: Order,
            version: IfMatch,
            body: Maybe<Why>,
        ) -> Answer<Response> {
            change(&api, &caller, order.0, version.0, ChangeKind::$kind, body.0.reason).await
        }
    };
}

change! {
    /// It is paid for.
    ///
    /// It joins the window of this instant.
    pay "/v1/orders/{order}/pay" Pay
}
change! {
    /// Holds it.
    ///
    /// It leaves its window until it is released; allowed while nothing has left the house.
    hold "/v1/orders/{order}/hold" Hold
}
change! {
    /// Releases it from being held or in review.
    ///
    /// It joins the window of this instant.
    release "/v1/orders/{order}/release" Release
}
change! {
    /// Puts it back into the editor.
    ///
    /// It leaves its window; until it is released, its items can be replaced.
    review "/v1/orders/{order}/review" Review
}
change! {
    /// Takes a stop back.
    ///
    /// For an order that was stopped before it was ever handed over; it joins the window of this instant.
    reinstate "/v1/orders/{order}/reinstate" Reinstate
}

async fn change(
    api: &Api,
    caller: &Caller,
    which: OrderRef,
    if_version: Option<i64>,
    kind: ChangeKind,
    reason: Option<String>,
) -> Answer<Response> {
    extract::text("reason", reason.as_deref().unwrap_or_default(), 500)?;
    let facts = find(api, &caller.scope, which).await?;
    let joins = matches!(kind, ChangeKind::Pay | ChangeKind::Release | ChangeKind::Reinstate);
    let mut closed: Option<Joining> = None;
    for _ in 0..windows::TRIES {
        let now = api.clock.now();
        let from = windows::after_closed(closed.as_ref(), now);
        let joining = if joins { Some(window(api, &facts, from)?) } else { None };
        let change = Change {
            order: facts.id.clone(),
            scope: caller.scope.clone(),
            kind: kind.clone(),
            join: joining.clone(),
            if_version,
            at: now,
            actor: caller.actor.clone(),
            reason: reason.clone(),
        };
        match apply(api, change).await? {
            Changed::WindowClosed => closed = joining,
            Changed::Version(version) => return Err(version_mismatch(version)),
            outcome => {
                done(outcome)?;
                if joins {
                    api.nudge.closes.ring();
                }
                let facts = find(api, &caller.scope, OrderRef::Id(facts.id)).await?;
                return shown(api, &facts, StatusCode::OK, true).await;
            }
        }
    }
    Err(Problem::new(Code::Unavailable, "Its windows kept closing.").retry_after(1))
}

async fn apply(api: &Api, change: Change) -> Answer<Changed> {
    match store::one(&*api.store, Write::Change(Box::new(change))).await? {
        Written::Changed(changed) => Ok(changed),
        _ => Err(Problem::unexpected("not a change")),
    }
}

fn done(changed: Changed) -> Answer<()> {
    match changed {
        Changed::Done | Changed::Unchanged => Ok(()),
        Changed::NotFound => Err(Problem::not_found()),
        Changed::NotAllowed(state) => Err(not_allowed(state)),
        Changed::Version(version) => Err(version_mismatch(version)),
        Changed::WindowClosed => {
            Err(Problem::new(Code::Unavailable, "Its window closed meanwhile.").retry_after(1))
        }
    }
}

fn not_allowed(state: OrderState) -> Problem {
    let word = serde_json::to_value(state).unwrap_or_default();
    let text = format!("The order is {}.", word.as_str().unwrap_or("in another state"));
    Problem::new(Code::NotAllowed, text).with("state", state)
}

/// The window that an order would join as of an instant.
fn window(api: &Api, facts: &OrderFacts, at: jiff::Timestamp) -> Answer<Joining> {
    let entry = api.registry.lab(&facts.lab).ok_or_else(|| {
        Problem::from(Fault::new("lab", format!("lab {} takes no orders any more", facts.lab)))
    })?;
    let submission = submission(facts)?;
    let direct = windows::is_direct(&entry.lab.spec, submission.transfer == Handing::Direct);
    Ok(join(api, &entry.lab, &facts.region, direct, at)?)
}

fn submission(facts: &OrderFacts) -> Answer<Submission> {
    serde_json::from_str(&facts.document).map_err(|_| Problem::unexpected("a stored document is no order"))
}

/// Replaces addresses or items.
///
/// The shipping address until the order is handed over; the billing address until it is paid for; items
/// while it is in review. Everything is checked as at submission.
#[utoipa::path(patch, path = "/v1/orders/{order}", tag = "orders", request_body = Patch,
    params(
        ("order" = String, Path, description = "Its id, or `@` and the platform's reference"),
        ("If-Match" = Option<String>, Header, description = "Only if the order has this `ETag`"),
    ),
    responses(
        (status = 200, description = "The order as it is now", body = OrderAnswer, headers(("ETag" = String))),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`not_allowed`: `state` does not allow it.", body = Document,
            content_type = "application/problem+json"),
        (status = 412, description = "`version_mismatch`: `version` is the version now.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn patch(
    api: State<Api>,
    caller: Caller,
    order: Order,
    version: IfMatch,
    body: Json<Patch>,
) -> Answer<Response> {
    let patch = body.0;
    extract::text("reason", patch.reason.as_deref().unwrap_or_default(), 500)?;
    let wanted: Vec<Changeable> = [
        patch.ship_to.is_some().then_some(Changeable::ShippingAddress),
        (!matches!(patch.bill_to, Given::Absent)).then_some(Changeable::BillingAddress),
        patch.items.is_some().then_some(Changeable::Items),
    ]
    .into_iter()
    .flatten()
    .collect();
    if wanted.is_empty() {
        return Err(Fault::new("", "names nothing to change: ship_to, bill_to or items").into());
    }
    let mut which = order.0;
    // Without If-Match a change of somebody else in between is no reason to refuse: read again.
    for _ in 0..windows::TRIES {
        let facts = find(&api, &caller.scope, which).await?;
        if version.0.is_some_and(|version| version != facts.version) {
            return Err(version_mismatch(facts.version));
        }
        let allowed = can_change(&facts);
        if wanted.iter().any(|wanted| !allowed.contains(wanted)) {
            return Err(not_allowed(facts.state()).with("can_change", allowed));
        }
        let changed = patched(submission(&facts)?, &patch)?;
        let change = Change {
            order: facts.id.clone(),
            scope: caller.scope.clone(),
            kind: ChangeKind::Document(changed.document().0),
            join: None,
            if_version: Some(facts.version),
            at: api.clock.now(),
            actor: caller.actor.clone(),
            reason: patch.reason.clone(),
        };
        which = OrderRef::Id(facts.id);
        match apply(&api, change).await? {
            Changed::Version(_) if version.0.is_none() => {}
            outcome => {
                done(outcome)?;
                let facts = find(&api, &caller.scope, which).await?;
                return shown(&api, &facts, StatusCode::OK, true).await;
            }
        }
    }
    Err(Problem::new(Code::Unavailable, "The order kept changing.").retry_after(1))
}

fn patched(mut submission: Submission, patch: &Patch) -> Answer<Submission> {
    if let Some(ship_to) = &patch.ship_to {
        submission.ship_to = Some(ship_to.clone());
    }
    match &patch.bill_to {
        Given::Absent => {}
        Given::Null => submission.bill_to = None,
        Given::Value(bill_to) => submission.bill_to = Some(bill_to.clone()),
    }
    if let Some(items) = &patch.items {
        submission.items.clone_from(items);
        // A picture of what is not ordered any more shows the wrong thing.
        submission.thumbnails.retain(|id, _| items.iter().any(|item| item.id == *id));
    }
    let faults = submission.faults();
    if faults.is_empty() { Ok(submission) } else { Err(faults.into()) }
}
