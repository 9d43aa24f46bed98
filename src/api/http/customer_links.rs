//! Links for customers: made for one order and one action, and taken back all at once.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Maybe, Order, answer};
use super::orders::find;
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::customer_keys::SIGNS_AFTER;
use crate::api::problem::{Answer, Code, Document, Problem};
use crate::clock::Random;
use crate::domain::batch::later;
use crate::domain::customer_link::{CustomerLink, LinkAction, link_until};
use crate::domain::event::hex;
use crate::domain::link::KEY_BYTES;
use crate::store::{self, RevokeLinks, RotateLinks, Write, Written};

/// What a link is to allow. The body may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LinkRequest {
    /// `stop` unless told.
    action: LinkAction,
}

/// A link for a customer.
#[derive(Serialize, ToSchema)]
pub(super) struct LinkAnswer {
    /// The link. Whoever has it can use it: send it to the customer only.
    #[schema(format = "uri")]
    url: String,
    /// What it allows.
    action: LinkAction,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Makes a link for the customer of an order.
///
/// It opens a page that says whether the order can still be stopped and, where `customer_stops` of the
/// platform is on, lets the customer ask for it. It ends a day after the cutoff, at most in thirty days; an
/// order may have any number of links.
#[utoipa::path(post, path = "/v1/orders/{order}/links", tag = "orders",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    request_body = inline(Option<LinkRequest>),
    responses(
        (status = 201, description = "The link", body = LinkAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`no_public_url`: the gateway was not told the address that customers \
            reach; `idempotency_key_in_use`.", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    api: State<Api>,
    caller: Caller,
    order: Order,
    body: Maybe<LinkRequest>,
) -> Answer<Response> {
    let action = body.0.action;
    let facts = find(&api, &caller.scope, order.0).await?;
    let Some(base) = &api.customers.base else {
        let text = "Neither `serve.public_url` nor `mail.public_url` is set, and the gateway does not listen on \
            this host alone.";
        return Err(Problem::new(Code::NoPublicUrl, text));
    };
    let until = link_until(facts.batch.as_ref().map(|batch| batch.closes_at), caller.at);
    let serial = api.store.link_serial(&facts.id).await?;
    let link = CustomerLink { order: facts.id, action, until, serial };
    let token =
        api.customer_keys().link(&link).ok_or_else(|| Problem::unexpected("a link was not signed"))?;
    let made = LinkAnswer { url: format!("{base}/c/{token}"), action, expires_at: until };
    Ok(answer(StatusCode::CREATED, &made))
}

/// Takes back all links of an order.
///
/// From then on none that was made before opens anything, at any gateway; pages that are open end as well.
#[utoipa::path(delete, path = "/v1/orders/{order}/links", tag = "orders",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    responses(
        (status = 204, description = "None of its links holds any more."),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn revoke(api: State<Api>, caller: Caller, order: Order) -> Answer<StatusCode> {
    let facts = find(&api, &caller.scope, order.0).await?;
    let revoke = RevokeLinks {
        order: facts.id,
        scope: caller.scope.clone(),
        at: caller.at,
        actor: caller.actor.clone(),
    };
    match store::one(&*api.store, Write::RevokeLinks(Box::new(revoke))).await? {
        Written::LinksRevoked(Some(_)) => Ok(StatusCode::NO_CONTENT),
        Written::LinksRevoked(None) => Err(Problem::not_found()),
        _ => Err(Problem::unexpected("not links")),
    }
}

/// How the keys of customers' links are rotated. The body may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RotateLinksRequest {
    /// Whether all links that were made so far end at once, for all orders; they go on until they expire unless told.
    end_old: bool,
}

/// A new key of customers' links.
#[derive(Serialize, ToSchema)]
pub(super) struct RotateLinksAnswer {
    /// Its number.
    key: i64,
    /// From when on new links are signed with it.
    #[schema(value_type = String, format = DateTime)]
    signs_from: Timestamp,
}

/// Rotates the key that signs customers' links.
///
/// New links are signed with the new one, a few seconds later, when every gateway knows it. Old links hold until they
/// expire, unless `end_old` is set: for when a key may have been seen. The key itself is never shown.
#[utoipa::path(post, path = "/v1/customer-links/rotate", tag = "registry",
    request_body = inline(Option<RotateLinksRequest>),
    responses(
        (status = 200, description = "The new key's number", body = RotateLinksAnswer),
    ))]
pub(super) async fn rotate(
    api: State<Api>,
    caller: Caller,
    body: Maybe<RotateLinksRequest>,
) -> Answer<Response> {
    let RotateLinksRequest { end_old } = body.0;
    let at = api.clock.now();
    let secret = fresh_key(&*api.random);
    let item = RotateLinks { secret, end_old, at, actor: caller.actor.clone() };
    let key = match store::one(&*api.store, Write::RotateLinks(Box::new(item))).await? {
        Written::LinksRotated(Some(key)) => key,
        Written::LinksRotated(None) => {
            let text = "The keys of links have used up their numbers, 65535 of them.";
            return Err(Problem::new(Code::NotAllowed, text));
        }
        _ => return Err(Problem::unexpected("not a key of links")),
    };
    api.refresh_customer_keys().await?;
    let signs_from = if end_old { at } else { later(at, SIGNS_AFTER) };
    Ok(answer(StatusCode::OK, &RotateLinksAnswer { key, signs_from }))
}

/// A key of links, of random bytes in hex.
fn fresh_key(random: &dyn Random) -> SecretString {
    let mut bytes = [0; KEY_BYTES];
    random.fill(&mut bytes);
    SecretString::from(hex(&bytes))
}
