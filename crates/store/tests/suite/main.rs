//! Turns each promise of the store into one test that runs on every database there is.
//!
//! SQLite always; PostgreSQL at the address in `MYRIAD_TEST_POSTGRES` (`make test` starts one).

mod blobs;
mod deletion;
mod documents;
mod harness;
mod keys;
mod kills;
mod search;
mod usage;
mod users;
