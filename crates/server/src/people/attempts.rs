//! Turns wrong passwords into a time to wait, by name and by address, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits::{
    ADDRESS_FAILURES_MAX, ATTEMPTS_REMEMBERED_MAX, LOGIN_WINDOW, NAME_FAILURES_MAX,
};

/// Who tries: what is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Trier {
    Name(String),
    /// An IPv6 network of 64 bits is what one customer of a provider has.
    Address(IpAddr),
}

impl Trier {
    fn failures_max(&self) -> u32 {
        match self {
            Trier::Name(_) => NAME_FAILURES_MAX,
            Trier::Address(_) => ADDRESS_FAILURES_MAX,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Tally {
    failures: u32,
    since: Instant,
}

/// Tries of the last while.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    tallies: Mutex<HashMap<Trier, Tally>>,
}

impl Attempts {
    /// Counts a try as a failure until it turns out to be none, so that many at once are counted.
    ///
    /// # Errors
    /// Seconds to wait, where there were too many.
    pub fn begin(&self, name: &str, address: Option<IpAddr>, now: Instant) -> Result<(), u32> {
        let triers = triers(name, address);
        let mut tallies = self.lock();
        for trier in &triers {
            if let Some(tally) = tallies.get(trier)
                && tally.failures >= trier.failures_max()
                && let Some(left) = LOGIN_WINDOW.checked_sub(now.duration_since(tally.since))
                && !left.is_zero()
            {
                return Err(left.as_secs() as u32 + 1);
            }
        }
        for trier in triers {
            make_room(&mut tallies, now);
            let fresh = Tally { failures: 0, since: now };
            let tally = tallies.entry(trier).or_insert(fresh);
            if now.duration_since(tally.since) >= LOGIN_WINDOW {
                *tally = fresh;
            }
            tally.failures += 1;
        }
        Ok(())
    }

    /// The last try was none of a stranger: the name is forgiven all, the address this one.
    pub fn succeeded(&self, name: &str, address: Option<IpAddr>) {
        let mut tallies = self.lock();
        for trier in triers(name, address) {
            match &trier {
                Trier::Name(_) => drop(tallies.remove(&trier)),
                Trier::Address(_) => {
                    if let Some(tally) = tallies.get_mut(&trier) {
                        tally.failures = tally.failures.saturating_sub(1);
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Trier, Tally>> {
        // Whoever held it did sums only.
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn triers(name: &str, address: Option<IpAddr>) -> Vec<Trier> {
    let address = address.map(|address| match address {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        },
        address => address,
    });
    let name = Trier::Name(name.to_lowercase());
    [Some(name), address.map(Trier::Address)].into_iter().flatten().collect()
}

/// Forgets what is over, and where that is not enough, a quarter of the rest: the oldest.
fn make_room(tallies: &mut HashMap<Trier, Tally>, now: Instant) {
    if tallies.len() < ATTEMPTS_REMEMBERED_MAX {
        return;
    }
    tallies.retain(|_, tally| now.duration_since(tally.since) < LOGIN_WINDOW);
    if tallies.len() < ATTEMPTS_REMEMBERED_MAX {
        return;
    }
    let mut times: Vec<Instant> = tallies.values().map(|tally| tally.since).collect();
    let (_, border, _) = times.select_nth_unstable(ATTEMPTS_REMEMBERED_MAX / 4);
    let border = *border;
    tallies.retain(|_, tally| tally.since > border);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    #[test]
    fn a_name_waits_after_its_failures() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..NAME_FAILURES_MAX {
            attempts.begin("anna", None, now).unwrap();
        }
        let wait = attempts.begin("ANNA", None, now + Duration::from_secs(60)).unwrap_err();
        assert_eq!(u64::from(wait), LOGIN_WINDOW.as_secs() - 60 + 1);
        attempts.begin("ben", None, now).unwrap();
        attempts.begin("anna", None, now + LOGIN_WINDOW).unwrap();
    }

    #[test]
    fn an_address_waits_whatever_names_it_tries() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..ADDRESS_FAILURES_MAX {
            attempts.begin(&format!("name{number}"), HERE, now).unwrap();
        }
        assert!(attempts.begin("another", HERE, now).is_err());
        assert!(attempts.begin("another", "::ffff:127.0.0.1".parse().ok(), now).is_err());
        attempts.begin("another", "192.0.2.7".parse().ok(), now).unwrap();
        for host in 0..ADDRESS_FAILURES_MAX {
            let address = format!("2001:db8::{host:x}").parse().ok();
            attempts.begin(&format!("host{host}"), address, now).unwrap();
        }
        assert!(
            attempts.begin("more", "2001:db8::ffff:1".parse().ok(), now).is_err(),
            "one network"
        );
        attempts.begin("more", "2001:db8:0:1::1".parse().ok(), now).unwrap();
    }

    #[test]
    fn who_signs_in_is_no_stranger() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..5 * ADDRESS_FAILURES_MAX {
            attempts.begin("anna", HERE, now).unwrap();
            attempts.succeeded("Anna", HERE);
        }
    }

    #[test]
    fn many_names_take_bounded_memory() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..3 * ATTEMPTS_REMEMBERED_MAX {
            let now = now + Duration::from_millis(number as u64);
            let _ = attempts.begin(&number.to_string(), None, now);
        }
        assert!(attempts.lock().len() <= ATTEMPTS_REMEMBERED_MAX);
    }
}
