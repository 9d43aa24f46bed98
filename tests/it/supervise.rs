//! A loop that panics is started again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use stoppress::clock::{Clock as _, ManualClock};
use stoppress::work::{Bells, Step, supervise};
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
struct Stumbles(Arc<AtomicUsize>);

impl Step for Stumbles {
    fn name(&self) -> &'static str {
        "close"
    }

    async fn tick(&self, _: Timestamp) -> stoppress::store::Result<Option<Timestamp>> {
        let before = self.0.fetch_add(1, Ordering::SeqCst);
        assert!(before > 0, "the first tick is a mistake");
        Ok(None)
    }
}

#[tokio::test]
async fn a_loop_that_panics_is_started_again() {
    let clock = ManualClock::at("2026-11-21T20:00:00Z".parse().unwrap());
    let (ticks, bells, end) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(Bells::default()), CancellationToken::new());
    bells.starts("close");
    let hour = SignedDuration::from_hours(1);
    let step = Stumbles(Arc::clone(&ticks));
    let task = tokio::spawn(supervise(step, Arc::new(clock.clone()), Arc::clone(&bells), hour, end.clone()));
    let settled = |now| tokio::time::timeout(Duration::from_secs(10), bells.settled(now));
    let again = settled(clock.now()).await.unwrap().unwrap();
    assert_eq!(ticks.load(Ordering::SeqCst), 1);
    clock.set(again);
    settled(again).await.unwrap();
    assert_eq!(ticks.load(Ordering::SeqCst), 2, "it went on");
    end.cancel();
    task.await.unwrap();
}
