//! The small pictures of an order's items, each under an address of its own: a page stays light, however many
//! tasks it shows, and a browser fetches those that come into view.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Faced;
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::domain::ids::StopId;
use crate::store::{OrderRef, StopFilter};

/// The picture of the item at a place, counted from 0, of the order that a stop is about.
pub(in crate::api) async fn picture(
    api: State<Api>,
    caller: Caller,
    which: Path<(String, usize)>,
) -> Result<Response, Faced> {
    let (stop, nth) = which.0;
    let id = StopId::parse(&stop).map_err(|_| Problem::not_found())?;
    let filter = StopFilter { id: Some(id), limit: 1, ..StopFilter::default() };
    let row = api.store.stops(&caller.scope, &filter).await?.pop().ok_or_else(Problem::not_found)?;
    let order =
        api.store.orders(&caller.scope, &[OrderRef::Id(row.stop.order.clone())]).await?.pop().flatten();
    let lines = order.map(|order| order.lines_of(&row.stop)).unwrap_or_default();
    let shown = lines.into_iter().nth(nth).and_then(|line| line.thumbnail).ok_or_else(Problem::not_found)?;
    let (kind, text) = shown.parts().ok_or_else(Problem::not_found)?;
    let bytes = STANDARD.decode(text).map_err(|_| Problem::not_found())?;
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=600"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    Ok(response)
}
