//! Turns calls that wait for a person's permission into what the person says, or nobody in time.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::limits::{APP_GRANTS_MAX, APP_PERMISSION_TIME_MAX};
use crate::wire::app_calls::Decision;

/// Calls that wait, and tools that need no further permission in a conversation. It is in memory
/// alone: no file that is imported, and no row that is changed, gives a permission.
#[derive(Default)]
pub struct Permissions(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    waiting: HashMap<CallName, Waiting>,
    /// By the rows of conversations.
    granted: HashMap<String, HashSet<String>>,
}

/// The row of a message, and the id of a call in it.
type CallName = (String, String);

struct Waiting {
    chat: String,
    tool: String,
    told: oneshot::Sender<Decision>,
}

/// A call of a tool in a conversation.
pub struct Question<'a> {
    /// The conversation's row.
    pub chat: &'a str,
    /// The message's row.
    pub message: &'a str,
    /// The call's id.
    pub call: &'a str,
    /// The tool's full name.
    pub tool: &'a str,
}

impl Permissions {
    /// Whether the tool may be called in the conversation without a question.
    pub fn is_granted(&self, chat: &str, tool: &str) -> bool {
        self.inner().granted.get(chat).is_some_and(|tools| tools.contains(tool))
    }

    /// Asks a person: from here on the call can be decided.
    pub fn ask(&self, question: Question<'_>) -> Asked<'_> {
        let (told, decision) = oneshot::channel();
        let name = (question.message.to_owned(), question.call.to_owned());
        let waiting =
            Waiting { chat: question.chat.to_owned(), tool: question.tool.to_owned(), told };
        self.inner().waiting.insert(name.clone(), waiting);
        Asked { permissions: self, name, decision }
    }

    /// Takes what a person says; false where the call does not wait. What is allowed for the
    /// conversation lets other calls of the tool in it go on, too.
    pub fn decide(&self, message: &str, call: &str, decision: Decision) -> bool {
        let mut inner = self.inner();
        let name = (message.to_owned(), call.to_owned());
        let Some(waiting) = inner.waiting.remove(&name) else { return false };
        let Waiting { chat, tool, told } = waiting;
        if decision == Decision::Chat {
            let same = |_: &CallName, other: &mut Waiting| other.chat == chat && other.tool == tool;
            for (_, other) in inner.waiting.extract_if(same) {
                // Whoever waited may be gone.
                let _ = other.told.send(decision);
            }
            if inner.granted.len() >= APP_GRANTS_MAX {
                // All are asked for again: that does no harm.
                inner.granted.clear();
            }
            inner.granted.entry(chat).or_default().insert(tool);
        }
        told.send(decision).is_ok()
    }

    /// Forgets what was allowed in a conversation.
    pub fn forget(&self, chat: &str) {
        self.inner().granted.remove(chat);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits, for as long as somebody waits for it: nothing stays behind where an answer is
/// stopped.
pub struct Asked<'a> {
    permissions: &'a Permissions,
    name: CallName,
    decision: oneshot::Receiver<Decision>,
}

impl Asked<'_> {
    /// Waits for a person. True where the call may go out.
    pub async fn is_permitted(&mut self) -> bool {
        let decision = timeout(APP_PERMISSION_TIME_MAX, &mut self.decision).await;
        matches!(decision, Ok(Ok(Decision::Once | Decision::Chat)))
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.permissions.inner().waiting.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn asked(all: &Arc<Permissions>, chat: &'static str, call: &'static str) -> Task {
        let all = Arc::clone(all);
        let tool = "a__b";
        tokio::spawn(async move {
            all.ask(Question { chat, message: "m", call, tool }).is_permitted().await
        })
    }

    type Task = tokio::task::JoinHandle<bool>;

    async fn all_wait(all: &Permissions, count: usize) {
        while all.inner().waiting.len() < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_decided_once_and_nobody_means_no() {
        let all = Arc::new(Permissions::default());
        let (yes, no, nobody) =
            (asked(&all, "c", "1"), asked(&all, "c", "2"), asked(&all, "c", "3"));
        all_wait(&all, 3).await;
        assert!(all.decide("m", "1", Decision::Once) && all.decide("m", "2", Decision::Refuse));
        assert!(!all.decide("m", "1", Decision::Once), "it was decided");
        assert!(!all.decide("m", "4", Decision::Once), "it is not there");
        assert_eq!((yes.await.unwrap(), no.await.unwrap()), (true, false));
        assert!(!nobody.await.unwrap(), "its time is over");
        assert!(all.inner().waiting.is_empty() && !all.is_granted("c", "a__b"));
    }

    #[tokio::test]
    async fn what_a_conversation_allows_is_its_own_and_ends_with_it() {
        let all = Arc::new(Permissions::default());
        let (one, two, other) =
            (asked(&all, "c", "1"), asked(&all, "c", "2"), asked(&all, "d", "3"));
        all_wait(&all, 3).await;
        assert!(all.decide("m", "1", Decision::Chat));
        assert!(one.await.unwrap() && two.await.unwrap());
        assert_eq!(all.inner().waiting.len(), 1);
        assert!(all.is_granted("c", "a__b") && !all.is_granted("d", "a__b"));
        other.abort();
        assert!(other.await.is_err() && all.inner().waiting.is_empty(), "nothing stays behind");
        all.forget("c");
        assert!(!all.is_granted("c", "a__b"));
    }
}
