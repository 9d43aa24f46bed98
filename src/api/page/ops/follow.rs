//! The streams of ops' pages: when the log has grown, a page is made anew, and what is new of it is sent whole.
//!
//! All learn from the one tail of the log that something has happened. A page says how far it knew when it was
//! made, so that nothing is sent twice and nothing is missed.

use std::future::Future;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::page::Shown;
use crate::api::page::live::{Written, live, pause, resumes};
use crate::api::problem::Answer;
use crate::api::tail::Listener;
use crate::store::Scope;

/// How long a page rests between two frames.
const REST: Duration = Duration::from_millis(300);
/// How long nothing may be heard before the log is looked at all the same.
const REDRAW_EVERY: Duration = Duration::from_secs(30);
/// How many entries of the log are looked at in one go.
const LOOK_AT: i64 = 200;
/// What is sent of a page.
const BEGINS: &str = "<main id=\"main\"";
const ENDS: &str = "</main>";

/// How far a page knows that is made now.
pub(super) async fn cursor(api: &Api) -> crate::store::Result<String> {
    Ok(api.store.log_end().await?.to_string())
}

/// What of a page is live.
async fn part(response: Response) -> Option<String> {
    let bytes = response.into_body().collect().await.ok()?.to_bytes();
    let text = String::from_utf8(bytes.to_vec()).ok()?;
    let from = text.find(BEGINS)?;
    let to = text.rfind(ENDS)? + ENDS.len();
    text.get(from..to).map(str::to_owned)
}

/// Follows what a page shows; `after` is how far the page itself knows.
pub(super) fn follow<F>(
    api: &Api,
    caller: Caller,
    headers: &axum::http::HeaderMap,
    after: Option<&str>,
    make: impl Fn() -> F + Send + Sync + 'static,
) -> Answer<Response>
where
    F: Future<Output = Shown> + Send,
{
    let known: Option<i64> = resumes(headers, after).and_then(|text| text.parse().ok());
    let listener = known.map(|known| api.tail.listen(Scope::Ops, known));
    let state = (api.clone(), make, listener, String::new());
    let frames = stream::unfold(state, |(api, make, mut listener, mut had)| async move {
        loop {
            // Should the store not answer, the stream ends, and the page says since when.
            match &mut listener {
                None => listener = Some(api.tail.listen_from_now(Scope::Ops).await.ok()?),
                Some(listener) => {
                    if listener.take(LOOK_AT).await.ok()?.events.is_empty() {
                        let _ = tokio::time::timeout(REDRAW_EVERY, listener.more()).await;
                        continue;
                    }
                    // Much may happen at once.
                    pause(REST).await;
                    while !listener.take(LOOK_AT).await.ok()?.events.is_empty() {}
                }
            }
            let seen = listener.as_ref().map_or(0, Listener::cursor);
            let made = make().await.unwrap_or_else(IntoResponse::into_response);
            if made.status().is_success()
                && let Some(now) = part(made).await
                && now != had
            {
                let text = json!({"now": api.clock.now(), "put": {"main": &now}}).to_string();
                had = now;
                return Some((Written::new(seen.to_string(), text), (api, make, listener, had)));
            }
        }
    });
    live(api, Some(caller), frames)
}
