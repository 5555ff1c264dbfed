//! How much verifying a client may cause.
//!
//! Only what is neither known as right nor as wrong comes here. A failed verification puts its time on the account of the
//! client's address, and of the address and the user name together; who owes too much is put off (retryable: behind an
//! ingress the address belongs to many). Neither depends on whether the user exists.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use spanbridge_component::AuthError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// What a failure costs at least: a guesser of cheap hashes gets one guess a second for a user in the long run.
const CHARGE_MIN: Duration = Duration::from_millis(100);
/// Debt for one user name from one address from which on further attempts are put off.
const USER_DEBT_MAX: Duration = Duration::from_secs(2);
/// Debt of one address, over all user names.
const ADDRESS_DEBT_MAX: Duration = Duration::from_secs(8);
/// Share of a processor that failures for one user name from one address may take in the long run: debt sinks this fast.
const USER_SHARE: f64 = 0.1;
/// The same for an address.
const ADDRESS_SHARE: f64 = 0.25;
/// Verifications under way or waiting, from one address.
const ADDRESS_IN_FLIGHT_MAX: usize = 64;
/// Verifications under way or waiting, from everywhere.
const IN_FLIGHT_MAX: usize = 1024;
/// Accounts at a time; those without debt are closed first.
const ACCOUNTS_MAX: usize = 16_384;
/// How long a verification waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Keeps the accounts, and lets verifications run a few at a time.
#[derive(Debug)]
pub(crate) struct Limits {
    hasher: RandomState,
    accounts: Mutex<HashMap<u64, Account>>,
    /// One permit a verification that runs: half of the processors.
    running: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
}

#[derive(Debug)]
struct Account {
    debt: Duration,
    /// When `debt` was right.
    at: Instant,
    share: f64,
    in_flight: usize,
}

/// A place in the queue of verifications.
#[derive(Debug)]
pub(crate) struct Ticket {
    limits: Arc<Limits>,
    address: u64,
    user: u64,
    _place: OwnedSemaphorePermit,
}

const BUSY: &str = "authentication is busy, try again later";
const PUT_OFF: &str = "too many failed authentications, try again later";

impl Limits {
    pub(crate) fn new() -> Arc<Self> {
        let processors = available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            hasher: RandomState::new(),
            accounts: Mutex::default(),
            running: Arc::new(Semaphore::new((processors / 2).max(1))),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        })
    }

    /// A place in the queue for a client that wants to be `user`.
    ///
    /// # Errors
    /// If it owes too much, or too many wait.
    pub(crate) fn enter(self: &Arc<Self>, peer: Option<SocketAddr>, user: &str) -> Result<Ticket, AuthError> {
        let network = peer.map(|peer| network(peer.ip()));
        let (address, user) = (self.hasher.hash_one(network), self.hasher.hash_one((network, user)));
        let place = self.in_flight.clone().try_acquire_owned();
        let place = place.map_err(|_| AuthError::undecided(BUSY, "too many verifications wait"))?;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if accounts.len() + 2 > ACCOUNTS_MAX {
            accounts.retain(|_, account| account.in_flight > 0 || !account.debt_at(now).is_zero());
            if accounts.len() + 2 > ACCOUNTS_MAX {
                return Err(AuthError::undecided(BUSY, "too many addresses owe failed authentications"));
            }
        }
        owes_too_much(&accounts, address, user, now)?;
        let account = accounts.entry(address).or_insert_with(|| Account::new(ADDRESS_SHARE, now));
        if account.in_flight >= ADDRESS_IN_FLIGHT_MAX {
            return Err(AuthError::undecided(BUSY, "too many verifications of this address wait"));
        }
        account.in_flight += 1;
        drop(accounts);
        Ok(Ticket { limits: self.clone(), address, user, _place: place })
    }

    fn charge(&self, ticket: &Ticket, spent: Duration) {
        let spent = spent.max(CHARGE_MIN);
        let now = Instant::now();
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, share) in [(ticket.address, ADDRESS_SHARE), (ticket.user, USER_SHARE)] {
            let account = accounts.entry(key).or_insert_with(|| Account::new(share, now));
            account.debt = account.debt_at(now) + spent;
            account.at = now;
        }
    }
}

impl Ticket {
    /// Waits for a turn to verify.
    ///
    /// # Errors
    /// If it does not come in time, or the client has come to owe too much in the meantime.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, AuthError> {
        let turn = timeout(WAIT_MAX, self.limits.running.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(AuthError::undecided(BUSY, "the verification did not get its turn in time"));
        };
        let accounts = self.limits.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        owes_too_much(&accounts, self.address, self.user, Instant::now())?;
        Ok(turn)
    }

    /// The verification took this long and failed.
    pub(crate) fn failed(&self, spent: Duration) {
        self.limits.charge(self, spent);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut accounts = self.limits.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get_mut(&self.address) {
            account.in_flight -= 1;
            if account.in_flight == 0 && account.debt.is_zero() {
                accounts.remove(&self.address);
            }
        }
    }
}

fn owes_too_much(
    accounts: &HashMap<u64, Account>,
    address: u64,
    user: u64,
    now: Instant,
) -> Result<(), AuthError> {
    let debt = |key| accounts.get(&key).map_or(Duration::ZERO, |account: &Account| account.debt_at(now));
    if debt(address) >= ADDRESS_DEBT_MAX || debt(user) >= USER_DEBT_MAX {
        return Err(AuthError::undecided(PUT_OFF, "this address has failed to authenticate too often"));
    }
    Ok(())
}

impl Account {
    fn new(share: f64, now: Instant) -> Self {
        Self { debt: Duration::ZERO, at: now, share, in_flight: 0 }
    }

    fn debt_at(&self, now: Instant) -> Duration {
        self.debt.saturating_sub(now.saturating_duration_since(self.at).mul_f64(self.share))
    }
}

/// What counts as one address: of IPv6 the 64 bits that a customer is given at least.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// How many attempts of `user` get a turn and fail before they are put off.
    async fn guesses(limits: &Arc<Limits>, from: &str, users: impl Iterator<Item = String>) -> usize {
        let mut count = 0;
        for user in users {
            let Ok(ticket) = limits.enter(Some(peer(from)), &user) else { break };
            drop(ticket.turn().await.unwrap());
            ticket.failed(Duration::from_micros(3));
            count += 1;
        }
        count
    }

    fn same() -> impl Iterator<Item = String> {
        std::iter::repeat_n("user".to_owned(), 1000)
    }

    #[tokio::test(start_paused = true)]
    async fn a_guesser_is_put_off_and_may_try_again_slowly() {
        let limits = Limits::new();
        assert_eq!(guesses(&limits, "10.0.0.1:1", same()).await, 20);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(guesses(&limits, "10.0.0.1:2", same()).await, 10);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(guesses(&limits, "10.0.0.1:3", same()).await, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_names_is_put_off_as_well_and_others_are_not() {
        let limits = Limits::new();
        let names = || (0..1000).map(|number| format!("user-{number}"));
        assert_eq!(guesses(&limits, "[2001:db8::1]:1", names()).await, 80);
        // The rest of its network is the same client, another network is not.
        assert_eq!(guesses(&limits, "[2001:db8::2]:1", names()).await, 0);
        assert_eq!(guesses(&limits, "[2001:db8:0:1::1]:1", names().take(1)).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn users_behind_the_same_address_as_a_guesser_still_get_their_turn() {
        let limits = Limits::new();
        guesses(&limits, "10.0.0.1:1", same()).await;
        let ticket = limits.enter(Some(peer("10.0.0.1:9")), "another").unwrap();
        assert!(ticket.turn().await.is_ok());
        assert_eq!(limits.enter(Some(peer("10.0.0.1:9")), "user").unwrap_err().to_string(), PUT_OFF);
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_fill_the_queue() {
        let limits = Limits::new();
        let tickets: Vec<_> =
            (0..1000).map_while(|n| limits.enter(Some(peer("10.0.0.1:1")), &n.to_string()).ok()).collect();
        assert_eq!(tickets.len(), ADDRESS_IN_FLIGHT_MAX);
        assert!(limits.enter(Some(peer("10.0.0.2:1")), "user").is_ok());
        drop(tickets);
        assert!(limits.enter(Some(peer("10.0.0.1:1")), "user").is_ok());
        assert!(limits.accounts.lock().unwrap().is_empty());
    }
}
