//! Downloads, whatever they come over: what is said of one without being asked.

use super::Api;
use super::auth::Caller;
use super::orders::{find, judge};
use super::problem::{Answer, Problem};
use super::words;
use crate::domain::Fault;
use crate::domain::downloads::{DownloadState, DownloadVerdict, DownloadWord};
use crate::domain::verdict::Verdict;
use crate::store::{self, DownloadReported, OrderRef, ReportDownload, Write, Written};

/// Whether anybody still has to say something about a download of an order.
pub(super) fn is_open(verdict: &Verdict) -> bool {
    verdict.downloads.iter().any(|download| download.state.is_open())
}

/// Takes what a platform says of a download, and gives it as it stands then.
pub(super) async fn report(
    api: &Api,
    caller: &Caller,
    order: OrderRef,
    item: String,
    (word, comment): (DownloadWord, Option<String>),
) -> Answer<DownloadVerdict> {
    words::text("comment", comment.as_deref().unwrap_or_default(), 500)?;
    let comment = comment.filter(|comment| !comment.trim().is_empty());
    let facts = find(api, &caller.scope, order).await?;
    let report = ReportDownload {
        order: facts.id.clone(),
        scope: caller.scope.clone(),
        item: item.clone(),
        word,
        comment,
        at: api.clock.now(),
        actor: caller.actor.clone(),
    };
    match store::one(&*api.store, Write::ReportDownload(Box::new(report))).await? {
        Written::DownloadReported(DownloadReported::Done(_)) => {}
        Written::DownloadReported(DownloadReported::NotFound) => return Err(Problem::not_found()),
        Written::DownloadReported(DownloadReported::NoSuchItem) => {
            let allowed = "the id of an item of this order whose kind is `download`";
            return Err(Fault::not("item", item, allowed).into());
        }
        _ => return Err(Problem::unexpected("not a download")),
    }
    let facts = find(api, &caller.scope, OrderRef::Id(facts.id)).await?;
    let verdict = judge(api, &facts, true, api.clock.now()).await?;
    let mut downloads = verdict.downloads.into_iter();
    downloads
        .find(|download| download.item == item && download.state != DownloadState::Live)
        .ok_or_else(|| Problem::unexpected("a download that was reported is not there"))
}
