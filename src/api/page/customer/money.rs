//! What a customer is told about money: by the platform's policy, whether the order was paid, and what came of the stop.

use super::view::{Seen, State};
use crate::domain::platform::{Refund, ServiceFee};
use crate::domain::stop::StopFacts;

/// What happens with the money; nothing where nothing is refunded.
pub(super) fn lines(seen: &Seen<'_>) -> Vec<String> {
    let (money, state) = (&seen.words().money, seen.state());
    let now = &seen.verdict.consequences;
    // What was told when it was asked holds, whatever the shop's rules are since.
    let told = seen.stop.and_then(StopFacts::brings);
    let (to_refund, fee) = told.map_or((now.refund, now.service_fee), |told| (told.refund, told.service_fee));
    if !state.spends() {
        return Vec::new();
    }
    if !seen.paid {
        return vec![money.unpaid.clone()];
    }
    // How much it is, and whether it is due at all, no rule says.
    if matches!(state, State::InPart | State::Contradicted(_)) {
        return vec![seen.with_shop(&money.settles)];
    }
    let refund = match (to_refund, state.is_stopped()) {
        (Refund::Automatic, false) => &money.automatic,
        (Refund::Automatic, true) => &money.automatic_done,
        (Refund::ByMerchant, false) => &money.by_merchant,
        (Refund::ByMerchant, true) => &money.by_merchant_done,
        // The fee is part of what is settled elsewhere.
        (Refund::Outside, _) => return vec![seen.with_shop(&money.outside)],
    };
    let fee = match fee {
        ServiceFee::Kept => &money.fee_kept,
        ServiceFee::Waived => &money.fee_waived,
    };
    vec![seen.with_shop(refund), fee.clone()]
}

/// What happens with the money where only some lines are stopped: how much it is, no rule says.
pub(super) fn of_lines(seen: &Seen<'_>) -> Vec<String> {
    let money = &seen.words().money;
    let text = match seen.verdict.consequences.refund {
        _ if !seen.paid => &money.unpaid,
        Refund::Outside => &money.outside,
        Refund::Automatic | Refund::ByMerchant => &money.settles,
    };
    vec![seen.with_shop(text)]
}
