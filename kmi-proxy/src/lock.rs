//! The locks of what threads share for a short moment, a pool's state and the ledger's queue:
//! `parking_lot`'s, because a panic of one request must not harm others.
//!
//! In tests they can be shuttle's as well, so that a test decides at every lock who comes next.
//! Nothing that is decided under such a lock is shared without one, so these are all the orders
//! that there are.

#[cfg(not(test))]
pub(crate) use parking_lot::{Condvar, Mutex};

#[cfg(test)]
pub(crate) use self::scheduled::{Condvar, Mutex};

#[cfg(test)]
pub(crate) mod scheduled {
    use std::{
        cell::Cell,
        ops::{Deref, DerefMut},
        time::Instant,
    };

    const NO_PANIC: &str = "no thread has panicked";
    const HELD: &str = "the lock is held but while its thread waits";

    thread_local! {
        /// Whether what is made on this thread belongs to a test of shuttle's.
        static SCHEDULED: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs a test of shuttle's, which has all its threads on this one.
    pub(crate) fn scheduled(test: impl FnOnce()) {
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

    /// Makes something that is no part of what such a test schedules: nobody may wait for it.
    pub(crate) fn unscheduled<T>(make: impl FnOnce() -> T) -> T {
        let before = SCHEDULED.replace(false);
        let it = make();
        SCHEDULED.set(before);
        it
    }

    /// The mutex of `parking_lot`, and before it shuttle's in a test of shuttle's.
    #[derive(Debug)]
    pub(crate) struct Mutex<T> {
        turnstile: Option<shuttle::sync::Mutex<()>>,
        inner: parking_lot::Mutex<T>,
    }

    /// What is under the lock, for as long as it is held.
    #[derive(Debug)]
    pub(crate) struct Guard<'a, T> {
        mutex: &'a Mutex<T>,
        // Let go of first: whoever passes the turnstile finds the other lock free.
        inner: Option<parking_lot::MutexGuard<'a, T>>,
        passed: Option<shuttle::sync::MutexGuard<'a, ()>>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            let turnstile = SCHEDULED.get().then(|| shuttle::sync::Mutex::new(()));
            Self { turnstile, inner: parking_lot::Mutex::new(value) }
        }

        pub(crate) fn lock(&self) -> Guard<'_, T> {
            let passed = self.pass();
            Guard { mutex: self, inner: Some(self.inner.lock()), passed }
        }

        fn pass(&self) -> Option<shuttle::sync::MutexGuard<'_, ()>> {
            self.turnstile.as_ref().map(|it| it.lock().expect(NO_PANIC))
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.inner.as_ref().expect(HELD)
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.inner.as_mut().expect(HELD)
        }
    }

    /// The condition of `parking_lot`, or shuttle's in a test of shuttle's.
    #[derive(Debug)]
    pub(crate) struct Condvar {
        turnstile: Option<shuttle::sync::Condvar>,
        inner: parking_lot::Condvar,
    }

    /// Whether the time was over.
    #[derive(Debug)]
    pub(crate) struct Waited(bool);

    impl Waited {
        pub(crate) fn timed_out(&self) -> bool {
            self.0
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            let turnstile = SCHEDULED.get().then(shuttle::sync::Condvar::new);
            Self { turnstile, inner: parking_lot::Condvar::new() }
        }

        pub(crate) fn wait<T>(&self, guard: &mut Guard<'_, T>) {
            let Some(turnstile) = &self.turnstile else {
                return self.inner.wait(guard.inner.as_mut().expect(HELD));
            };
            guard.inner = None;
            let passed = guard.passed.take().expect("the lock is of the same test");
            guard.passed = Some(turnstile.wait(passed).expect(NO_PANIC));
            guard.inner = Some(guard.mutex.inner.lock());
        }

        /// Shuttle knows no time. There it is always over: at once, or after anything that others
        /// do before this thread has the lock again. So nothing can rely on being woken in time.
        pub(crate) fn wait_until<T>(&self, guard: &mut Guard<'_, T>, deadline: Instant) -> Waited {
            if self.turnstile.is_none() {
                let inner = guard.inner.as_mut().expect(HELD);
                return Waited(self.inner.wait_until(inner, deadline).timed_out());
            }
            guard.inner = None;
            guard.passed = None;
            guard.passed = guard.mutex.pass();
            guard.inner = Some(guard.mutex.inner.lock());
            Waited(true)
        }

        pub(crate) fn notify_one(&self) {
            match &self.turnstile {
                Some(turnstile) => turnstile.notify_one(),
                None => drop(self.inner.notify_one()),
            }
        }

        pub(crate) fn notify_all(&self) {
            match &self.turnstile {
                Some(turnstile) => turnstile.notify_all(),
                None => drop(self.inner.notify_all()),
            }
        }
    }
}
