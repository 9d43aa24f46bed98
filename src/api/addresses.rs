//! Another shipping address for an order that its lab has, whatever it is asked over: the lab decides.

use super::auth::Caller;
use super::changes::not_allowed;
use super::problem::{Answer, Code, Problem};
use super::{Api, words};
use crate::domain::Fault;
use crate::domain::address::{AddressFacts, AddressState, asks_lab};
use crate::domain::ids::AddressChangeId;
use crate::domain::lab::Profile;
use crate::domain::order::{Address, OrderFacts};
use crate::store::{self, AddressAsked, AskAddress, Write, Written};

/// What a lab can do, as far as it is known here.
pub(super) fn profile(api: &Api, order: &OrderFacts) -> Profile {
    api.registry.lab(&order.lab).map_or_else(Profile::default, |entry| entry.lab.spec.profile.clone())
}

/// Whether a change of the address is a question to the lab: it has the order, and takes such questions; or it was asked
/// one that is open.
pub(super) fn is_asked(order: &OrderFacts, profile: &Profile) -> bool {
    asks_lab(order, profile) || order.extras.address_change.as_ref().is_some_and(|it| it.state.is_open())
}

/// Asks for another address; `None` if the order has it.
pub(super) async fn ask(
    api: &Api,
    caller: &Caller,
    order: &OrderFacts,
    ship_to: Address,
    (reason, if_version): (Option<&str>, Option<i64>),
) -> Answer<Option<AddressFacts>> {
    words::text("reason", reason.unwrap_or_default(), 500)?;
    let faults = ship_to.faults();
    if !faults.is_empty() {
        return Err(faults.into_iter().map(|fault| fault.under("ship_to")).collect::<Vec<_>>().into());
    }
    let at = api.clock.now();
    let write = AskAddress {
        id: AddressChangeId::new(at, &*api.random),
        order: order.id.clone(),
        scope: caller.scope.clone(),
        ship_to,
        reason: reason.unwrap_or_default().to_owned(),
        if_version,
        at,
        actor: caller.actor.clone(),
    };
    let Written::AddressAsked(asked) = store::one(&*api.store, Write::AskAddress(Box::new(write))).await?
    else {
        return Err(Problem::unexpected("not a change of an address"));
    };
    match *asked {
        AddressAsked::Asked(facts) => {
            if facts.state == AddressState::Asked {
                api.nudge.addresses.ring();
            }
            Ok(Some(facts))
        }
        AddressAsked::Unchanged => Ok(None),
        AddressAsked::NotFound => Err(Problem::not_found()),
        AddressAsked::Version(version) => Err(super::http::version_mismatch(version)),
        AddressAsked::NotAllowed(state) => Err(not_allowed(state)),
        AddressAsked::Open(open) => {
            let text = "Another address was asked for, and it is not known yet what came of that.";
            Err(Problem::new(Code::AddressChangeOpen, text)
                .with("change", open.id)
                .with("answer_due_at", open.deadline_at))
        }
        AddressAsked::Country(was) => {
            let got = "another country";
            let allowed = format!("{was}: the order was handed over to a lab and a region for that country");
            Err(Fault::not("ship_to.country", got, &allowed).into())
        }
    }
}
