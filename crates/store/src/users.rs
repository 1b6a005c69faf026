//! Turns accounts into rows: who there is, what each may do, and what goes with the last of them.
//!
//! Passwords come here as hashes, which only the caller understands. There is always an
//! administrator who can sign in: what would end the last one is refused.

use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{FromRow, Row};

use crate::database::Store;
use crate::errors::StoreError;
use crate::keys::KeySecret;
use crate::random;
use crate::remembered::{Any, Remembered};
use crate::sessions::Session;
use crate::writer::{Change, Step, Value};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything, for everyone.
    Admin,
    /// Use the server.
    User,
}

impl Role {
    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::User => "user",
        }
    }

    /// The role of a name.
    pub fn of(name: &str) -> Option<Role> {
        [Role::Admin, Role::User].into_iter().find(|role| role.name() == name)
    }
}

/// Whether an account opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserState {
    /// It does.
    Active,
    /// It does not, nor do its sessions and keys.
    Disabled,
}

impl UserState {
    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        match self {
            UserState::Active => "active",
            UserState::Disabled => "disabled",
        }
    }

    /// The state of a name.
    pub fn of(name: &str) -> Option<UserState> {
        [UserState::Active, UserState::Disabled].into_iter().find(|state| state.name() == name)
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its own name, which never changes: the owner of what it keeps.
    pub id: String,
    /// What a person signs in with, in small letters.
    pub name: String,
    /// What others are shown.
    pub display_name: String,
    /// A hash; none where there is no password to sign in with.
    pub password: Option<String>,
    /// What it may do.
    pub role: Role,
    /// Whether it opens anything.
    pub state: UserState,
    /// Issuer and subject of an identity elsewhere.
    pub subject: Option<String>,
    /// Seconds since 1970.
    pub created_at: i64,
    /// When it was last used, to the hour, in seconds since 1970.
    pub seen_at: Option<i64>,
}

impl User {
    /// Whether it opens anything.
    pub fn is_active(&self) -> bool {
        self.state == UserState::Active
    }

    /// Whether it is an administrator.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// What a person signs in with; case does not matter.
    pub name: &'a str,
    /// What others are shown.
    pub display_name: &'a str,
    /// A hash.
    pub password: Option<&'a str>,
    /// What it may do.
    pub role: Role,
    /// Issuer and subject of an identity elsewhere.
    pub subject: Option<&'a str>,
}

impl NewUser<'_> {
    pub(crate) fn made(&self, now: i64) -> User {
        User {
            id: format!("user_{}", random::letters(16)),
            name: folded(self.name),
            display_name: self.display_name.to_owned(),
            password: self.password.map(str::to_owned),
            role: self.role,
            state: UserState::Active,
            subject: self.subject.map(str::to_owned),
            created_at: now,
            seen_at: None,
        }
    }
}

/// The accounts of a store.
#[derive(Debug)]
pub struct Users {
    pub(crate) store: Arc<Store>,
    pub(crate) secret: KeySecret,
    /// By id.
    accounts: Remembered<User>,
    /// By hash.
    pub(crate) sessions: Remembered<Session>,
    known: Any,
}

const INSERT: &str = "INSERT INTO users \
     (id, name, display_name, password, role, state, subject, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";

const INSERT_FIRST: &str = "INSERT INTO users \
     (id, name, display_name, password, role, state, subject, created_at, is_first) \
     SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), \
     CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS BIGINT), 1 \
     WHERE NOT EXISTS (SELECT 1 FROM users) ON CONFLICT DO NOTHING";

/// The name in a column for its new owner: those that begin with an owner and a colon are unique
/// for that one alone.
macro_rules! renamed {
    ($column:literal) => {
        concat!(
            $column,
            " = CASE WHEN substr(",
            $column,
            ", 1, length(CAST($2 AS TEXT)) + 1) = ",
            "CAST($2 AS TEXT) || ':' THEN CAST($1 AS TEXT) || substr(",
            $column,
            ", length(CAST($2 AS TEXT)) + 1) ELSE ",
            $column,
            " END"
        )
    };
}

/// What an owner has, by statements that give it to another one.
const GIVE: &[&str] = &[
    concat!(
        "UPDATE documents SET owner = $1, ",
        renamed!("id"),
        ", ",
        renamed!("parent"),
        " WHERE owner = $2"
    ),
    concat!(
        "UPDATE texts SET owner = $1, ",
        renamed!("document"),
        ", ",
        renamed!("whole"),
        " WHERE owner = $2"
    ),
    "UPDATE keys SET owner = $1 WHERE owner = $2",
    "UPDATE usage_sums SET owner = $1 WHERE owner = $2",
];

/// Statements that delete what an owner has.
const DELETE_OWNED: &[&str] = &[
    "DELETE FROM documents WHERE owner = $1",
    "DELETE FROM texts WHERE owner = $1",
    "DELETE FROM keys WHERE owner = $1",
    "DELETE FROM usage_sums WHERE owner = $1",
    "DELETE FROM sessions WHERE user_id = $1",
    "DELETE FROM invitations WHERE user_id = $1",
];

/// Who changes administrators has them for itself: two that end each other at once end one.
const LOCK_ADMINS: &str = "UPDATE users SET role = role WHERE role = 'admin'";

const SET: &str = "UPDATE users SET role = $2, state = $3 WHERE id = $1 AND \
     (($2 = 'admin' AND $3 = 'active') OR EXISTS (SELECT 1 FROM users AS others \
     WHERE others.role = 'admin' AND others.state = 'active' AND others.id <> $1))";

const DELETE: &str = "DELETE FROM users WHERE id = $1 AND EXISTS (SELECT 1 FROM users AS others \
     WHERE others.role = 'admin' AND others.state = 'active' AND others.id <> $1)";

const SET_PASSWORD: &str = "UPDATE users SET password = $2 WHERE id = $1 \
     AND COALESCE(password, '') = $3";

const SET_SUBJECT: &str = "UPDATE users SET subject = $2 WHERE id = $1 AND subject IS NULL";

const CLEAR_SUBJECT: &str = "UPDATE users SET subject = NULL WHERE id = $1 \
     AND subject IS NOT NULL AND password IS NOT NULL";

/// What an account has let in, or may let in, while it was more than it is now.
const END_SESSIONS: &str = "DELETE FROM sessions WHERE user_id = $1";
const END_INVITATIONS: &str = "DELETE FROM invitations WHERE made_by = $1 AND used_by IS NULL";

impl Users {
    /// The accounts of `store`; tokens are hashed under `secret`.
    pub fn new(store: Arc<Store>, secret: KeySecret) -> Users {
        let (accounts, sessions) = (Remembered::default(), Remembered::default());
        Users { store, secret, accounts, sessions, known: Any::default() }
    }

    /// Whether there are accounts: then nobody comes in without one, or a key. The first closes the
    /// doors of other servers that run within a second.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn any(&self) -> Result<bool, StoreError> {
        if let Some(any) = self.known.get() {
            return Ok(any);
        }
        let query = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM users");
        let any = query.fetch_one(&self.store.readers).await? > 0;
        self.known.put(any);
        Ok(any)
    }

    /// Makes the first account, an administrator, and gives it what `predecessor` owns.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where there is an account already.
    pub async fn create_first(
        &self,
        new: NewUser<'_>,
        predecessor: &str,
        now: i64,
    ) -> Result<User, StoreError> {
        let user = NewUser { role: Role::Admin, ..new }.made(now);
        let mut change = Change::new().step(insert(INSERT_FIRST, &user));
        for sql in GIVE {
            let values = vec![text(&user.id), text(predecessor)];
            change = change.step(Step { sql, values, one_row: None, deletes: false });
        }
        self.change(change).await?;
        self.known.put(true);
        Ok(user)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the name, or the identity elsewhere, is another one's.
    pub async fn create(&self, new: NewUser<'_>, now: i64) -> Result<User, StoreError> {
        let user = new.made(now);
        self.change(Change::new().step(insert(INSERT, &user))).await?;
        Ok(user)
    }

    /// All accounts, the oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list(&self) -> Result<Vec<User>, StoreError> {
        let query = sqlx::query_as("SELECT * FROM users ORDER BY created_at, id");
        Ok(query.fetch_all(&self.store.readers).await?)
    }

    /// The account of this id.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find(&self, id: &str) -> Result<Option<User>, StoreError> {
        let asked = match self.accounts.get(id) {
            Ok(user) => return Ok(user),
            Err(asked) => asked,
        };
        let user = self.one("SELECT * FROM users WHERE id = $1", id).await?;
        self.accounts.put(id.to_owned(), user.clone(), asked);
        Ok(user)
    }

    /// The account of this name, whatever its case.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn named(&self, name: &str) -> Result<Option<User>, StoreError> {
        self.one("SELECT * FROM users WHERE name = $1", &folded(name)).await
    }

    /// The account of this identity elsewhere.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn known_as(&self, subject: &str) -> Result<Option<User>, StoreError> {
        self.one("SELECT * FROM users WHERE subject = $1", subject).await
    }

    async fn one(&self, sql: &'static str, value: &str) -> Result<Option<User>, StoreError> {
        // No row has one: PostgreSQL takes none in a text, and would call the question an error.
        if value.contains('\0') {
            return Ok(None);
        }
        Ok(sqlx::query_as(sql).bind(value).fetch_optional(&self.store.readers).await?)
    }

    /// Gives an account a role and a state, at once for all its sessions and keys.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it is gone, or is the last active administrator.
    pub async fn set(&self, id: &str, role: Role, state: UserState) -> Result<(), StoreError> {
        let values = vec![text(id), text(role.name()), text(state.name())];
        let set = Step { sql: SET, values, one_row: Some(id.to_owned()), deletes: false };
        let mut change = Change::new().step(lock_admins()).step(set);
        if state == UserState::Disabled {
            change = change.step(on(END_SESSIONS, id));
        }
        if (role, state) != (Role::Admin, UserState::Active) {
            change = change.step(on(END_INVITATIONS, id));
        }
        self.change(change).await
    }

    /// Gives an account another password, or takes it away; its sessions end.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it is gone, or was given another password meanwhile.
    pub async fn set_password(
        &self,
        user: &User,
        password: Option<&str>,
    ) -> Result<(), StoreError> {
        self.change(self.with_password(Change::new(), user, password)).await
    }

    pub(crate) fn with_password(
        &self,
        change: Change,
        user: &User,
        password: Option<&str>,
    ) -> Change {
        let new = Value::OptionalText(password.map(str::to_owned));
        let old = text(user.password.as_deref().unwrap_or_default());
        let values = vec![text(&user.id), new, old];
        let one_row = Some(user.id.clone());
        // What another password let in is over.
        let links = "DELETE FROM invitations WHERE user_id = $1 AND used_by IS NULL";
        change
            .step(Step { sql: SET_PASSWORD, values, one_row, deletes: true })
            .step(on(END_SESSIONS, &user.id))
            .step(on(links, &user.id))
    }

    /// Notes which identity elsewhere is an account's own.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it has one already.
    pub async fn set_subject(&self, id: &str, subject: &str) -> Result<(), StoreError> {
        let values = vec![text(id), text(subject)];
        let one_row = Some(id.to_owned());
        self.change(Change::new().step(Step { sql: SET_SUBJECT, values, one_row, deletes: false }))
            .await
    }

    /// Forgets which identity elsewhere is an account's own.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it has none, or no password to sign in with instead.
    pub async fn clear_subject(&self, id: &str) -> Result<(), StoreError> {
        let one_row = Some(id.to_owned());
        let step = Step { sql: CLEAR_SUBJECT, values: vec![text(id)], one_row, deletes: true };
        self.change(Change::new().step(step)).await
    }

    /// Deletes an account with its keys, its sessions and all documents of its own. Returns the
    /// contents that these had: those that nothing else has are to be removed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it is gone, or is the last active administrator.
    pub async fn delete(&self, id: &str) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT DISTINCT blob FROM documents WHERE owner = $1 AND blob IS NOT NULL";
        let contents = sqlx::query_scalar(sql).bind(id).fetch_all(&self.store.readers).await?;
        let one_row = Some(id.to_owned());
        let delete = Step { sql: DELETE, values: vec![text(id)], one_row, deletes: true };
        let change = Change::new().step(lock_admins()).step(delete).step(on(END_INVITATIONS, id));
        let change = DELETE_OWNED.iter().fold(change, |change, sql| change.step(on(sql, id)));
        self.change(change).await?;
        Ok(contents)
    }

    /// Writes a change, and forgets what was believed before it.
    pub(crate) async fn change(&self, change: Change) -> Result<(), StoreError> {
        let done = self.store.commit(change).await;
        self.accounts.forget();
        self.sessions.forget();
        done
    }

    pub(crate) fn insert(user: &User) -> Step {
        insert(INSERT, user)
    }
}

/// Whatever is written with a name is looked up by it.
pub(crate) fn folded(name: &str) -> String {
    name.to_lowercase()
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A deletion of whatever has this id.
pub(crate) fn on(sql: &'static str, id: &str) -> Step {
    Step { sql, values: vec![text(id)], one_row: None, deletes: true }
}

fn lock_admins() -> Step {
    Step { sql: LOCK_ADMINS, values: Vec::new(), one_row: None, deletes: false }
}

fn insert(sql: &'static str, user: &User) -> Step {
    let values = vec![
        text(&user.id),
        text(&user.name),
        text(&user.display_name),
        Value::OptionalText(user.password.clone()),
        text(user.role.name()),
        text(user.state.name()),
        Value::OptionalText(user.subject.clone()),
        Value::Number(user.created_at),
    ];
    Step { sql, values, one_row: Some(user.name.clone()), deletes: false }
}

/// A value of the table that only another program can have written.
pub(crate) fn strange(column: &str, found: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("there is no {column} '{found}'").into())
}

impl<'r> FromRow<'r, AnyRow> for User {
    fn from_row(row: &'r AnyRow) -> Result<User, sqlx::Error> {
        let (role, state): (String, String) = (row.try_get("role")?, row.try_get("state")?);
        Ok(User {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            display_name: row.try_get("display_name")?,
            password: row.try_get("password")?,
            role: Role::of(&role).ok_or_else(|| strange("role", &role))?,
            state: UserState::of(&state).ok_or_else(|| strange("state", &state))?,
            subject: row.try_get("subject")?,
            created_at: row.try_get("created_at")?,
            seen_at: row.try_get("seen_at")?,
        })
    }
}
