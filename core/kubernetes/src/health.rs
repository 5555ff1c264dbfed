//! How the watches with one link are doing.

use tokio::sync::watch;

/// How the watches with one link are doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthState {
    /// For each watch, whether it has ever listed everything.
    pub synced: Vec<bool>,
    /// For each watch, what does not work.
    pub problems: Vec<Option<String>>,
}

impl HealthState {
    /// Whether everything has been listed once.
    pub fn is_synced(&self) -> bool {
        self.synced.iter().all(|synced| *synced)
    }

    /// What does not work, in one text.
    pub fn problem(&self) -> Option<String> {
        let problems: Vec<&str> = self.problems.iter().flatten().map(String::as_str).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

/// Tells and keeps how the watches are doing.
#[derive(Debug)]
pub struct Health(watch::Sender<HealthState>);

impl Health {
    /// Nothing listed yet, of so many watches.
    pub fn new(watches: usize) -> Self {
        Self(watch::Sender::new(HealthState { synced: vec![false; watches], problems: vec![None; watches] }))
    }

    /// To wait for changes.
    pub fn subscribe(&self) -> watch::Receiver<HealthState> {
        self.0.subscribe()
    }

    /// The watch of this number works, and says whether it did not before.
    pub(crate) fn works(&self, watch: usize) -> bool {
        self.0.send_if_modified(|state| {
            let problem = state.problems.get_mut(watch).and_then(Option::take);
            let synced = state.synced.get_mut(watch).is_some_and(|synced| !std::mem::replace(synced, true));
            problem.is_some() || synced
        })
    }

    /// The watch of this number fails; says whether that is news.
    pub(crate) fn fails(&self, watch: usize, problem: &str) -> bool {
        self.0.send_if_modified(|state| {
            let Some(known) = state.problems.get_mut(watch) else { return false };
            let is_news = known.as_deref() != Some(problem);
            if is_news {
                *known = Some(problem.to_owned());
            }
            is_news
        })
    }
}
