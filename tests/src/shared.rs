//! Something expensive that several claims use one after another.

use std::{
    mem,
    sync::{Mutex, PoisonError},
};

/// Made by the first claim that needs it; a failure to make it fails all of them at once instead of being tried again and again.
pub struct Shared<T> {
    make: fn() -> T,
    state: Mutex<State<T>>,
}

#[derive(Default)]
enum State<T> {
    #[default]
    Unused,
    Ready(T),
    Failed,
}

impl<T> Shared<T> {
    /// Nothing is made yet.
    pub const fn new(make: fn() -> T) -> Self {
        Self { make, state: Mutex::new(State::Unused) }
    }

    /// Runs a claim with it.
    #[track_caller]
    pub fn with(&self, test: impl FnOnce(&T)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Unused) {
            *state = State::Failed;
            *state = State::Ready((self.make)());
        }
        match &*state {
            State::Ready(value) => test(value),
            State::Unused | State::Failed => panic!("what this claim needs could not be made: see the first failure"),
        }
    }

    /// Takes it down.
    pub fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(mem::take(&mut *state));
    }
}
