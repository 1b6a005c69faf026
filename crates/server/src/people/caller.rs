//! Turns a key, a session or neither into whose documents a request reaches, and what it may do.

use std::sync::Arc;

use myriad_store::{Key, Role, Session, User};

use crate::errors::ApiError;
use crate::storage::Owner;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whose documents it reaches.
    pub owner: Owner,
    /// What it may do.
    pub role: Role,
    /// The account, where it is one.
    pub user: Option<User>,
    /// The token of its session, where it came by one.
    pub session: Option<Arc<str>>,
    /// The id of its API key, where it came by one of the store.
    pub key: Option<Arc<str>>,
}

impl Caller {
    /// Whoever has the machine: everyone on it where nothing is locked, and a configured key.
    pub fn operator() -> Caller {
        Caller { owner: Owner::default(), role: Role::Admin, user: None, session: None, key: None }
    }

    /// Whoever has this key; `user` is the account that owns it, if one does.
    pub fn of_key(key: Key, user: Option<User>) -> Caller {
        let role = user.as_ref().map_or(Role::User, |user| user.role);
        let id = Some(key.id.as_str().into());
        Caller { owner: Owner::from(key), role, user, session: None, key: id }
    }

    /// Whoever has this session.
    pub fn of_session(session: Session, token: &str) -> Caller {
        let user = session.user;
        let (owner, role) = (Owner::from(&user), user.role);
        Caller { owner, role, user: Some(user), session: Some(token.into()), key: None }
    }

    /// The account.
    ///
    /// # Errors
    /// 403 where the request came without one.
    pub fn account(&self) -> Result<&User, ApiError> {
        self.user.as_ref().ok_or_else(|| {
            ApiError::not_allowed("This takes an account: sign in, or use a key of one.")
        })
    }

    /// Only administrators may do what follows.
    ///
    /// # Errors
    /// 403.
    pub fn check_admin(&self) -> Result<(), ApiError> {
        match self.role {
            Role::Admin => Ok(()),
            Role::User => Err(ApiError::not_allowed("This takes an administrator.")),
        }
    }
}
