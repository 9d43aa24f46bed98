//! Reads what platforms send: a submission of the protocol becomes one of the house.
//!
//! An empty text is one that was not given. What only the lab can tell is checked later, by the code
//! that both faces share.

use crate::api::problem::{Answer, Problem};
use crate::domain::Fault;
use crate::domain::ids::{LabId, PlatformId, RegionId, ServiceLevel};
use crate::domain::order::{
    Address, Customer, File, Handing, Item, ItemKind, Need, Payment, Submission, Thumbnail,
};
use crate::domain::stop::AskedBy;
use crate::proto;

/// A text that may be left out.
pub(super) fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// The platform that ops submit for.
pub(super) fn platform(text: String) -> Answer<Option<PlatformId>> {
    let Some(text) = given(text) else { return Ok(None) };
    PlatformId::parse(&text).map(Some).map_err(|fault| fault.under("platform").into())
}

/// Faults of an order as they are seen from the request that carries it.
pub(super) fn placed(problem: Problem) -> Problem {
    problem.under_unless("order", "platform")
}

/// Reads the order of a request. Its faults are seen from the order, not yet from the request that carries it.
///
/// # Errors
/// What of it cannot be read, by field.
pub fn submission(order: Option<proto::Submission>) -> Answer<Submission> {
    let Some(order) = order else { return Err(Fault::missing("", "an order").into()) };
    read(order).map_err(Problem::from)
}

fn read(order: proto::Submission) -> Result<Submission, Vec<Fault>> {
    let mut faults = Vec::new();
    let lab = given(order.lab).map(|text| LabId::parse(&text).map_err(|fault| fault.under("lab")));
    let lab = lab.transpose().map_err(|fault| faults.push(fault)).ok();
    let region =
        given(order.region).map(|text| RegionId::parse(&text).map_err(|fault| fault.under("region")));
    let region = region.transpose().map_err(|fault| faults.push(fault)).ok();
    let transfer = match proto::Handing::try_from(order.transfer) {
        Ok(proto::Handing::Unspecified | proto::Handing::Batch) => Some(Handing::Batch),
        Ok(proto::Handing::Direct) => Some(Handing::Direct),
        Err(_) => {
            faults.push(unknown("transfer", order.transfer, "Handing"));
            None
        }
    };
    let payment = match proto::Payment::try_from(order.payment) {
        Ok(proto::Payment::Unspecified | proto::Payment::Paid) => Some(Payment::Paid),
        Ok(proto::Payment::Awaiting) => Some(Payment::Awaiting),
        Err(_) => {
            faults.push(unknown("payment", order.payment, "Payment"));
            None
        }
    };
    let level = given(order.service_level)
        .map(|text| ServiceLevel::parse(&text).map_err(|fault| fault.under("service_level")));
    let level = level.transpose().map_err(|fault| faults.push(fault)).ok();
    let (Some(lab), Some(region), Some(transfer), Some(payment), Some(service_level)) =
        (lab, region, transfer, payment, level)
    else {
        return Err(faults);
    };
    Ok(Submission {
        reference: order.reference,
        lab,
        region,
        need: order.need.map(|need| Need { country: given(need.country) }),
        service_level,
        transfer,
        payment,
        ship_to: order.ship_to.map(address),
        bill_to: order.bill_to.map(address),
        items: order.items.into_iter().map(item).collect(),
        customer: order
            .customer
            .map(|customer| Customer { email: given(customer.email), language: given(customer.language) }),
        metadata: order.metadata,
        thumbnails: order.thumbnails.into_iter().map(|(id, text)| (id, Thumbnail(text))).collect(),
    })
}

/// Who asks for a stop.
pub(super) fn asked_by(number: i32) -> Answer<AskedBy> {
    match proto::AskedBy::try_from(number) {
        Ok(proto::AskedBy::Customer) => Ok(AskedBy::Customer),
        Ok(proto::AskedBy::Merchant) => Ok(AskedBy::Merchant),
        Ok(proto::AskedBy::Support) => Ok(AskedBy::Support),
        Ok(proto::AskedBy::Unspecified | proto::AskedBy::System) => Ok(AskedBy::System),
        Err(_) => Err(unknown("asked_by", number, "AskedBy").into()),
    }
}

/// A number that is no word of a list.
pub(super) fn unknown(field: &str, number: i32, list: &str) -> Fault {
    Fault::not(field, number, &format!("a number of {list}"))
}

fn address(address: proto::Address) -> Address {
    Address {
        name: address.name,
        line1: address.line1,
        line2: given(address.line2),
        postal_code: given(address.postal_code),
        city: address.city,
        state: given(address.state),
        country: address.country,
        email: given(address.email),
        phone: given(address.phone),
    }
}

fn item(item: proto::Item) -> Item {
    Item {
        id: item.id,
        kind: if item.download { ItemKind::Download } else { ItemKind::Print },
        sku: item.sku,
        quantity: item.quantity,
        personalised: item.personalised,
        files: item
            .files
            .into_iter()
            .map(|file| File { url: file.url, sha256: given(file.sha256) })
            .collect(),
        options: item.options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::grpc::shapes;

    fn order() -> proto::Submission {
        let text = r#"{"reference":"A-1","lab":"nord","region":"fi","transfer":"direct","payment":"awaiting",
            "ship_to":{"name":"n","line1":"l","line2":"m","postal_code":"00100","city":"c","state":"s",
                "country":"FI","email":"a@b.example","phone":"1"},
            "bill_to":{"name":"n","line1":"l","city":"c","country":"FI"},
            "items":[{"id":"1","sku":"s","quantity":2,"personalised":true,"options":{"a":"b","c":"d"},
                "files":[{"url":"https://x.example/1","sha256":"00"}]},
                {"id":"2","kind":"download","sku":"t","quantity":1,"files":[{"url":"https://x.example/2"}]}],
            "customer":{"email":"c@d.example"},"metadata":{"k":"v"},
            "need":{"country":"SE"},"service_level":"express",
            "thumbnails":{"1":"data:image/png;base64,iVBORw0KGgo="}}"#;
        shapes::submission(&serde_json::from_str(text).unwrap())
    }

    /// The fields and the words of a refusal.
    fn faults(order: proto::Submission) -> Vec<String> {
        let problem = placed(submission(Some(order)).unwrap_err());
        problem.document().errors.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let there = submission(Some(order())).unwrap();
        assert_eq!(shapes::submission(&there), order());
        assert_eq!((there.transfer, there.payment), (Handing::Direct, Payment::Awaiting));
        let address = there.ship_to.unwrap();
        assert_eq!((address.line2.as_deref(), address.phone.as_deref()), (Some("m"), Some("1")));
        assert_eq!(there.bill_to.unwrap().line2, None, "an empty text is one that was not given");
        assert_eq!(there.items[1].kind, ItemKind::Download);
        assert_eq!(there.items[1].files[0].sha256, None);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let bad = proto::Submission {
            lab: "Nord!".to_owned(),
            region: "FI".to_owned(),
            transfer: 9,
            payment: -1,
            service_level: "Fast!".to_owned(),
            ..order()
        };
        let fields = ["order.lab", "order.region", "order.transfer", "order.payment", "order.service_level"];
        assert_eq!(faults(bad), fields);
        let none = placed(submission(None).unwrap_err()).document();
        assert_eq!(none.errors[0].field, "order");
        assert_eq!(asked_by(77).unwrap_err().document().errors[0].field, "asked_by");
    }
}
