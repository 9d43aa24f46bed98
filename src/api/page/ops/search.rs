//! The search of ops: an id leads to its page; a reference is looked for at every platform.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::words::{self, Badge};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::http::Query;
use crate::api::orders::may_name;
use crate::api::page::{Shell, Shown, page, see};
use crate::api::problem::{Answer, Problem};
use crate::domain::ids::{BatchId, EscalationId, LabId, OrderId, PlatformId, StopId, TransferId};
use crate::store::{EscalationFilter, OrderRef, StopFilter};

/// How many finds are shown.
const FOUND_MAX: i64 = 20;

/// What for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Wanted {
    q: String,
}

#[derive(Template)]
#[template(path = "ops/search.html")]
struct SearchPage {
    shell: Shell,
    q: String,
    rows: Vec<(OrderId, String, PlatformId, LabId, Badge)>,
    labs: Vec<(LabId, String)>,
}

/// Where the page of an id is, if it is one and there is such a thing.
async fn page_of(api: &Api, caller: &Caller, q: &str) -> Answer<Option<String>> {
    if let Ok(id) = OrderId::parse(q) {
        let which = [OrderRef::Id(id.clone())];
        let found = api.store.orders(&caller.scope, &which).await?.pop().flatten();
        return Ok(found.map(|_| format!("/ops/orders/{id}")));
    }
    if BatchId::parse(q).is_ok() {
        return Ok(Some(format!("/ops/batches/{q}")));
    }
    if let Ok(id) = StopId::parse(q) {
        let filter = StopFilter { id: Some(id), limit: 1, ..StopFilter::default() };
        let found = api.store.stops(&caller.scope, &filter).await?.pop();
        return Ok(found.map(|row| format!("/ops/orders/{}", row.stop.order)));
    }
    if TransferId::parse(q).is_ok() {
        // Its first entry says of which batch it was cut.
        let first = api.store.log(&[q]).await?.into_iter().next();
        let batch = first.and_then(|event| event.detail["batch"].as_str().map(str::to_owned));
        return Ok(batch.map(|batch| format!("/ops/batches/{batch}")));
    }
    if let Ok(id) = EscalationId::parse(q) {
        let filter = EscalationFilter { id: Some(id), limit: 1, ..EscalationFilter::default() };
        let found = api.store.escalations(&caller.scope, &filter).await?.pop();
        return Ok(found.map(|row| format!("/ops/escalations?id={}", row.id)));
    }
    Ok(None)
}

/// Searches.
pub(in crate::api) async fn search(
    api: State<Api>,
    caller: Caller,
    query: Result<Query<Wanted>, Problem>,
) -> Shown {
    let q = query?.0.q.trim().to_owned();
    if let Some(to) = page_of(&api, &caller, &q).await? {
        return Ok(see(&to));
    }
    let known = api.registry.snapshot();
    let platforms: Vec<PlatformId> = known.platforms.keys().cloned().collect();
    let found = if q.is_empty() || !may_name(&q) {
        Vec::new()
    } else {
        api.store.by_reference(&platforms, &q, FOUND_MAX).await?
    };
    let small = q.to_lowercase();
    let fits = |id: &LabId, name: &str| id.as_str().contains(&small) || name.to_lowercase().contains(&small);
    let labs = known.labs.iter().map(|(id, entry)| (id.clone(), entry.lab.spec.name.clone()));
    let labs: Vec<(LabId, String)> =
        labs.filter(|(id, name)| !q.is_empty() && fits(id, name)).take(FOUND_MAX as usize).collect();
    let rows = found.into_iter().map(|facts| {
        let badge = words::order(facts.state());
        (facts.id, facts.reference, facts.platform, facts.lab, badge)
    });
    let shown = SearchPage { shell: Shell::of(&caller, "search"), q, rows: rows.collect(), labs };
    Ok(page(StatusCode::OK, &shown))
}
