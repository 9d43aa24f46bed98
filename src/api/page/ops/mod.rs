//! The pages of ops behind the board: labs, batches, orders, stops, escalations, and the search.
//!
//! They read what the API reads, and act by the functions that the API acts by.

mod batch;
mod calendar;
mod follow;
mod lab;
mod lists;
mod order;
mod search;
mod words;

pub(in crate::api) use self::batch::{batch, batch_live, postpone, release};
pub(in crate::api) use self::lab::{lab, lab_live, pause, resume};
pub(in crate::api) use self::lists::{escalations, escalations_live, resolve, stops, stops_live};
pub(in crate::api) use self::order::{order, order_live, stop, stop_asked};
pub(in crate::api) use self::search::search;

use axum::extract::Path;
use serde::Deserialize;

use crate::api::problem::{Answer, Problem};
use crate::domain::Fault;

/// How far a page knows whose stream begins.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct After {
    after: Option<String>,
}

/// The id in a path. What is no id names no object.
fn named<T>(path: &Path<String>, parse: impl Fn(&str) -> Result<T, Fault>) -> Answer<T> {
    parse(&path.0).map_err(|_| Problem::not_found())
}
