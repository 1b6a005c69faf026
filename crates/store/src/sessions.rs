//! Turns signed-in browsers into rows that cannot be turned back, and their tokens into accounts.

use sqlx::any::AnyRow;
use sqlx::{FromRow, Row};

use crate::errors::StoreError;
use crate::limits::{SESSION_IDLE_SECONDS, SESSION_NOTE_SECONDS, SESSION_SECONDS, SESSIONS_MAX};
use crate::random;
use crate::users::{User, Users, on, text};
use crate::writer::{Change, Step, Value};

/// Letters of a token: 256 random bits.
pub(crate) const TOKEN_LETTERS: usize = 43;

/// A session that a token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub user: User,
    /// Seconds since 1970.
    pub created_at: i64,
    /// When it was last used, to the hour.
    pub used_at: i64,
    /// From when on it opens nothing, in seconds since 1970.
    pub expires_at: i64,
}

impl Session {
    fn is_valid(&self, now: i64) -> bool {
        now < self.expires_at && self.user.is_active()
    }
}

const INSERT: &str = "INSERT INTO sessions (hash, user_id, created_at, used_at, expires_at) \
     SELECT CAST($1 AS TEXT), id, CAST($3 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT) \
     FROM users WHERE id = $2 AND state = 'active'";

/// All but the latest ones.
const END_OLDEST: &str = "DELETE FROM sessions WHERE user_id = $1 AND hash NOT IN \
     (SELECT hash FROM sessions WHERE user_id = $1 ORDER BY used_at DESC, hash LIMIT $2)";

const FIND: &str = "SELECT users.*, sessions.created_at AS session_created_at, \
     sessions.used_at AS session_used_at, sessions.expires_at AS session_expires_at \
     FROM sessions JOIN users ON users.id = sessions.user_id WHERE hash = $1";

const NOTE: &str = "UPDATE sessions SET used_at = $2, expires_at = $3 WHERE hash = $1";

const SEEN: &str = "UPDATE users SET seen_at = $2 WHERE id = $1";

impl Users {
    /// Begins a session of an active account: its token, which nobody can see again. The session
    /// of the token `ends`, if it is one, is over.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the account is gone or disabled.
    pub async fn begin_session(
        &self,
        user: &User,
        ends: Option<&str>,
        now: i64,
    ) -> Result<String, StoreError> {
        let (token, change) = self.session(Change::new(), &user.id, now);
        let change = match ends {
            Some(old) => change.step(on(END, &self.session_hash(old))),
            None => change,
        };
        self.change(change).await?;
        Ok(token)
    }

    /// Gives an account another password; all its sessions end, and a new one begins.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it was given another password meanwhile.
    pub async fn change_password(
        &self,
        user: &User,
        password: &str,
        now: i64,
    ) -> Result<String, StoreError> {
        let change = self.with_password(Change::new(), user, Some(password));
        let (token, change) = self.session(change, &user.id, now);
        self.change(change).await?;
        Ok(token)
    }

    /// Adds a session to a change.
    fn session(&self, change: Change, user: &str, now: i64) -> (String, Change) {
        let token = random::letters(TOKEN_LETTERS);
        let end = now + SESSION_IDLE_SECONDS;
        let values = vec![
            text(&self.session_hash(&token)),
            text(user),
            Value::Number(now),
            Value::Number(end),
        ];
        let one_row = Some(user.to_owned());
        let oldest = vec![text(user), Value::Number(SESSIONS_MAX as i64)];
        let change = change
            .step(Step { sql: INSERT, values, one_row, deletes: false })
            .step(Step { sql: END_OLDEST, values: oldest, one_row: None, deletes: false })
            .step(seen(user, now));
        (token, change)
    }

    /// The valid session of a token, if it is one. Its end moves on with its use.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_session(&self, token: &str, now: i64) -> Result<Option<Session>, StoreError> {
        let hash = self.session_hash(token);
        let session = self.session_of(&hash).await?.filter(|session| session.is_valid(now));
        if let Some(session) = &session
            && now - session.used_at >= SESSION_NOTE_SECONDS
        {
            let end = (now + SESSION_IDLE_SECONDS).min(session.created_at + SESSION_SECONDS);
            let values = vec![text(&hash), Value::Number(now), Value::Number(end)];
            let note = Step { sql: NOTE, values, one_row: None, deletes: false };
            self.change(Change::new().step(note).step(seen(&session.user.id, now))).await?;
        }
        Ok(session)
    }

    async fn session_of(&self, hash: &str) -> Result<Option<Session>, StoreError> {
        let asked = match self.sessions.get(hash) {
            Ok(session) => return Ok(session),
            Err(asked) => asked,
        };
        // Found by the hash, of which whoever guesses learns nothing by the time it takes.
        let session: Option<Session> =
            sqlx::query_as(FIND).bind(hash).fetch_optional(&self.store.readers).await?;
        self.sessions.put(hash.to_owned(), session.clone(), asked);
        Ok(session)
    }

    /// Ends the session of a token, if it is one.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn end_session(&self, token: &str) -> Result<(), StoreError> {
        self.change(Change::new().step(on(END, &self.session_hash(token)))).await
    }

    /// Deletes sessions and invitations whose time is over.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn sweep(&self, now: i64) -> Result<(), StoreError> {
        // A look first: what deletes empties SQLite's log, also where there is nothing.
        let sql = "SELECT (SELECT COUNT(*) FROM sessions WHERE expires_at <= $1) \
                   + (SELECT COUNT(*) FROM invitations WHERE expires_at <= $1)";
        let query = sqlx::query_scalar::<_, i64>(sql).bind(now);
        if query.fetch_one(&self.store.readers).await? == 0 {
            return Ok(());
        }
        let over =
            |sql| Step { sql, values: vec![Value::Number(now)], one_row: None, deletes: true };
        let sessions = over("DELETE FROM sessions WHERE expires_at <= $1");
        let invitations = over("DELETE FROM invitations WHERE expires_at <= $1");
        self.change(Change::new().step(sessions).step(invitations)).await
    }

    /// Other words before the token make other hashes: a token of one sort is none of another.
    fn session_hash(&self, token: &str) -> String {
        self.secret.hash(&format!("session {token}"))
    }
}

const END: &str = "DELETE FROM sessions WHERE hash = $1";

fn seen(user: &str, now: i64) -> Step {
    let values = vec![text(user), Value::Number(now)];
    Step { sql: SEEN, values, one_row: None, deletes: false }
}

impl<'r> FromRow<'r, AnyRow> for Session {
    fn from_row(row: &'r AnyRow) -> Result<Session, sqlx::Error> {
        Ok(Session {
            user: User::from_row(row)?,
            created_at: row.try_get("session_created_at")?,
            used_at: row.try_get("session_used_at")?,
            expires_at: row.try_get("session_expires_at")?,
        })
    }
}
