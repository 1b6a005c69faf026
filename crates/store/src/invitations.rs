//! Turns invitations, and links to a new password, into rows, and their tokens into accounts.

use sqlx::any::AnyRow;
use sqlx::{FromRow, Row};

use crate::errors::StoreError;
use crate::limits::INVITATION_SECONDS;
use crate::random;
use crate::sessions::TOKEN_LETTERS;
use crate::users::{NewUser, Role, User, Users, on, strange, text};
use crate::writer::{Change, Step, Value};

/// What a token gives the right to, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Its own name, to withdraw it by.
    pub id: String,
    /// What the new account may do.
    pub role: Role,
    /// The account whose password is set anew; none where one is made.
    pub user: Option<String>,
    /// The account that made it; empty for the operator.
    pub made_by: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// From when on it opens nothing, in seconds since 1970.
    pub expires_at: i64,
    /// The account that was made with it.
    pub used_by: Option<String>,
}

/// An invitation to be made.
#[derive(Clone, Debug)]
pub struct NewInvitation<'a> {
    /// What the new account may do.
    pub role: Role,
    /// The account that makes it.
    pub made_by: &'a str,
}

const INSERT: &str = "INSERT INTO invitations \
     (id, hash, role, user_id, made_by, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Once: of two that come with one token at the same time, one does it.
const USE: &str = "UPDATE invitations SET used_by = $2 WHERE id = $1 AND used_by IS NULL";

impl Users {
    /// Makes an invitation: what is known of it, and its token, which nobody can see again.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn invite(
        &self,
        new: NewInvitation<'_>,
        now: i64,
    ) -> Result<(Invitation, String), StoreError> {
        let (invitation, token, step) = self.invitation(new, None, now);
        self.change(Change::new().step(step)).await?;
        Ok((invitation, token))
    }

    /// Takes the password of an account away, ends its sessions, and makes a link to a new one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the account is gone or was given another password meanwhile.
    pub async fn reset_password(
        &self,
        user: &User,
        made_by: &str,
        now: i64,
    ) -> Result<(Invitation, String), StoreError> {
        let new = NewInvitation { role: user.role, made_by };
        let (invitation, token, step) = self.invitation(new, Some(&user.id), now);
        self.change(self.with_password(Change::new(), user, None).step(step)).await?;
        Ok((invitation, token))
    }

    fn invitation(
        &self,
        new: NewInvitation<'_>,
        user: Option<&str>,
        now: i64,
    ) -> (Invitation, String, Step) {
        let token = random::letters(TOKEN_LETTERS);
        let invitation = Invitation {
            id: format!("invite_{}", random::letters(16)),
            role: new.role,
            user: user.map(str::to_owned),
            made_by: new.made_by.to_owned(),
            created_at: now,
            expires_at: now + INVITATION_SECONDS,
            used_by: None,
        };
        let values = vec![
            text(&invitation.id),
            text(&self.invitation_hash(&token)),
            text(invitation.role.name()),
            Value::OptionalText(invitation.user.clone()),
            text(&invitation.made_by),
            Value::Number(invitation.created_at),
            Value::Number(invitation.expires_at),
        ];
        let one_row = Some(invitation.id.clone());
        (invitation, token, Step { sql: INSERT, values, one_row, deletes: false })
    }

    /// All invitations whose time is not over, also used ones, the oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn invitations(&self, now: i64) -> Result<Vec<Invitation>, StoreError> {
        let sql = "SELECT * FROM invitations WHERE expires_at > $1 ORDER BY created_at, id";
        Ok(sqlx::query_as(sql).bind(now).fetch_all(&self.store.readers).await?)
    }

    /// The invitation of a token, if it is one that was not used.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn invited(&self, token: &str, now: i64) -> Result<Option<Invitation>, StoreError> {
        let sql = "SELECT * FROM invitations \
                   WHERE hash = $1 AND used_by IS NULL AND expires_at > $2";
        let query = sqlx::query_as(sql).bind(self.invitation_hash(token)).bind(now);
        Ok(query.fetch_optional(&self.store.readers).await?)
    }

    /// Withdraws an invitation; false where there is none of this id that was not used.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn withdraw(&self, id: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM invitations WHERE id = $1 AND used_by IS NULL";
        let step = Step { one_row: Some(id.to_owned()), ..on(sql, id) };
        match self.change(Change::new().step(step)).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes an account by an invitation, which is used up.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] of the invitation's id where it was used meanwhile, of the name
    /// where that is another one's.
    pub async fn accept(
        &self,
        invitation: &Invitation,
        new: NewUser<'_>,
        now: i64,
    ) -> Result<User, StoreError> {
        let user = NewUser { role: invitation.role, ..new }.made(now);
        let used = used(invitation, &user.id);
        self.change(Change::new().step(used).step(Users::insert(&user))).await?;
        Ok(user)
    }

    /// Sets an account's password anew by the link to do so, which is used up.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the link was used, or the password set, meanwhile.
    pub async fn renew_password(
        &self,
        invitation: &Invitation,
        user: &User,
        password: &str,
    ) -> Result<(), StoreError> {
        let change = Change::new().step(used(invitation, &user.id));
        self.change(self.with_password(change, user, Some(password))).await
    }

    fn invitation_hash(&self, token: &str) -> String {
        self.secret.hash(&format!("invitation {token}"))
    }
}

fn used(invitation: &Invitation, user: &str) -> Step {
    let values = vec![text(&invitation.id), text(user)];
    Step { sql: USE, values, one_row: Some(invitation.id.clone()), deletes: false }
}

impl<'r> FromRow<'r, AnyRow> for Invitation {
    fn from_row(row: &'r AnyRow) -> Result<Invitation, sqlx::Error> {
        let role: String = row.try_get("role")?;
        Ok(Invitation {
            id: row.try_get("id")?,
            role: Role::of(&role).ok_or_else(|| strange("role", &role))?,
            user: row.try_get("user_id")?,
            made_by: row.try_get("made_by")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            used_by: row.try_get("used_by")?,
        })
    }
}
