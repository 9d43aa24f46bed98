//! The driver `person`: a lab without a machine. A person hands the orders over (the lab's inbox
//! page, a portal, the telephone) and asks for stops, and reports what came of it.

use std::sync::Arc;

use serde::Deserialize;

use super::{Built, Driver, Lab, Pending, Reply, Settings, StopCall, Tools, Upload};
use crate::domain::Fault;
use crate::domain::ids::OrderId;
use crate::domain::lab::{Answer, LabSpec};

/// The driver. It is `manual`: the loops give its work to a person instead of calling it.
pub const DRIVER: Driver = Driver { kind: "person", manual: true, check, build };

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonSettings {}

fn check(settings: &Settings) -> Vec<Fault> {
    super::settings::<PersonSettings>(settings).err().into_iter().collect()
}

#[expect(clippy::unnecessary_wraps, reason = "other drivers can fail to build")]
fn build(_: &LabSpec, _: &Tools) -> Built {
    Ok(Arc::new(Person))
}

/// There is nothing to call, so that nothing that is answered here proves anything: an upload and a
/// stop are "answered later", by a person; a look-up finds nothing out.
#[derive(Debug, Clone, Copy)]
struct Person;

impl Lab for Person {
    fn submit<'a>(&'a self, _: &'a Upload) -> Pending<'a, Reply> {
        Box::pin(std::future::ready(Answer::AnswerLater.into()))
    }

    fn stop<'a>(&'a self, _: &'a StopCall) -> Pending<'a, Reply> {
        Box::pin(std::future::ready(Answer::AnswerLater.into()))
    }

    fn look_up<'a>(&'a self, _: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(std::future::ready(
            Answer::Unclear { cause: "only a person can ask this lab".to_owned() }.into(),
        ))
    }
}
