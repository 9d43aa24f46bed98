//! The pages of ops behind the board: labs, batches, orders, stops, escalations, and the search.
//!
//! They read what the API reads, and act by the functions that the API acts by.

mod batch;
mod calendar;
mod extras;
mod follow;
mod lab;
mod lists;
mod order;
mod place;
mod search;
mod warned;
mod webhooks;
mod words;

pub(in crate::api) use self::batch::{batch, batch_live, postpone, release};
pub(in crate::api) use self::extras::decide;
pub(in crate::api) use self::lab::{lab, lab_live, pause, resume};
pub(in crate::api) use self::lists::{escalations, escalations_live, resolve, stops, stops_live};
pub(in crate::api) use self::order::{order, order_live, stop, stop_asked, stop_live};
pub(in crate::api) use self::search::search;
pub(in crate::api) use self::webhooks::{ailing, webhook, webhooks};

use axum::extract::Path;
use serde::Deserialize;

use crate::api::problem::{Answer, Problem};
use crate::domain::Fault;

/// What the page has whose stream begins.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct After {
    after: Option<String>,
}

/// The id in a path. What is no id names no object.
fn named<T>(path: &Path<String>, parse: impl Fn(&str) -> Result<T, Fault>) -> Answer<T> {
    parse(&path.0).map_err(|_| Problem::not_found())
}

/// An address with those of its parameters that there are.
fn address(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    if parameters.iter().all(|(_, value)| value.is_none()) {
        return path.to_owned();
    }
    let mut out = url::form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
    for (name, value) in parameters {
        if let Some(value) = value {
            out.append_pair(name, value);
        }
    }
    out.finish()
}
