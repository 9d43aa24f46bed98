//! Which rows of the board somebody wants to see: what stands in the address of the page.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::region::Level;
use super::{Row, Snapshot, band};
use crate::domain::Fault;
use crate::domain::ids::LabId;

/// How many rows a page has: with them the first paint stays under 100 KB, also when much is wrong with each.
pub const PAGE: usize = 25;

/// Which rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct View {
    /// Only of this lab.
    pub lab: Option<LabId>,
    /// Only those whose lab's or region's id or name, or whose zone, contains this text.
    pub find: Option<String>,
    /// `act`: only where somebody has to act; `watch`: also what is worth a look.
    #[param(value_type = Option<String>)]
    pub level: Option<String>,
    /// Only those with a cutoff in the quarter of an hour that begins then.
    #[param(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
}

impl View {
    /// What is wrong with it.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(level) = self.level.as_deref().filter(|level| !matches!(*level, "" | "act" | "watch")) {
            faults.push(Fault::not("level", level, "act or watch"));
        }
        if let Some(find) = self.find.as_deref().filter(|find| find.chars().count() > 100) {
            faults.push(Fault::not("find", find, "a text of at most 100 characters"));
        }
        faults
    }

    fn wants(&self, row: &Row) -> bool {
        let region = &row.region;
        if self.lab.as_ref().is_some_and(|lab| *lab != region.lab) {
            return false;
        }
        let most = match self.level.as_deref() {
            Some("act") => Level::Act,
            Some("watch") => Level::Watch,
            _ => Level::Fine,
        };
        if region.level > most {
            return false;
        }
        if let Some(at) = self.at
            && !region
                .closes_at
                .iter()
                .chain(row.closes.iter().map(|(closes, _)| closes))
                .any(|closes| band::slot(*closes) == band::slot(at))
        {
            return false;
        }
        let Some(find) = self.find.as_deref().map(str::trim).filter(|find| !find.is_empty()) else {
            return true;
        };
        let find = find.to_lowercase();
        [region.lab.as_str(), region.region.as_str(), &region.name, &region.time_zone]
            .iter()
            .any(|text| text.to_lowercase().contains(&find))
    }

    /// The rows that it wants, in the board's order.
    pub fn rows<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Arc<Row>> + 'a {
        snapshot.rows.iter().filter(|row| self.wants(row))
    }

    /// Whether the same rows fit it for as long as none comes, goes or changes its place.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.at.is_none() && self.level.as_deref().is_none_or(str::is_empty)
    }

    /// Whether anything is left out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let bare = |text: &Option<String>| text.as_deref().is_none_or(|text| text.trim().is_empty());
        self.lab.is_none() && self.at.is_none() && bare(&self.find) && bare(&self.level)
    }

    /// The view as it stands in an address, without the question mark.
    #[must_use]
    pub fn query(&self) -> String {
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        if let Some(lab) = &self.lab {
            out.append_pair("lab", lab.as_str());
        }
        for (name, text) in [("find", &self.find), ("level", &self.level)] {
            if let Some(text) = text.as_deref().filter(|text| !text.trim().is_empty()) {
                out.append_pair(name, text);
            }
        }
        if let Some(at) = self.at {
            let mut text = String::new();
            let _ = write!(text, "{at}");
            out.append_pair("at", &text);
        }
        out.finish()
    }
}
