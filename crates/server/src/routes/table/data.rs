//! Turns what is kept and used, and the chat's presets and prompts, into rows of the table.

use axum::routing::{delete, get, put};

use super::{CSV, Input, JSON, LINES, Route};
use crate::openapi::Components;
use crate::routes::{app_data, app_library, app_usage};
use crate::wire::app_data::{DeletedData, KeptList, UsageObject};
use crate::wire::app_library::{AppLibrary, AppPreset, AppPrompt};

/// Rows of the chat's own API for them.
pub(super) fn rows(known: &mut Components) -> Vec<Route> {
    use Input::Named;
    let (preset, prompt) = ("/app/library/presets/{id}", "/app/library/prompts/{id}");
    let (put_preset, put_prompt) = (put(app_library::put_preset), put(app_library::put_prompt));
    let drop_preset = delete(app_library::delete_preset);
    let drop_prompt = delete(app_library::delete_prompt);
    vec![
        Route::get("/app/library", "The chat's presets and prompts", get(app_library::list))
            .gives::<AppLibrary>(known, JSON),
        Route::put(preset, "Writes a preset", Named("AppPresetRequest"), put_preset)
            .gives::<AppPreset>(known, JSON),
        Route::delete(preset, "Deletes a preset", drop_preset).gives_named(JSON, "Deleted"),
        Route::put(prompt, "Writes a prompt", Named("AppPromptRequest"), put_prompt)
            .gives::<AppPrompt>(known, JSON),
        Route::delete(prompt, "Deletes a prompt", drop_prompt).gives_named(JSON, "Deleted"),
        Route::get("/app/data", "What is kept; all of it for administrators", get(app_data::list))
            .asks(&["all"])
            .gives::<KeptList>(known, JSON),
        Route::get("/app/data/export", "All that one keeps, as lines", get(app_data::export))
            .gives_named(LINES, "DataLine"),
        Route::delete("/app/data/{sort}", "Deletes all of a sort", delete(app_data::delete))
            .asks(&["older_than_days", "owner"])
            .gives::<DeletedData>(known, JSON),
        Route::get(
            "/app/usage",
            "What was used; all of it for administrators",
            get(app_usage::show),
        )
        .asks(&["days", "all"])
        .gives::<UsageObject>(known, JSON),
        Route::get("/app/usage/export", "The same as rows", get(app_usage::export))
            .asks(&["days", "all"])
            .gives_named(CSV, "Text"),
    ]
}
