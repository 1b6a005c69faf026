//! Turns what must be kept (accounts, keys, chats, responses, files, batches) into rows and back.
//!
//! The only room that knows SQL: SQLite in a data folder by default, PostgreSQL where several
//! machines share it, by the same statements. In reading order: [`Store`] opens a database and
//! hands out what stands in it; [`documents`] is the one table of all objects that the API keeps;
//! [`search`] finds them by words; [`users`] are accounts, with their [`sessions`] and
//! [`invitations`]; [`keys`] are API keys; [`blobs`] are contents of files, on disk; [`holdings`]
//! say what an owner has of all that, [`usage`] what it used. Whoever writes makes a [`Change`],
//! and waits until `writer` has it on disk. Nothing here knows what a body means.

pub mod blobs;
mod database;
pub mod documents;
mod errors;
pub mod holdings;
pub mod invitations;
pub mod keys;
pub mod limits;
mod migrations;
mod random;
mod remembered;
pub mod search;
pub mod sessions;
pub mod usage;
pub mod users;
mod writer;

pub use blobs::{Blob, BlobWriter, Blobs};
pub use database::Store;
pub use documents::{Document, Kind, Page, Query};
pub use errors::StoreError;
pub use holdings::Holding;
pub use invitations::{Invitation, NewInvitation};
pub use keys::{Key, KeySecret, Keys, NewKey};
pub use random::letters as secret_letters;
pub use search::Found;
pub use sessions::Session;
pub use usage::{By, Span, Used, UsedBy};
pub use users::{NewUser, Role, User, UserState, Users};
pub use writer::Change;
