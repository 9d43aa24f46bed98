//! What people decide and platforms say of orders, over gRPC: approvals and downloads, by the functions that HTTP uses.

use super::shapes;
use super::submission::{given, unknown};
use crate::api::auth::Caller;
use crate::api::http::Page;
use crate::api::orders::named;
use crate::api::problem::{Answer, Problem};
use crate::api::{Api, approvals, downloads};
use crate::domain::Fault;
use crate::domain::downloads::DownloadWord;
use crate::domain::ids::ApprovalId;
use crate::proto;

/// An approval that somebody names: what is no id is no approval.
fn id(text: &str) -> Answer<ApprovalId> {
    ApprovalId::parse(text).map_err(|_| Problem::not_found())
}

/// A page of approvals.
pub(super) async fn list(
    api: &Api,
    caller: &Caller,
    message: proto::GatewayServiceListApprovalsRequest,
) -> Answer<proto::GatewayServiceListApprovalsResponse> {
    let limit = Some(message.limit).filter(|limit| *limit > 0).map(i64::from);
    let page = Page::asked(limit, given(message.cursor).as_deref())?;
    let (rows, next) = approvals::list(api, caller, message.open, &page).await?;
    let approvals = rows.into_iter().map(|row| proto::ListedApproval {
        approval: Some(shapes::approval(&row.approval)),
        platform: row.approval.platform,
        lab: row.approval.lab,
        reference: row.reference,
    });
    Ok(proto::GatewayServiceListApprovalsResponse {
        approvals: approvals.collect(),
        next: next.unwrap_or_default(),
    })
}

/// One approval.
pub(super) async fn read(
    api: &Api,
    caller: &Caller,
    approval: &str,
) -> Answer<proto::GatewayServiceGetApprovalResponse> {
    let (approval, _) = approvals::read(api, caller, &id(approval)?).await?;
    Ok(proto::GatewayServiceGetApprovalResponse { approval: Some(shapes::approval(&approval)) })
}

/// Takes the merchant's decision.
pub(super) async fn decide(
    api: &Api,
    caller: &Caller,
    message: proto::GatewayServiceDecideApprovalRequest,
) -> Answer<(proto::GatewayServiceDecideApprovalResponse, bool)> {
    let agrees = match proto::ApprovalDecision::try_from(message.decision) {
        Ok(proto::ApprovalDecision::Approve) => true,
        Ok(proto::ApprovalDecision::Decline) => false,
        Ok(proto::ApprovalDecision::Unspecified) => return Err(Fault::missing("decision", "given").into()),
        Err(_) => return Err(unknown("decision", message.decision, "ApprovalDecision").into()),
    };
    let told = approvals::decide(api, caller, id(&message.approval)?, agrees, given(message.reason)).await?;
    let answer = proto::GatewayServiceDecideApprovalResponse {
        approval: Some(shapes::approval(&told.approval)),
        stop: told.stop.as_ref().map(shapes::stop),
        verdict: Some(shapes::verdict(&told.verdict)),
    };
    Ok((answer, true))
}

/// Takes what a platform says of a download.
pub(super) async fn report(
    api: &Api,
    caller: &Caller,
    message: proto::GatewayServiceReportDownloadRequest,
) -> Answer<(proto::GatewayServiceReportDownloadResponse, bool)> {
    let word = match proto::DownloadWord::try_from(message.said) {
        Ok(proto::DownloadWord::Deactivated) => DownloadWord::Deactivated,
        Ok(proto::DownloadWord::Fetched) => DownloadWord::Fetched,
        Ok(proto::DownloadWord::Unspecified) => return Err(Fault::missing("said", "given").into()),
        Err(_) => return Err(unknown("said", message.said, "DownloadWord").into()),
    };
    let said = (word, given(message.comment));
    let download = downloads::report(api, caller, named(&message.order)?, message.item, said).await?;
    Ok((proto::GatewayServiceReportDownloadResponse { download: Some(shapes::download(&download)) }, true))
}
