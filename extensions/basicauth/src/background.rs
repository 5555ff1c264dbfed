//! Work that takes processor time and that nobody may notice: the hashing of passwords.

use std::thread::Builder;

use tokio::sync::oneshot;

/// The niceness of a thread that hashes. A thread that serves and wants the processor gets about ten times the share of one
/// that hashes, at once; a tenth is left to the hashing, so that newcomers get in on a busy machine as well.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Runs `work` on a thread of its own, at a lower priority than the threads that serve. It is a new thread, since a priority
/// that was lowered cannot be raised again; the caller bounds how many there are.
///
/// `None` if the system has no thread to give or `work` panics.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, done) = oneshot::channel();
    let thread = Builder::new().name("basicauth".to_owned()).spawn(move || {
        lower_priority();
        // If nobody waits any more, nobody needs it.
        let _ = sender.send(work());
    });
    thread.ok()?;
    done.await.ok()
}

/// Linux counts niceness by the thread. Elsewhere it belongs to the process, which must keep it.
#[cfg(target_os = "linux")]
fn lower_priority() {
    use rustix::process::{getpriority_process, setpriority_process};

    let thread = Some(rustix::thread::gettid());
    // A sandbox may forbid it; then hashing competes with serving, within its bounds.
    let _ = getpriority_process(thread).and_then(|now| setpriority_process(thread, (now + NICENESS).min(19)));
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_at_a_low_priority_and_a_panic_is_no_answer() {
        #[cfg(target_os = "linux")]
        {
            let priority = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
            let before = priority();
            assert_eq!(run(priority).await, Some((before + NICENESS).min(19)));
            assert_eq!(priority(), before);
        }
        assert_eq!(run(|| 1).await, Some(1));
        assert_eq!(run(|| panic!("on purpose")).await, None::<()>);
    }
}
