//! Changes of an order other than a stop.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::answers::OrderAnswer;
use super::extract::{self, IfMatch, Json, Maybe, Order, version_mismatch};
use super::orders::{find, shown};
use crate::api::auth::Caller;
use crate::api::changes::{self, apply, done, not_allowed, submission};
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::api::{Api, addresses, windows};
use crate::domain::Fault;
use crate::domain::ids::HoldId;
use crate::domain::order::{Address, Item, Submission};
use crate::domain::verdict::{Changeable, can_change};
use crate::store::{Change, ChangeKind, Changed, OrderRef};

/// Why an order is changed. The body may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = ChangeReason)]
pub(super) struct Why {
    /// Why, at most 500 characters.
    #[schema(max_length = 500)]
    reason: Option<String>,
}

/// The parts of an order to replace. At least one must be there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Patch {
    /// The new shipping address: until the order is handed over; then its lab is asked, if it takes such questions.
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
    /// It leaves its window until it is released; allowed while nothing has left the house. An order may have several
    /// holds, each with an owner and a reason, and rejoins a window when the last ends; the same owner's for the same
    /// reason is the same hold.
    hold "/v1/orders/{order}/hold" Hold
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
    /// For an order that was stopped before it was ever handed over; it joins the window of this instant. Links of
    /// downloads that were deactivated stay so.
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
    let facts = changes::change(api, caller, which, if_version, kind, reason).await?;
    shown(api, &facts, StatusCode::OK, true).await
}

/// Which hold ends, and why. The body may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    /// The hold; all of the caller's own unless told.
    hold: Option<HoldId>,
    /// Why, at most 500 characters.
    #[schema(max_length = 500)]
    reason: Option<String>,
}

/// Releases it from being held or in review.
///
/// One hold ends, or all of the caller's own; ops may end those of others by naming them. With the last of all, the
/// order joins the window of this instant.
#[utoipa::path(post, path = "/v1/orders/{order}/release", tag = "orders",
    params(
        ("order" = String, Path, description = "Its id, or `@` and the platform's reference"),
        ("If-Match" = Option<String>, Header, description = "Only if the order has this `ETag`"),
    ),
    request_body = inline(Option<Which>),
    responses(
        (status = 200, description = "The order as it is now, changed or so before. See its `holds`.",
            body = OrderAnswer, headers(("ETag" = String))),
        (status = 404, description = "`not_found`: no such order, or no such hold.", body = Document,
            content_type = "application/problem+json"),
        (status = 409, description = "`held_by_others`: `held_by` says who or what; `not_allowed`: `state` does not \
            allow it; `idempotency_key_in_use`.", body = Document, content_type = "application/problem+json"),
        (status = 412, description = "`version_mismatch`: `version` is the version now.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn release(
    api: State<Api>,
    caller: Caller,
    order: Order,
    version: IfMatch,
    body: Maybe<Which>,
) -> Answer<Response> {
    let Which { hold, reason } = body.0;
    let kind = hold.map_or(ChangeKind::Release, ChangeKind::ReleaseOne);
    change(&api, &caller, order.0, version.0, kind, reason).await
}

/// Replaces addresses or items.
///
/// The shipping address until the order is handed over; the billing address until it is paid for; items
/// while it is in review. Everything is checked as at submission.
///
/// Once a lab has the order, only the lab can change where its parcel goes. A lab whose profile has `address_changes` is
/// asked (202): the order keeps its address until the lab has said that it took the new one, and `address_change` says how
/// that stands. By `answer_due_at` it is `taken` or `refused`, or a person finds out. While the order is on its way to
/// the lab nothing can be changed, nor can the country once the lab has it.
#[utoipa::path(patch, path = "/v1/orders/{order}", tag = "orders", request_body = Patch,
    params(
        ("order" = String, Path, description = "Its id, or `@` and the platform's reference"),
        ("If-Match" = Option<String>, Header, description = "Only if the order has this `ETag`"),
    ),
    responses(
        (status = 200, description = "The order as it is now", body = OrderAnswer, headers(("ETag" = String))),
        (status = 202, description = "The lab is asked for the address: see `address_change`.", body = OrderAnswer,
            headers(("ETag" = String))),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`not_allowed`: `state` does not allow it; `address_change_open`: another address \
            was asked for, and the lab has not answered.", body = Document, content_type = "application/problem+json"),
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
        let profile = addresses::profile(&api, &facts);
        if let (Some(ship_to), [Changeable::ShippingAddress]) = (&patch.ship_to, wanted.as_slice())
            && addresses::is_asked(&facts, &profile)
        {
            let with = (patch.reason.as_deref(), version.0);
            let asked = addresses::ask(&api, &caller, &facts, ship_to.clone(), with).await?;
            let open = asked.is_some_and(|asked| asked.state.is_open());
            let facts = find(&api, &caller.scope, OrderRef::Id(facts.id)).await?;
            let status = if open { StatusCode::ACCEPTED } else { StatusCode::OK };
            return shown(&api, &facts, status, true).await;
        }
        let allowed = can_change(&facts, &profile);
        if wanted.iter().any(|wanted| !allowed.contains(wanted)) {
            return Err(not_allowed(facts.state()).with("can_change", allowed));
        }
        let changed = patched(submission(&facts)?, &patch)?;
        if patch.items.is_some()
            && let Some(entry) = api.registry.lab(&facts.lab)
        {
            let level = changed.service_level.as_ref();
            entry.lab.places_of(&facts.region, &changed.items, level)?;
        }
        let change = Change {
            order: facts.id.clone(),
            scope: caller.scope.clone(),
            kind: ChangeKind::Document(changed.document().0),
            hold: HoldId::new(api.clock.now(), &*api.random),
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
