//! What is told over gRPC about routes: the same facts as over HTTP.

use super::shapes;
use crate::api::auth::Caller;
use crate::api::orders::{find, named};
use crate::api::problem::Answer;
use crate::api::{Api, routes};
use crate::domain::route::{Choice, Chosen, Considered, Explanation, LineRoute, Skipped, Why};
use crate::proto;

/// Why an order is made where it is.
pub(super) async fn of_order(
    api: &Api,
    caller: &Caller,
    order: &str,
) -> Answer<proto::GatewayServiceGetRouteResponse> {
    let facts = find(api, &caller.scope, named(order)?).await?;
    let route = routes::taken(api, &facts).await?.map(shown);
    let (order, lab, region) = (facts.id.to_string(), facts.lab.to_string(), facts.region.to_string());
    Ok(proto::GatewayServiceGetRouteResponse { order, lab, region, route })
}

/// A word of the house as one of the protocol. The compiler sees that none is missing.
fn why(why: Why) -> proto::Why {
    match why {
        Why::Platform => proto::Why::Platform,
        Why::Country => proto::Why::Country,
        Why::Products => proto::Why::Products,
        Why::ServiceLevel => proto::Why::ServiceLevel,
        Why::UnknownLab => proto::Why::UnknownLab,
        Why::UnknownRegion => proto::Why::UnknownRegion,
        Why::Paused => proto::Why::Paused,
        Why::Failing => proto::Why::Failing,
        Why::Unusable => proto::Why::Unusable,
        Why::NoCutoff => proto::Why::NoCutoff,
    }
}

fn shown(explanation: Explanation) -> proto::Route {
    let Explanation { routes, version, gateway, choice } = explanation;
    let Choice { chosen, considered, more, skipped, lines } = choice;
    proto::Route {
        routes: routes.to_string(),
        version,
        gateway,
        chosen: chosen.map(|Chosen { rule, lab, region, last_resort }| proto::Chosen {
            rule: rule.to_string(),
            lab: lab.to_string(),
            region: region.to_string(),
            last_resort,
        }),
        considered: considered.into_iter().map(one).collect(),
        more: u32::try_from(more).unwrap_or(u32::MAX),
        skipped: skipped
            .into_iter()
            .map(|Skipped { rule, why: because }| proto::Skipped {
                rule: rule.to_string(),
                why: why(because).into(),
            })
            .collect(),
        lines: lines
            .into_iter()
            .map(|LineRoute { items, sku, lab, region }| proto::LineRoute {
                items,
                sku,
                lab: lab.map(String::from).unwrap_or_default(),
                region: region.map(String::from).unwrap_or_default(),
            })
            .collect(),
    }
}

fn one(considered: Considered) -> proto::Considered {
    let Considered { rule, lab, region, why: because, text, closes_at } = considered;
    proto::Considered {
        rule: rule.to_string(),
        lab: lab.to_string(),
        region: region.map(String::from).unwrap_or_default(),
        why: because.map_or(proto::Why::Unspecified, why).into(),
        text,
        closes_at: closes_at.map(shapes::at),
    }
}
