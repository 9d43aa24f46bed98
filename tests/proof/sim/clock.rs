//! The clock of a simulated gateway: the true time and what is wrong with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;
use stoppress::clock::Clock;

use super::hub::{Hub, Sleep};

/// The clock of one gateway.
#[derive(Debug, Clone)]
pub(crate) struct SimClock {
    pub(crate) hub: Arc<Hub>,
    pub(crate) replica: usize,
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.hub.reading(self.replica)
    }

    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            while self.now() < until {
                let (_sleep, woken) = Sleep::begin(&self.hub, self.replica, until);
                if woken.await.is_err() {
                    return;
                }
            }
        })
    }
}
