//! Turns flags into the data folder and the database of a server.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use myriad_server::Storage;

use crate::models;

/// Where the server keeps what it is asked to keep.
#[derive(Args)]
pub struct Place {
    /// Folder of stored objects, files and keys. [default: ~/.local/share/myriad]
    #[arg(long, value_name = "FOLDER", env = "MYRIAD_DATA", help_heading = "Storage")]
    data: Option<PathBuf>,
    /// Database instead of the file in that folder: postgres://USER:PASSWORD@HOST/DATABASE, or
    /// sqlite:PATH.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "MYRIAD_STORE",
        hide_env_values = true,
        help_heading = "Storage"
    )]
    store: Option<String>,
}

impl Place {
    /// Opens it; without `content` for keys alone.
    ///
    /// # Errors
    /// Where the folder or the database cannot be used.
    pub async fn open(&self, content: bool) -> Result<Storage> {
        let folder = match &self.data {
            Some(folder) => folder.clone(),
            None => models::data_folder()?,
        };
        Ok(Storage::open(&folder, self.store.as_deref(), content).await?)
    }
}
