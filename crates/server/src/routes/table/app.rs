//! Turns the routes of the chat in the browser into rows of the table.

use axum::routing::{delete, get, post, put};

use super::{EVENTS, Input, JSON, LINES, Route};
use crate::chats::answer::AnswerEvent;
use crate::openapi::Components;
use crate::routes::{app_calls, app_chats, app_exchange, app_features, app_files, app_messages};
use crate::routes::{app_search, app_shares, app_tools};
use crate::wire::app_chats::{AppChat, AppMessage};
use crate::wire::app_files::{AppFile, AppFileText};
use crate::wire::policy::RUN_FIELDS;

pub(super) fn of_app(known: &mut Components) -> Vec<Route> {
    use Input::{Fields, Lines, Named};
    let mut routes = of_tools(known);
    let one = "/app/chats/{id}";
    let share = "/app/chats/{id}/share";
    let run = "/app/chats/{id}/messages/{message}/run";
    routes.extend([
        Route::get(
            "/app/features",
            "What there is for the chat; needs no key",
            get(app_features::show),
        )
        .gives::<app_features::Features>(known, JSON),
        Route::get("/app/chats", "The chat's conversations", get(app_chats::list))
            .asks(&["after", "limit", "updated_since"])
            .gives_named(JSON, "AppChats"),
        Route::get("/app/chats/search", "Those that have all words", get(app_search::show))
            .asks(&["q", "limit"])
            .gives::<app_search::AppHits>(known, JSON),
        Route::get("/app/chats/export", "All of them, with messages", get(app_exchange::export))
            .gives_named(LINES, "AppRecord"),
        Route::post(
            "/app/chats/import",
            "Adds what an export wrote, under fresh ids",
            Lines("AppRecord"),
            post(app_exchange::import),
        )
        .gives_named(JSON, "AppImport"),
        Route::get(one, "A conversation with its whole tree", get(app_chats::show))
            .asks(&["files"])
            .gives_named(JSON, "AppRecord"),
        Route::put(one, "Makes or changes one", Named("AppChatChange"), put(app_chats::put))
            .gives::<AppChat>(known, JSON),
        Route::delete(one, "Deletes one", delete(app_chats::delete)).gives_named(JSON, "Deleted"),
        Route::put(
            "/app/chats/{id}/messages",
            "Writes messages in one",
            Named("AppMessages"),
            put(app_messages::put),
        )
        .gives::<AppChat>(known, JSON),
        Route::post(
            run,
            "Answers into a message, whoever listens",
            Fields(RUN_FIELDS),
            post(app_messages::run),
        )
        .gives::<AnswerEvent>(known, EVENTS),
        Route::get(run, "An answer on its way, from an event on", get(app_messages::follow_run))
            .asks(&["after"])
            .gives::<AnswerEvent>(known, EVENTS),
        Route::delete(run, "Stops an answer", delete(app_messages::stop_run))
            .gives::<AppMessage>(known, JSON),
        Route::post(
            share,
            "Makes a link to one, or copies it anew",
            Input::Nothing,
            post(app_shares::create),
        )
        .gives::<app_shares::AppShare>(known, JSON),
        Route::get(share, "The link to one", get(app_shares::show))
            .gives::<app_shares::AppShare>(known, JSON),
        Route::delete(share, "Takes the link back", delete(app_shares::delete))
            .gives_named(JSON, "Deleted"),
        Route::get("/app/shared/{token}", "What a link shows; needs no key", get(app_shares::open))
            .gives::<app_shares::Shared>(known, JSON),
    ]);
    routes
}

/// Tools that models may call.
fn of_tools(known: &mut Components) -> Vec<Route> {
    use Input::Named;
    vec![
        Route::get("/app/tools", "The tools that models may call", get(app_tools::list))
            .gives::<app_tools::AppTools>(known, JSON),
        Route::post(
            "/app/chats/{id}/messages/{message}/calls/{call}",
            "Lets a call of a tool go out, or not",
            Named("CallDecision"),
            post(app_calls::decide),
        )
        .gives_named(JSON, "CallDecided"),
    ]
}

pub(super) fn of_files(known: &mut Components) -> Vec<Route> {
    vec![
        Route::post(
            "/app/files",
            "Reads the text of a file for a chat",
            Input::Form("AppFileForm"),
            post(app_files::create),
        )
        .gives::<AppFile>(known, JSON),
        Route::get("/app/files/{id}", "Such a file", get(app_files::show))
            .gives::<AppFile>(known, JSON),
        Route::delete("/app/files/{id}", "Deletes one", delete(app_files::delete))
            .gives_named(JSON, "Deleted"),
        Route::get("/app/files/{id}/text", "A page of its text", get(app_files::text))
            .asks(&["page"])
            .gives::<AppFileText>(known, JSON),
    ]
}
