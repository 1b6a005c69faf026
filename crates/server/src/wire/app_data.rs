//! Turns what is kept, and what was used, into what people are shown of it.

use myriad_store::{Holding, Kind, Used};
use serde::Serialize;
use utoipa::ToSchema;

/// What people delete together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Conversations of the chat in the browser, with their messages and links.
    Chats,
    /// Its presets and prompts.
    Library,
    /// Which answers were found better.
    Votes,
    /// Files and uploads, with their contents.
    Files,
    /// Responses of the API.
    Responses,
    /// Conversations of the API, with their items.
    Conversations,
    /// Chat completions that were stored.
    Completions,
    /// Batches, with their answers.
    Batches,
}

impl Sort {
    /// All of them, in the order in which they are shown.
    pub const ALL: &[Sort] = &[
        Sort::Chats,
        Sort::Library,
        Sort::Votes,
        Sort::Files,
        Sort::Responses,
        Sort::Conversations,
        Sort::Completions,
        Sort::Batches,
    ];

    /// As it stands in paths.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Chats => "chats",
            Sort::Library => "library",
            Sort::Votes => "votes",
            Sort::Files => "files",
            Sort::Responses => "responses",
            Sort::Conversations => "conversations",
            Sort::Completions => "completions",
            Sort::Batches => "batches",
        }
    }

    /// The sort of a name.
    pub fn of(name: &str) -> Option<Sort> {
        Sort::ALL.iter().copied().find(|sort| sort.name() == name)
    }

    /// What counts as one, and is deleted with its parts.
    pub fn wholes(self) -> &'static [Kind] {
        match self {
            Sort::Chats => &[Kind::AppChat],
            Sort::Library => &[Kind::Preset, Kind::Prompt],
            Sort::Votes => &[Kind::Vote],
            Sort::Files => &[Kind::File, Kind::Upload],
            Sort::Responses => &[Kind::Response],
            Sort::Conversations => &[Kind::Conversation],
            Sort::Completions => &[Kind::Chat],
            Sort::Batches => &[Kind::Batch],
        }
    }

    /// What a document is of, whole or part.
    pub fn of_kind(kind: Kind) -> Sort {
        match kind {
            Kind::AppChat | Kind::AppMessage | Kind::Share => Sort::Chats,
            // They go with the last conversation that has them.
            Kind::AppFile | Kind::AppFileUse | Kind::AppFileVectors => Sort::Chats,
            Kind::Preset | Kind::Prompt => Sort::Library,
            Kind::Vote => Sort::Votes,
            Kind::File | Kind::Upload | Kind::UploadPart => Sort::Files,
            Kind::Response => Sort::Responses,
            Kind::Conversation | Kind::Item => Sort::Conversations,
            Kind::Chat | Kind::ChatMessage => Sort::Completions,
            Kind::Batch | Kind::BatchLine => Sort::Batches,
        }
    }
}

/// What is kept of one sort.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeptSort {
    /// `chats`, `library`, `votes`, `files`, `responses`, `conversations`, `completions`, `batches`
    pub sort: &'static str,
    /// How many.
    pub count: u64,
    /// Bytes, with all parts.
    pub bytes: u64,
}

/// What is kept for one owner.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Kept {
    /// An account's id, or what the operator called the owner of a key.
    pub owner: String,
    /// The account's name, where it is one.
    pub name: Option<String>,
    /// API keys that are not revoked.
    pub keys: u64,
    /// What there is, of each sort that there is something of.
    pub sorts: Vec<KeptSort>,
}

/// What is kept, of one owner or of all.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeptList {
    /// `list`
    pub object: &'static str,
    /// One for each owner.
    pub data: Vec<Kept>,
}

/// What was deleted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeletedData {
    /// `data.deleted`
    pub object: &'static str,
    /// How many, parts not counted.
    pub deleted: u64,
}

/// The holdings of one owner, put together.
pub fn sorts(holdings: &[Holding]) -> Vec<KeptSort> {
    let kept = Sort::ALL.iter().map(|sort| {
        let of_it = holdings.iter().filter(|it| Sort::of_kind(it.kind) == *sort);
        let whole = |it: &&Holding| sort.wholes().contains(&it.kind);
        KeptSort {
            sort: sort.name(),
            count: of_it.clone().filter(whole).map(|it| it.count).sum(),
            bytes: of_it.map(|it| it.bytes).sum(),
        }
    });
    kept.filter(|kept| kept.count > 0 || kept.bytes > 0).collect()
}

/// What was used for one name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UsageSum {
    /// A day (`2026-11-27`), an owner, the id of an API key (empty for none) or a model.
    pub name: String,
    /// What people call it, where it has such a name.
    pub label: Option<String>,
    /// Requests that a model computed for.
    pub requests: i64,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Those of them that were found in the cache.
    pub cached_tokens: i64,
    /// Tokens of answers.
    pub generated_tokens: i64,
}

impl UsageSum {
    /// A sum under its names.
    pub fn new(name: String, label: Option<String>, used: Used) -> UsageSum {
        UsageSum {
            name,
            label,
            requests: used.requests,
            prompt_tokens: used.prompt_tokens,
            cached_tokens: used.cached_tokens,
            generated_tokens: used.generated_tokens,
        }
    }
}

/// What was used in the last days.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UsageObject {
    /// `usage`
    pub object: &'static str,
    /// The first day, in UTC.
    pub from: String,
    /// The last day, which goes on.
    pub to: String,
    /// Those days on which something was used.
    pub days: Vec<UsageSum>,
    /// By account, or owner of a key; of one's own only one.
    pub owners: Vec<UsageSum>,
    /// By API key.
    pub keys: Vec<UsageSum>,
    /// By model.
    pub models: Vec<UsageSum>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_of_a_sort_that_deletes_it() {
        for kind in Kind::ALL {
            let sort = Sort::of_kind(*kind);
            assert!(Sort::ALL.contains(&sort));
        }
        for sort in Sort::ALL {
            assert_eq!(Sort::of(sort.name()), Some(*sort));
            assert!(sort.wholes().iter().all(|kind| Sort::of_kind(*kind) == *sort));
        }
        assert_eq!(Sort::of("keys"), None);
    }

    #[test]
    fn parts_count_with_their_bytes_alone() {
        let holding = |kind, count, bytes| Holding { owner: "me".into(), kind, count, bytes };
        let kept = sorts(&[
            holding(Kind::AppMessage, 7, 70),
            holding(Kind::AppChat, 2, 5),
            holding(Kind::UploadPart, 1, 3),
        ]);
        let told: Vec<_> = kept.iter().map(|it| (it.sort, it.count, it.bytes)).collect();
        assert_eq!(told, [("chats", 2, 75), ("files", 0, 3)]);
    }
}
