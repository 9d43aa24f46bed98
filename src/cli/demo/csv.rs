//! CSV with one order line a row: lines become orders, credit notes become cancellations.
//!
//! What an export holds beside orders is left out and counted: postage and bank charges, stock
//! corrections, lines without pieces. Nothing is left out silently.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::file::{Columns, Local, country, instant, shop};
use super::script::{Act, Cancel, Deed, Script, submission};
use crate::domain::order::ITEMS_MAX;
use crate::domain::{Fault, nearest};

/// Codes of the Online Retail data set that name no article.
const NO_ARTICLE: [&str; 12] =
    ["POST", "DOT", "M", "D", "C2", "BANK CHARGES", "S", "B", "AMAZONFEE", "CRUK", "PADS", "ADJUST"];
/// Where the country is none that is known: an order of a code that nobody uses goes to the last lab.
const NOWHERE: &str = "ZZ";

/// The lines of one invoice.
#[derive(Debug)]
struct Invoice {
    number: String,
    at: Timestamp,
    customer: String,
    country: String,
    lines: Vec<(String, i64)>,
}

struct Row {
    number: String,
    sku: String,
    quantity: i64,
    at: Timestamp,
    customer: String,
    country: String,
}

/// Reads the text of a CSV file.
///
/// # Errors
/// If it has no header with the columns.
pub(super) fn script(text: &str, columns: &Columns, local: &Local<'_>) -> Result<Script, Fault> {
    let mut reader = ::csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| Fault::new("", error.to_string()))?.clone();
    let place = |name: &str| {
        header.iter().position(|known| known.trim() == name).ok_or_else(|| {
            let near = nearest(name, header.iter()).map(|near| format!(" (did you mean {near:?}?)"));
            let known: Vec<_> = header.iter().collect();
            let text = format!(
                "has no column {name:?}{}; it has {}. Say which is which with --map",
                near.unwrap_or_default(),
                known.join(", ")
            );
            Fault::new("", text)
        })
    };
    let places = [
        place(&columns.invoice)?,
        place(&columns.sku)?,
        place(&columns.quantity)?,
        place(&columns.at)?,
        place(&columns.customer)?,
        place(&columns.country)?,
    ];
    let mut script = Script { shops: vec![shop("The shop of the file")?], ..Script::default() };
    let mut invoices: Vec<Invoice> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                script.broken.push(error.to_string());
                continue;
            }
        };
        let line = record.position().map_or(0, ::csv::Position::line);
        match row(&record, &places, columns, local) {
            Ok(row) => {
                let nth = *known.entry(row.number.clone()).or_insert_with(|| {
                    let (number, at) = (row.number.clone(), row.at);
                    let (customer, country) = (row.customer.clone(), row.country.clone());
                    invoices.push(Invoice { number, at, customer, country, lines: Vec::new() });
                    invoices.len() - 1
                });
                invoices[nth].at = invoices[nth].at.min(row.at);
                invoices[nth].lines.push((row.sku, row.quantity));
            }
            Err(fault) => script.broken.push(format!("line {line}: {fault}")),
        }
    }
    play(&mut script, invoices);
    Ok(script)
}

fn row(
    record: &::csv::StringRecord,
    places: &[usize; 6],
    columns: &Columns,
    local: &Local<'_>,
) -> Result<Row, Fault> {
    let field = |nth: usize| record.get(places[nth]).unwrap_or_default().trim();
    let needed = |nth: usize, name: &str| match field(nth) {
        "" => Err(Fault::missing(name, "a text that is not empty")),
        text => Ok(text.to_owned()),
    };
    let quantity = field(2).parse().map_err(|_| Fault::not(&columns.quantity, field(2), "a whole number"))?;
    let at = instant(field(3), local).ok_or_else(|| {
        Fault::not(
            &columns.at,
            field(3),
            "a time such as 2010-12-01 08:26:00, 12/1/2010 8:26 or 2010-12-01T08:26:00Z",
        )
    })?;
    Ok(Row {
        number: needed(0, &columns.invoice)?,
        sku: needed(1, &columns.sku)?,
        quantity,
        at,
        customer: field(4).trim_end_matches(".0").to_owned(),
        country: field(5).to_owned(),
    })
}

/// An order that a cancellation may mean.
struct Sold {
    at: Timestamp,
    reference: String,
    customer: String,
    articles: BTreeSet<String>,
    cancelled: bool,
}

fn play(script: &mut Script, mut invoices: Vec<Invoice>) {
    // By time; at the same time orders go before cancellations.
    let credit = |invoice: &Invoice| invoice.number.starts_with(['C', 'c']);
    invoices.sort_by_key(|invoice| (invoice.at, credit(invoice)));
    let mut sold: Vec<Sold> = Vec::new();
    for invoice in invoices {
        let is_credit = credit(&invoice);
        let Invoice { number, at, customer, country, lines } = invoice;
        let (mut bought, mut returned) = (Vec::new(), Vec::new());
        let (mut none, mut corrections) = (0, 0);
        for (sku, quantity) in lines {
            let article = !NO_ARTICLE.contains(&sku.to_uppercase().as_str());
            match quantity {
                0 => script.note("lines with 0 pieces, left out", 1),
                _ if !article && !is_credit => none += 1,
                1.. if !is_credit => bought.push((sku, quantity)),
                _ if !is_credit && customer.is_empty() => corrections += 1,
                _ => returned.push(sku),
            }
        }
        script.note("lines that name no article (postage, fees, discounts, manual entries), left out", none);
        script.note(
            "lines below zero on no credit note and of no customer (stock corrections), left out",
            corrections,
        );
        if is_credit || !returned.is_empty() {
            cancel(script, &mut sold, (&number, at, &customer), &returned);
        }
        if bought.is_empty() {
            if !is_credit && returned.is_empty() {
                script.note("invoices of which no line was left, left out", 1);
            }
            continue;
        }
        order(script, &mut sold, (number, at), (customer, &country), bought);
    }
}

fn order(
    script: &mut Script,
    sold: &mut Vec<Sold>,
    (number, at): (String, Timestamp),
    (customer, named): (String, &str),
    mut lines: Vec<(String, i64)>,
) {
    if lines.len() > ITEMS_MAX {
        script.note("lines beyond the 1,000 that an order may have, left out", lines.len() - ITEMS_MAX);
        lines.truncate(ITEMS_MAX);
    }
    let code = country_of(script, named);
    let name = if customer.is_empty() {
        script.note("orders without a customer: played, and no cancellation can be matched to them", 1);
        "Customer not recorded".to_owned()
    } else {
        format!("Customer {customer}")
    };
    let items: Vec<_> = lines
        .iter()
        .map(|(sku, quantity)| (sku.clone(), u32::try_from(*quantity).unwrap_or(u32::MAX)))
        .collect();
    let submitted = submission(&number, &code, &name, &items);
    script.acts.push(Act { at, shop: 0, deed: Deed::Submit(Box::new(submitted)) });
    let articles = lines.into_iter().map(|(sku, _)| sku).collect();
    sold.push(Sold { at, reference: number, customer, articles, cancelled: false });
}

fn country_of(script: &mut Script, named: &str) -> String {
    country(named).unwrap_or_else(|| {
        let text = format!("orders from {named:?}, a country that is not known here: sent to the last lab");
        script.note(&text, 1);
        NOWHERE.to_owned()
    })
}

/// A cancellation stops the most recent earlier order of its customer that has one of its articles.
fn cancel(
    script: &mut Script,
    sold: &mut [Sold],
    (number, at, customer): (&str, Timestamp, &str),
    articles: &[String],
) {
    let found = sold.iter_mut().rev().find(|order| {
        let same = !customer.is_empty() && order.customer == customer && order.at <= at;
        same && !order.cancelled && articles.iter().any(|sku| order.articles.contains(sku))
    });
    let reference = if let Some(order) = found {
        order.cancelled = true;
        let whole = order.articles.iter().all(|sku| articles.contains(sku));
        let reference = order.reference.clone();
        if !whole {
            script.note(
                "cancellations that name only some articles of their order: the whole order is stopped",
                1,
            );
        }
        reference
    } else {
        script.note("cancellations without an order of that customer and article in the file: stops of unknown orders", 1);
        number.to_owned()
    };
    let reason = format!("credit note {number}");
    script.acts.push(Act { at, shop: 0, deed: Deed::Cancel(Cancel { reference, reason, racing: false }) });
}

#[cfg(test)]
mod tests {
    use jiff::civil::DateTime;

    use super::*;

    const HEAD: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn utc(civil: DateTime) -> Option<Timestamp> {
        format!("{civil}Z").parse().ok()
    }

    fn read(rows: &str) -> Script {
        let mut script = script(&format!("{HEAD}{rows}"), &Columns::default(), &utc).unwrap();
        script.sort();
        script
    }

    fn cancels(script: &Script) -> Vec<&str> {
        let cancels = script.acts.iter().filter_map(|act| match &act.deed {
            Deed::Cancel(cancel) => Some(cancel.reference.as_str()),
            Deed::Submit(_) => None,
        });
        cancels.collect()
    }

    #[test]
    fn the_lines_of_an_invoice_are_one_order_for_the_lab_of_its_country() {
        let script = read(
            "1,A,a,6,2010-12-01 08:26:00,2.5,17850.0,United Kingdom\n\
             2,B1,b,1,2010-12-01 08:27:00,2.5,12583.0,France\n\
             1,C,c,2,2010-12-01 08:26:00,2.5,17850.0,United Kingdom\n",
        );
        assert_eq!(script.orders(), 2);
        let Deed::Submit(order) = &script.acts[0].deed else { panic!("an order") };
        assert_eq!(
            (order.lab.as_ref().unwrap().as_str(), order.items.len(), order.items[1].quantity),
            ("thames", 2, 2)
        );
        assert!(order.faults().is_empty(), "{:?}", order.faults());
        let Deed::Submit(order) = &script.acts[1].deed else { panic!("an order") };
        assert_eq!(order.lab.as_ref().unwrap().as_str(), "rheinbild");
    }

    #[test]
    fn a_cancellation_means_the_most_recent_order_with_the_article_that_is_not_stopped() {
        let script = read(
            "1,A,a,6,2010-12-01 08:00:00,1,7,France\n\
             2,A,a,6,2010-12-01 09:00:00,1,7,France\n\
             3,B1,b,6,2010-12-01 09:30:00,1,7,France\n\
             4,A,a,6,2010-12-01 09:40:00,1,8,France\n\
             C5,A,a,-6,2010-12-01 10:00:00,1,7.0,France\n\
             C6,A,a,-1,2010-12-01 10:05:00,1,7,France\n\
             C7,A,a,-1,2010-12-01 10:06:00,1,7,France\n\
             5,A,a,6,2010-12-01 11:00:00,1,7,France\n",
        );
        assert_eq!(cancels(&script), ["2", "1", "C7"], "the third finds none: later orders do not count");
    }

    #[test]
    fn an_order_and_its_cancellation_at_the_same_minute_match() {
        let script =
            read("C2,A,a,-6,2010-12-01 08:00:00,1,7,France\n1,A,a,6,2010-12-01 08:00:00,1,7,France\n");
        assert_eq!(cancels(&script), ["1"]);
        assert!(matches!(script.acts[0].deed, Deed::Submit(_)));
    }

    #[test]
    fn what_is_no_order_is_left_out_and_counted() {
        let script = read(
            "1,POST,p,1,2010-12-01 08:00:00,18,7,France\n\
             1,A,a,6,2010-12-01 08:00:00,1,7,France\n\
             2,BANK CHARGES,b,1,2010-12-01 08:10:00,15,,United Kingdom\n\
             3,B1,b,-10,2010-12-01 08:20:00,0,,United Kingdom\n\
             4,C,c,0,2010-12-01 08:30:00,0,9,United Kingdom\n\
             5,D1,d,2,2010-12-01 08:40:00,0,,Atlantis\n",
        );
        assert_eq!(script.orders(), 2);
        assert_eq!(script.cancels(), 0);
        let noted = |part: &str| {
            script
                .notes
                .iter()
                .filter(|(what, _)| what.contains(part))
                .map(|(_, times)| *times)
                .sum::<usize>()
        };
        assert_eq!(noted("name no article"), 2);
        assert_eq!(noted("stock corrections"), 1);
        assert_eq!(noted("0 pieces"), 1);
        assert_eq!(noted("no line was left"), 3);
        assert_eq!(noted("without a customer"), 1);
        assert_eq!(noted("Atlantis"), 1);
    }

    #[test]
    fn a_discount_taken_back_is_a_stop_of_an_unknown_order() {
        let script =
            read("1,A,a,6,2010-12-01 08:00:00,1,7,France\nC2,D,Discount,-1,2010-12-01 09:00:00,1,7,France\n");
        assert_eq!(cancels(&script), ["C2"]);
    }

    #[test]
    fn a_broken_line_is_named_with_what_is_allowed_and_a_wrong_header_too() {
        let script = read(
            "1,A,a,six,2010-12-01 08:00:00,1,7,France\n2,A,a,1,tomorrow,1,7,France\n3,A,a,1,2010-12-01 08:00:00,1,7,France\n",
        );
        assert_eq!(script.broken[0], "line 2: Quantity: \"six\" is not a whole number");
        assert!(
            script.broken[1].starts_with("line 3: InvoiceDate: \"tomorrow\" is not a time"),
            "{:?}",
            script.broken
        );
        assert_eq!(script.orders(), 1);
        let error = super::script("Invoice,StockCode\n", &Columns::default(), &utc).unwrap_err();
        assert!(error.message.contains("no column \"InvoiceNo\" (did you mean \"Invoice\"?)"), "{error}");
    }
}
