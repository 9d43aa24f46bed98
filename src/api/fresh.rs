//! What the store said last, kept ready, and read again.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::store;

/// What was read last. Several may read it again at a time, and none waits for another: what counts is the read that
/// began last. So one that began before something was changed never takes the place of one that saw the change, and
/// whoever has read it again after a change knows that it holds here.
#[derive(Debug, Default)]
pub(super) struct Fresh<T> {
    /// The number of the read, and what it gave.
    held: RwLock<(u64, Arc<T>)>,
    begun: AtomicU64,
}

impl<T> Fresh<T> {
    pub(super) fn new(first: T) -> Self {
        Self { held: RwLock::new((0, Arc::new(first))), begun: AtomicU64::new(0) }
    }

    /// What was read last.
    pub(super) fn get(&self) -> Arc<T> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Reads it again, knowing what was read before. Gives what was there and what is there now: the same, if a read
    /// that began later has ended already.
    ///
    /// # Errors
    /// If it cannot be read: what was read before stays.
    pub(super) async fn renew<F>(&self, read: impl FnOnce(Arc<T>) -> F) -> store::Result<(Arc<T>, Arc<T>)>
    where
        F: Future<Output = store::Result<T>>,
    {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let fresh = Arc::new(read(self.get()).await?);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let before = Arc::clone(&held.1);
        if number > held.0 {
            *held = (number, fresh);
        }
        Ok((before, Arc::clone(&held.1)))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;

    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;
    use crate::store::Error;

    #[test]
    fn an_older_read_never_takes_the_place_of_a_newer_one() {
        let stands = Mutex::new("in force");
        let fresh = Fresh::new("unknown");
        // The loop reads, and the answer is long under way.
        let (answer, comes) = oneshot::channel();
        let mut loop_reads = pin!(fresh.renew(|_| {
            let seen = *stands.lock().unwrap();
            comes.map(move |_| Ok(seen))
        }));
        assert!(loop_reads.as_mut().now_or_never().is_none());
        // Meanwhile the key is revoked, and whoever did that reads again before saying so.
        *stands.lock().unwrap() = "revoked";
        let revoker_reads = pin!(fresh.renew(|_| {
            let seen = *stands.lock().unwrap();
            async move { Ok(seen) }
        }));
        revoker_reads.now_or_never().expect("it waits for nobody").unwrap();
        assert_eq!(*fresh.get(), "revoked");
        answer.send(()).unwrap();
        let (before, now) = loop_reads.now_or_never().unwrap().unwrap();
        assert_eq!((*before, *now), ("revoked", "revoked"));
        assert_eq!(*fresh.get(), "revoked");
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_was() {
        let fresh = Fresh::new(1);
        let fails = async |_| Err(Error::Unavailable("away".to_owned()));
        assert!(fresh.renew(fails).now_or_never().unwrap().is_err());
        assert_eq!(*fresh.get(), 1);
        let (before, now) = fresh.renew(async |before| Ok(*before + 1)).now_or_never().unwrap().unwrap();
        assert_eq!((*before, *now, *fresh.get()), (1, 2, 2));
    }
}
