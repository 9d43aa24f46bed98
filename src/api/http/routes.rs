//! Routes: written, read, asked.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Id, IfMatch, Json, Order, Page, Query, answer, tagged};
use super::labs::{PageQuery, version_of};
use super::orders::{OnBehalf, find, platform_of};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document, Problem};
use crate::api::registry::RoutesEntry;
use crate::api::routes::{self, Question};
use crate::domain::Fault;
use crate::domain::ids::{LabId, OrderId, PlatformId, RegionId, ServiceLevel};
use crate::domain::order::{ITEMS_MAX, ItemKind};
use crate::domain::route::{Explanation, Need, RouteRule, RouteSpec};
use crate::store::{self, PutRoutes, Scope, Write, Written};

/// Routes.
#[derive(Serialize, ToSchema)]
pub(super) struct RoutesAnswer {
    /// Whose they are: a platform, or `default`.
    id: PlatformId,
    /// The rules, in the order in which they are tried.
    rules: Vec<RouteRule>,
    /// Counts the changes; also the `ETag`.
    version: i64,
    /// When they were changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<&RoutesEntry> for RoutesAnswer {
    fn from(entry: &RoutesEntry) -> Self {
        let (id, rules) = (entry.id.clone(), entry.spec.rules.clone());
        Self { id, rules, version: entry.version, updated_at: entry.updated_at }
    }
}

/// A page of routes.
#[derive(Serialize, ToSchema)]
pub(super) struct Routes {
    /// The routes, by id.
    routes: Vec<RoutesAnswer>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Lists routes.
#[utoipa::path(get, path = "/v1/routes", tag = "registry", params(PageQuery),
    responses((status = 200, description = "A page of routes", body = Routes)))]
pub(super) async fn list(api: State<Api>, _caller: Caller, query: Query<PageQuery>) -> Answer<Response> {
    let page: Page<PlatformId> = Page::asked(query.0.limit, query.0.cursor.as_deref())?;
    let known = api.registry.snapshot();
    let after = known.routes.iter().filter(|(id, _)| page.from.as_ref().is_none_or(|after| *id > after));
    let limit = usize::try_from(page.limit).unwrap_or(0);
    let routes: Vec<RoutesAnswer> = after.take(limit).map(|(_, entry)| (&**entry).into()).collect();
    let next = page.next(&routes, |routes| &routes.id);
    Ok(answer(StatusCode::OK, &Routes { routes, next }))
}

/// Reads routes: ops any, a platform its own.
#[utoipa::path(get, path = "/v1/routes/{platform}", tag = "registry",
    params(("platform" = PlatformId, Path, description = "A platform, or `default`")),
    responses(
        (status = 200, description = "The routes", body = RoutesAnswer, headers(("ETag" = String))),
        (status = 404, description = "`not_found`: it has none of its own.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn get(api: State<Api>, caller: Caller, platform: Id<PlatformId>) -> Answer<Response> {
    let foreign = matches!(&caller.scope, Scope::Platform(own) if *own != platform.0);
    let known = api.registry.snapshot();
    let entry = known.routes.get(&platform.0).filter(|_| !foreign).ok_or_else(Problem::not_found)?;
    Ok(tagged(answer(StatusCode::OK, &RoutesAnswer::from(&**entry)), entry.version))
}

/// Creates or replaces routes.
///
/// They choose lab and region of orders that give `need` instead of `lab`: of one platform, or as `default` of
/// all that have none of their own. Orders that are there stay where they are.
#[utoipa::path(put, path = "/v1/routes/{platform}", tag = "registry", request_body = RouteSpec,
    params(
        ("platform" = PlatformId, Path, description = "A platform, or `default`"),
        ("If-Match" = Option<String>, Header, description = "Only if they have this `ETag`; \"0\": only if there are none"),
    ),
    responses(
        (status = 200, description = "The routes as they are now", body = RoutesAnswer,
            headers(("ETag" = String))),
        (status = 201, description = "They are new.", body = RoutesAnswer, headers(("ETag" = String))),
        (status = 412, description = "`version_mismatch`: `version` is the version now.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn put(
    api: State<Api>,
    caller: Caller,
    platform: Id<PlatformId>,
    version: IfMatch,
    body: Json<RouteSpec>,
) -> Answer<Response> {
    let spec = body.0;
    let known = api.registry.snapshot();
    let labs: Vec<&LabId> = known.labs.keys().collect();
    let faults = spec.faults(&|lab: &LabId| known.labs.get(lab).map(|entry| &entry.lab), &labs);
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let text = serde_json::to_string(&spec).map_err(|error| Problem::unexpected(&error.to_string()))?;
    let was_there = known.routes.contains_key(&platform.0);
    write(&api, &caller, platform.0.clone(), Some(text), version.0).await?;
    let known = api.registry.snapshot();
    let entry = known.routes.get(&platform.0).ok_or_else(Problem::not_found)?;
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    Ok(tagged(answer(status, &RoutesAnswer::from(&**entry)), entry.version))
}

/// Deletes routes.
///
/// Those of `default` hold for the platform then. Orders that are there stay where they are.
#[utoipa::path(delete, path = "/v1/routes/{platform}", tag = "registry",
    params(("platform" = PlatformId, Path, description = "A platform, or `default`")),
    responses(
        (status = 204, description = "There are none any more."),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn delete(api: State<Api>, caller: Caller, platform: Id<PlatformId>) -> Answer<Response> {
    write(&api, &caller, platform.0, None, None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn write(
    api: &Api,
    caller: &Caller,
    id: PlatformId,
    spec: Option<String>,
    if_version: Option<i64>,
) -> Answer<()> {
    let at = api.clock.now();
    let item = PutRoutes { id, spec, if_version, at, actor: caller.actor.clone() };
    let Written::Put(put) = store::one(&*api.store, Write::PutRoutes(Box::new(item))).await? else {
        return Err(Problem::unexpected("not routes"));
    };
    version_of(put)?;
    Ok(api.registry.refresh(at).await?)
}

/// How lab and region of an order came about.
#[derive(Serialize, ToSchema)]
pub(super) struct RouteAnswer {
    /// The order.
    order: OrderId,
    /// Who makes it.
    lab: LabId,
    /// Where.
    region: RegionId,
    /// Why; null where the order named its lab.
    #[schema(required = true)]
    route: Option<Explanation>,
}

/// Why is an order made where it is?
///
/// For an order that gave `need` instead of `lab`: which rule chose the lab, and why those before it were passed
/// over, as it was when the order was admitted.
#[utoipa::path(get, path = "/v1/orders/{order}/route", tag = "orders",
    params(("order" = String, Path, description = "Its id, or `@` and the platform's reference")),
    responses(
        (status = 200, description = "The route", body = RouteAnswer),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn of_order(api: State<Api>, caller: Caller, order: Order) -> Answer<Response> {
    let facts = find(&api, &caller.scope, order.0).await?;
    let route = routes::taken(&api, &facts).await?;
    let shown = RouteAnswer { order: facts.id, lab: facts.lab, region: facts.region, route };
    Ok(answer(StatusCode::OK, &shown))
}

/// An item of an order that is not submitted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedItem {
    /// Its id, as it is to be told of; its number in the list unless told.
    #[serde(default)]
    id: Option<String>,
    /// Product code.
    sku: String,
    /// What it is.
    #[serde(default)]
    kind: ItemKind,
}

/// What an order would need.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedRoute {
    /// The country that it would be for.
    #[serde(default)]
    #[schema(pattern = "^[A-Z]{2}$")]
    country: Option<String>,
    /// Its service level, if it is not the usual one.
    #[serde(default)]
    service_level: Option<ServiceLevel>,
    /// Its items: 1 to 1,000.
    #[schema(min_items = 1, max_items = 1000)]
    items: Vec<AskedItem>,
}

/// Where would an order go?
///
/// Chooses as if an order with these items were submitted now, and keeps nothing. `chosen` is null where no lab
/// could take it.
#[utoipa::path(post, path = "/v1/routes/explain", tag = "registry", params(OnBehalf), request_body = AskedRoute,
    responses(
        (status = 200, description = "What would be chosen, and why", body = Explanation),
        (status = 422, description = "`invalid`; `no_route`: there are no routes.", body = Document,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn explain(
    api: State<Api>,
    caller: Caller,
    query: Query<OnBehalf>,
    body: Json<AskedRoute>,
) -> Answer<Response> {
    let platform = platform_of(&api, &caller, query.0.platform)?;
    let AskedRoute { country, service_level, items } = body.0;
    let mut faults = Need { country: country.clone() }.faults();
    if items.is_empty() || items.len() > ITEMS_MAX {
        faults.push(Fault::new("items", format!("has {} items; 1 to 1000 are allowed", items.len())));
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let printed = items.into_iter().enumerate().filter(|(_, item)| item.kind == ItemKind::Print);
    let items = printed.map(|(at, item)| (item.id.unwrap_or_else(|| (at + 1).to_string()), item.sku));
    let question = Question { platform, country, service_level, items: items.collect() };
    Ok(answer(StatusCode::OK, &question.ask(&api)?))
}
