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

/// For how long the answer about a key is believed: a revoked one is refused after that.
pub const KEY_BELIEVED: Duration = Duration::from_secs(1);

/// Answers about keys that are remembered; wrong ones are remembered too, so this bounds what
/// guessing costs in memory.
pub const KEYS_REMEMBERED: usize = 4096;

/// Words of a search that are looked for, the longest of them: more tell nothing apart.
pub const WORDS_MAX: usize = 4;

/// Documents that a search finds.
pub const FOUND_MAX: usize = 100;
