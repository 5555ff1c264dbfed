//! The books of the process: what became of every item, by pipeline and by component.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use spanbridge_component::ledger::Balance;
use spanbridge_component::telemetry::{Level, Telemetry};
use spanbridge_component::{ComponentId, Kind, Ledger, PipelineId, Signal};

use crate::graph::Key;

/// How many ledgers are kept before those of components that are no more are forgotten, as far as they balance.
const LEDGERS_MAX: usize = 10_000;
const NAME: &str = "spanbridge_ledger_items";
const HELP: &str = "Number of items by what became of them; held ones are here now. [Alpha]";
const LABELS: [&str; 6] = ["component_kind", "component", "pipeline", "signal", "fate", "reason"];

/// Whose books they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A pipeline: what went in, and came out with success or an error.
    Pipeline(PipelineId),
    /// A component, or all that had this name one after the other.
    Component {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: ComponentId,
        /// The pipeline, if it is a processor.
        pipeline: Option<PipelineId>,
    },
}

/// The books of one signal in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Whose books.
    pub owner: Owner,
    /// Items of which signal.
    pub signal: Signal,
    /// What became of them.
    pub balance: Balance,
}

/// The ledgers of a process. Cheap to clone; clones share them.
///
/// There is one for each name: a component that replaces another of its name goes on with its ledger.
#[derive(Clone, Default)]
pub(crate) struct Books(Arc<Mutex<BTreeMap<Owner, Ledger>>>);

impl Books {
    /// The ledger of a component.
    pub(crate) fn component(&self, key: &Key) -> Ledger {
        self.lock().entry(Owner::of(key)).or_default().clone()
    }

    /// The ledger of a pipeline.
    pub(crate) fn pipeline(&self, id: &PipelineId) -> Ledger {
        self.lock().entry(Owner::Pipeline(id.clone())).or_default().clone()
    }

    /// Shows the books among the metrics, from level normal up.
    pub(crate) fn register(&self, telemetry: &Telemetry) -> Result<(), prometheus::Error> {
        if telemetry.level() < Level::Normal {
            return Ok(());
        }
        let items = IntGaugeVec::new(Opts::new(NAME, HELP), &LABELS)?;
        telemetry.registry().register(Box::new(BookMetrics { books: self.clone(), items: Mutex::new(items) }))
    }

    /// Every book in which something is booked.
    pub(crate) fn accounts(&self) -> Vec<Account> {
        let account = |owner: &Owner, ledger: &Ledger, signal: Signal| {
            let balance = ledger.balance(signal);
            (!balance.is_empty()).then(|| Account { owner: owner.clone(), signal, balance })
        };
        let ledgers = self.lock();
        let pairs = ledgers.iter().flat_map(|pair| Signal::ALL.map(|signal| (pair, signal)));
        pairs.filter_map(|((owner, ledger), signal)| account(owner, ledger, signal)).collect()
    }

    /// Logs every book at the end of the process, and returns them.
    pub(crate) fn close(&self) -> Vec<Account> {
        let accounts = self.accounts();
        accounts.iter().for_each(Account::log);
        accounts
    }

    /// Forgets owners that are no more, if there are very many and their books balance.
    pub(crate) fn forget_idle(&self, is_current: &dyn Fn(&Owner) -> bool) {
        let mut ledgers = self.lock();
        if ledgers.len() > LEDGERS_MAX {
            let is_settled = |ledger: &Ledger| {
                let balances = Signal::ALL.map(|signal| ledger.balance(signal));
                balances.iter().all(|balance| balance.is_balanced() && balance.held == 0)
            };
            ledgers.retain(|owner, ledger| is_current(owner) || !is_settled(ledger));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Owner, Ledger>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner {
    /// The owner that a component is.
    pub(crate) fn of(key: &Key) -> Self {
        Self::Component { kind: key.kind, id: key.id.clone(), pipeline: key.pipeline.clone() }
    }

    /// The labels `component_kind`, `component` and `pipeline`.
    fn labels(&self) -> [String; 3] {
        match self {
            Self::Pipeline(id) => ["pipeline".to_owned(), String::new(), id.to_string()],
            Self::Component { kind, id, pipeline } => {
                let pipeline = pipeline.as_ref().map(ToString::to_string).unwrap_or_default();
                [kind.name().to_owned(), id.to_string(), pipeline]
            }
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline(id) => write!(f, "\"{id}\" pipeline"),
            Self::Component { kind, id, pipeline } => {
                let key = Key { kind: *kind, id: id.clone(), pipeline: pipeline.clone() };
                write!(f, "{key}")
            }
        }
    }
}

impl Account {
    /// Whether every item is accounted for, and none is held any more: so it is after an orderly end.
    pub fn is_settled(&self) -> bool {
        self.balance.is_balanced() && self.balance.held == 0
    }

    fn log(&self) {
        let balance = &self.balance;
        macro_rules! accounted {
            ($level:ident) => {
                tracing::$level!(
                    owner = %self.owner,
                    signal = self.signal.name(),
                    taken = balance.taken,
                    restored = balance.restored,
                    delivered = balance.delivered,
                    returned = balance.returned,
                    kept = balance.kept,
                    dropped = balance.dropped_total(),
                    reasons = reasons(balance),
                    lost = balance.lost,
                    held = balance.held,
                    "Items accounted for"
                )
            };
        }
        if self.is_settled() { accounted!(info) } else { accounted!(error) }
    }
}

/// `refused=3, too_large=1`; nothing if nothing was dropped.
fn reasons(balance: &Balance) -> Option<String> {
    let mut text = String::new();
    for (reason, items) in &balance.dropped {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{reason}={items}");
    }
    (!text.is_empty()).then_some(text)
}

/// Reads the books each time the metrics are gathered.
struct BookMetrics {
    books: Books,
    /// Locked while it is filled: two scrapes at once must not mix.
    items: Mutex<IntGaugeVec>,
}

impl Collector for BookMetrics {
    fn desc(&self) -> Vec<&Desc> {
        // The trait asks for borrowed descriptions, which the lock does not lend. None is needed: the name is ours alone.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.reset();
        for Account { owner, signal, balance } in self.books.accounts() {
            let [kind, component, pipeline] = &owner.labels();
            let set = |fate: &str, reason: &str, count: u64| {
                let labels = [kind, component, pipeline, signal.name(), fate, reason];
                items.with_label_values(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
            };
            set("taken", "", balance.taken);
            set("held", "", balance.held);
            set("lost", "", balance.lost);
            for (fate, count) in [
                ("restored", balance.restored),
                ("delivered", balance.delivered),
                ("returned", balance.returned),
                ("kept", balance.kept),
            ] {
                if count > 0 {
                    set(fate, "", count);
                }
            }
            balance.dropped.iter().for_each(|(reason, count)| set("dropped", reason, *count));
        }
        items.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Key {
        Key::of(Kind::Exporter, &id.parse().unwrap())
    }

    fn text(telemetry: &Telemetry) -> String {
        prometheus::TextEncoder::new().encode_to_string(&telemetry.registry().gather()).unwrap()
    }

    #[test]
    fn books_show_among_the_metrics_what_became_of_each_item() {
        let (books, telemetry) = (Books::default(), Telemetry::detached());
        books.register(&telemetry).unwrap();
        let mut entry = books.component(&key("out/1")).take(Signal::Logs, 10);
        entry.delivered(6);
        entry.dropped(1, "refused");
        books.pipeline(&"logs/x".parse().unwrap()).take(Signal::Logs, 2).returned(2);

        for _ in 0..2 {
            let text = text(&telemetry);
            let component = "component=\"out/1\",component_kind=\"exporter\"";
            let pipeline = "component=\"\",component_kind=\"pipeline\"";
            for line in [
                format!("{component},fate=\"taken\",pipeline=\"\",reason=\"\",signal=\"logs\"}} 10"),
                format!("{component},fate=\"delivered\",pipeline=\"\",reason=\"\",signal=\"logs\"}} 6"),
                format!("{component},fate=\"dropped\",pipeline=\"\",reason=\"refused\",signal=\"logs\"}} 1"),
                format!("{component},fate=\"held\",pipeline=\"\",reason=\"\",signal=\"logs\"}} 3"),
                format!("{pipeline},fate=\"returned\",pipeline=\"logs/x\",reason=\"\",signal=\"logs\"}} 2"),
            ] {
                assert!(
                    text.contains(&format!("spanbridge_ledger_items{{{line}\n")),
                    "{line}\nnot in\n{text}"
                );
            }
        }
        entry.kept(3);
    }

    #[test]
    fn a_successor_goes_on_with_the_books_of_its_name() {
        let books = Books::default();
        books.component(&key("out")).take(Signal::Traces, 3).delivered(3);
        books.component(&key("out")).take(Signal::Traces, 4).kept(4);
        let accounts = books.close();
        assert_eq!(accounts.len(), 1);
        assert_eq!((accounts[0].balance.taken, accounts[0].is_settled()), (7, true));
        assert_eq!(accounts[0].owner.to_string(), "\"out\" exporter");
    }

    #[test]
    fn below_level_normal_the_books_are_kept_and_not_shown() {
        let (books, telemetry) =
            (Books::default(), Telemetry::new(Level::Basic, prometheus::Registry::new()));
        books.register(&telemetry).unwrap();
        books.component(&key("out")).take(Signal::Traces, 1).delivered(1);
        assert_eq!(text(&telemetry), "");
        assert_eq!(books.accounts().len(), 1);
    }

    #[test]
    fn what_is_held_at_the_end_is_not_settled() {
        let books = Books::default();
        let mut entry = books.component(&key("out")).take(Signal::Traces, 1);
        assert!(!books.accounts()[0].is_settled());
        entry.dropped(1, "refused");
        assert!(books.accounts()[0].is_settled());
        assert_eq!(reasons(&books.accounts()[0].balance).unwrap(), "refused=1");
    }
}
