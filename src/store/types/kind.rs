//! The kinds of writes by name, for the points around their commits. Not in a release.

use super::Write;

macro_rules! kinds {
    ($($pattern:pat => $word:literal,)*) => {
        impl Write {
            /// All kinds.
            pub const KINDS: &[&'static str] = &[$($word),*];

            /// Which kind it is.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self {
                    $($pattern => $word,)*
                }
            }
        }
    };
}

kinds! {
    Self::Admit(_) => "admit",
    Self::Stop(_) => "stop",
    Self::AskApproval(_) => "ask_approval",
    Self::Decide(_) => "decide",
    Self::Overdue(_) => "overdue",
    Self::Change(_) => "change",
    Self::Replace(_) => "replace",
    Self::Report(_) => "report",
    Self::Close(_) => "close",
    Self::MoveBatch(_) => "move_batch",
    Self::Claim(_) => "claim",
    Self::Settle(_) => "settle",
    Self::TakeOver(_) => "take_over",
    Self::ClaimStops(_) => "claim_stops",
    Self::SettleStop(_) => "settle_stop",
    Self::Import(_) => "import",
    Self::Imported(_) => "imported",
    Self::Resolve(_) => "resolve",
    Self::PutLab(_) => "put_lab",
    Self::SetLab(_) => "set_lab",
    Self::PutPlatform(_) => "put_platform",
    Self::PutRoutes(_) => "put_routes",
    Self::CloseFull(_) => "close_full",
    Self::PutKey(..) => "put_key",
    Self::RevokeKey { .. } => "revoke_key",
    Self::OfferSignIn(_) => "offer_sign_in",
    Self::SignIn(_) => "sign_in",
    Self::SeeSession { .. } => "see_session",
    Self::EndSession { .. } => "end_session",
    Self::Remember(_) => "remember",
    Self::Forget { .. } => "forget",
    Self::Announce(_) => "announce",
    Self::Leave { .. } => "leave",
    Self::PlanMails(_) => "plan_mails",
    Self::ClaimMails(_) => "claim_mails",
    Self::SettleMail(_) => "settle_mail",
    Self::PutLinkKey { .. } => "put_link_key",
    Self::PutCustomerKey { .. } => "put_customer_key",
    Self::RevokeLinks(_) => "revoke_links",
    Self::RotateLinks(_) => "rotate_links",
    Self::PutWebhook(_) => "put_webhook",
    Self::ChangeWebhook(_) => "change_webhook",
    Self::ChangeCallback(_) => "change_callback",
    Self::ClaimDownloads(_) => "claim_downloads",
    Self::SettleDownload(_) => "settle_download",
    Self::ReportDownload(_) => "report_download",
    Self::ClaimWebhook(_) => "claim_webhook",
    Self::SettleWebhook(_) => "settle_webhook",
    Self::SkipWebhooks(_) => "skip_webhooks",
    Self::ForgetDeliveries(_) => "forget_deliveries",
    Self::Purge(_) => "purge",
    Self::Warn(_) => "warn",
    Self::RevokeCalendarLinks(_) => "revoke_calendar_links",
    Self::AskAddress(_) => "ask_address",
    Self::ClaimAddresses(_) => "claim_addresses",
    Self::SettleAddress(_) => "settle_address",
    Self::Checkpoint { .. } => "checkpoint",
    Self::StartFactor(_) => "start_factor",
    Self::ShowCode(_) => "show_code",
    Self::RemoveFactor { .. } => "remove_factor",
}
