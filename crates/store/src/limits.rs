//! Turns resources into limits: how much may wait, and how much is written at once.

use std::time::Duration;

/// Changes that wait for the writer; whoever brings one more waits before its door.
pub const QUEUE_MAX: usize = 1024;

/// Changes of one transaction: enough that the disk's own delay is shared, few enough that the
/// first does not wait long for the last.
pub const BATCH_MAX: usize = 256;

/// Connections that read at the same time: reads take well under a millisecond.
pub const READERS_MAX: u32 = 8;

/// How long a connection may be waited for, and a lock that another program holds.
pub const WAIT: Duration = Duration::from_secs(10);

/// Rows of one page of a list.
pub const PAGE_MAX: usize = 1000;

/// For how long the answer about a key, a session or an account is believed: what another server
/// has ended is refused after that.
pub const BELIEVED: Duration = Duration::from_secs(1);

/// Answers of one sort that are remembered; wrong ones are remembered too, so this bounds what
/// guessing costs in memory.
pub const REMEMBERED_MAX: usize = 4096;

/// How long a session goes on without being used: a device that comes once a month stays known.
pub const SESSION_IDLE_SECONDS: i64 = 30 * 24 * 3600;

/// How long a session goes on at all: then the password is asked for again.
pub const SESSION_SECONDS: i64 = 90 * 24 * 3600;

/// Time between two notes that a session is in use: each is a write.
pub const SESSION_NOTE_SECONDS: i64 = 3600;

/// Sessions of one account: those not used for longest end. People have a dozen devices at most.
pub const SESSIONS_MAX: usize = 100;

/// How long an invitation, or a link to a new password, can be used.
pub const INVITATION_SECONDS: i64 = 7 * 24 * 3600;

/// Days that usage is asked for, at most: ten years.
pub const USAGE_DAYS_MAX: i64 = 3660;

/// Rows of usage that are read at once: a year of a thousand accounts, some 100 bytes each.
pub const USAGE_ROWS_MAX: i64 = 400_000;

/// Words of a search that are looked for, the longest of them: more tell nothing apart.
pub const WORDS_MAX: usize = 4;

/// Documents that a search finds.
pub const FOUND_MAX: usize = 100;
