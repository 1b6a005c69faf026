//! Turns requests of people into accounts: passwords, cookies, tries, and who may do what.
//!
//! [`Caller`] is what the layer that asks for keys makes of a request; [`Visit`] is what handlers
//! of accounts need of one besides.

mod attempts;
mod caller;
pub(crate) mod cookie;
pub mod passwords;
mod visit;

pub use caller::Caller;
pub(crate) use visit::{Peer, Visit, is_secure};

use attempts::Attempts;
use passwords::Passwords;

/// What all requests share that make or ask for accounts.
#[derive(Default)]
pub struct People {
    pub(crate) passwords: Passwords,
    pub(crate) attempts: Attempts,
}
