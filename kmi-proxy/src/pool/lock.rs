//! The lock around a pool's state: `parking_lot`'s, because a panic of one request must not harm
//! others.
//!
//! In tests it can be one of shuttle's as well, so that a test decides at every lock who comes
//! next. Nothing else is shared without a lock, so these are all the orders that there are.

#[cfg(not(test))]
pub(super) use parking_lot::Mutex;

#[cfg(test)]
pub(super) use self::scheduled::Mutex;

#[cfg(test)]
pub(super) mod scheduled {
    use std::{
        cell::Cell,
        ops::{Deref, DerefMut},
    };

    thread_local! {
        /// Whether what is made on this thread belongs to a test of shuttle's.
        static SCHEDULED: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs a test of shuttle's, which has all its threads on this one.
    pub(in crate::pool) fn scheduled(test: impl FnOnce()) {
        struct Ended;
        impl Drop for Ended {
            fn drop(&mut self) {
                SCHEDULED.set(false);
            }
        }
        let _ended = Ended;
        SCHEDULED.set(true);
        test();
    }

    /// The mutex of `parking_lot`, and before it shuttle's in a test of shuttle's.
    #[derive(Debug)]
    pub(in crate::pool) struct Mutex<T> {
        turnstile: Option<shuttle::sync::Mutex<()>>,
        inner: parking_lot::Mutex<T>,
    }

    /// What is under the lock, for as long as it is held.
    #[derive(Debug)]
    pub(in crate::pool) struct Guard<'a, T> {
        // Let go of first: whoever passes the turnstile finds the other lock free.
        inner: parking_lot::MutexGuard<'a, T>,
        _turnstile: Option<shuttle::sync::MutexGuard<'a, ()>>,
    }

    impl<T> Mutex<T> {
        pub(in crate::pool) fn new(value: T) -> Self {
            let turnstile = SCHEDULED.get().then(|| shuttle::sync::Mutex::new(()));
            Self { turnstile, inner: parking_lot::Mutex::new(value) }
        }

        pub(in crate::pool) fn lock(&self) -> Guard<'_, T> {
            let turnstile = self.turnstile.as_ref();
            let passed = turnstile.map(|it| it.lock().expect("no thread has panicked"));
            Guard { inner: self.inner.lock(), _turnstile: passed }
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.inner
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.inner
        }
    }
}
