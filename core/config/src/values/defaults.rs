//! Printing a default configuration for the decoder, which lays what the user wrote over it.

use std::cell::Cell;

thread_local! {
    static DEFAULTS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `print` with blocks that are off serialized with their contents, and secrets as they are.
pub(crate) fn as_defaults<R>(print: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            DEFAULTS.set(self.0);
        }
    }
    let _restore = Restore(DEFAULTS.replace(true));
    super::reveal(print)
}

/// Whether [`as_defaults`] runs.
pub(crate) fn printing_defaults() -> bool {
    DEFAULTS.get()
}
