//! Turns JSON into names, passwords and roles, and accounts, keys and invitations into JSON.

use myriad_store::{Invitation, Key, Role, User};
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::Fields;
use crate::errors::ApiError;
use crate::limits::{PASSWORD_CHARS, USER_NAME_CHARS_MAX};

/// Bytes of a character, at most.
const CHAR_BYTES_MAX: usize = 4;

/// Bytes of an invitation's token, at most.
const TOKEN_BYTES_MAX: usize = 128;

/// Who one is here, and how one may come in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SessionObject {
    /// `session`
    pub object: &'static str,
    /// `single`: whoever is on this machine is let in; `key`: an API key is asked for; `account`:
    /// an account, or a key.
    pub mode: &'static str,
    /// The account that is signed in.
    pub user: Option<UserObject>,
    /// What the one who asks may do: `admin` or `user`; null for nobody who may come in.
    pub role: Option<&'static str>,
    /// Whether the one who asks may make the first account.
    pub setup: bool,
    /// Ways to sign in: `password`, `oidc`.
    pub methods: Vec<&'static str>,
    /// Who else may say who somebody is.
    pub oidc: Option<OidcOffer>,
    /// What holds for accounts.
    pub limits: AccountLimits,
}

/// An issuer of OpenID Connect.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OidcOffer {
    /// What people call it.
    pub name: String,
    /// Whether whoever it knows gets an account.
    pub signup: bool,
}

/// Where a browser goes to sign in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OidcWay {
    /// `oidc.way`
    pub object: &'static str,
    /// The issuer's address, good for ten minutes.
    pub url: String,
}

/// What holds for accounts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AccountLimits {
    /// Characters of a password, at least.
    pub password_min: usize,
    /// Characters of a password, at most.
    pub password_max: usize,
    /// Characters of a name, at most.
    pub name_max: usize,
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Bytes of all files of one account.
    pub owner_bytes_max: u64,
}

/// An account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UserObject {
    /// Its own name.
    pub id: String,
    /// `user`
    pub object: &'static str,
    /// What a person signs in with.
    pub name: String,
    /// What others are shown.
    pub display_name: String,
    /// `admin` or `user`
    pub role: &'static str,
    /// `active` or `disabled`
    pub state: &'static str,
    /// Whether there is a password to sign in with.
    pub has_password: bool,
    /// Whether it is linked to an identity of the OpenID Connect issuer.
    pub has_identity: bool,
    /// Seconds since 1970.
    pub created_at: i64,
    /// When it was last used, to the hour, in seconds since 1970.
    pub last_seen_at: Option<i64>,
}

impl From<&User> for UserObject {
    fn from(user: &User) -> UserObject {
        UserObject {
            id: user.id.clone(),
            object: "user",
            name: user.name.clone(),
            display_name: user.display_name.clone(),
            role: user.role.name(),
            state: user.state.name(),
            has_password: user.password.is_some(),
            has_identity: user.subject.is_some(),
            created_at: user.created_at,
            last_seen_at: user.seen_at,
        }
    }
}

/// An account after a change, and the link to its new password if one was made.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChangedUser {
    /// The account.
    #[serde(flatten)]
    pub user: UserObject,
    /// What sets its password, once: `#/invite/TOKEN` of the chat. It is not shown again.
    pub token: Option<String>,
}

/// All accounts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UserList {
    /// `list`
    pub object: &'static str,
    /// The oldest first.
    pub data: Vec<UserObject>,
}

/// An API key, without what opens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyObject {
    /// Its own name, to revoke it by.
    pub id: String,
    /// `api_key`
    pub object: &'static str,
    /// What its maker called it.
    pub name: String,
    /// Whose documents it reaches: an account's id, or what the operator wrote.
    pub owner: String,
    /// Its first characters.
    pub prefix: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// From when on it opens nothing, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// When it was revoked, in seconds since 1970.
    pub revoked_at: Option<i64>,
}

impl From<&Key> for KeyObject {
    fn from(key: &Key) -> KeyObject {
        KeyObject {
            id: key.id.clone(),
            object: "api_key",
            name: key.name.clone(),
            owner: key.owner.clone(),
            prefix: key.prefix.clone(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// A key that was made just now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MadeKey {
    /// What is known of it.
    #[serde(flatten)]
    pub about: KeyObject,
    /// The key itself. It is not shown again.
    pub key: String,
}

/// Keys.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// `list`
    pub object: &'static str,
    /// The oldest first.
    pub data: Vec<KeyObject>,
}

/// An invitation, or a link to a new password, without what opens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InvitationObject {
    /// Its own name, to withdraw it by.
    pub id: String,
    /// `invitation`
    pub object: &'static str,
    /// `account`: it makes one; `password`: it sets one anew.
    pub purpose: &'static str,
    /// What the account may do.
    pub role: &'static str,
    /// The account whose password is set.
    pub user: Option<String>,
    /// The account that made it; empty for the operator.
    pub made_by: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// From when on it opens nothing, in seconds since 1970.
    pub expires_at: i64,
    /// The account that used it.
    pub used_by: Option<String>,
}

impl From<&Invitation> for InvitationObject {
    fn from(invitation: &Invitation) -> InvitationObject {
        InvitationObject {
            id: invitation.id.clone(),
            object: "invitation",
            purpose: if invitation.user.is_some() { "password" } else { "account" },
            role: invitation.role.name(),
            user: invitation.user.clone(),
            made_by: invitation.made_by.clone(),
            created_at: invitation.created_at,
            expires_at: invitation.expires_at,
            used_by: invitation.used_by.clone(),
        }
    }
}

/// An invitation that was made just now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MadeInvitation {
    /// What is known of it.
    #[serde(flatten)]
    pub about: InvitationObject,
    /// What opens, once: `#/invite/TOKEN` of the chat. It is not shown again.
    pub token: String,
}

/// Invitations.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InvitationList {
    /// `list`
    pub object: &'static str,
    /// The oldest first.
    pub data: Vec<InvitationObject>,
}

/// Takes a field that must be there, of any text.
///
/// # Errors
/// 400 naming it.
pub fn text(fields: &mut Fields<'_>, field: &str) -> Result<String, ApiError> {
    let found = fields.string(field, PASSWORD_CHARS.end() * CHAR_BYTES_MAX)?;
    found.ok_or_else(|| ApiError::missing(field))
}

/// Takes a password that is to hold from now on.
///
/// # Errors
/// 400 naming the field, never saying its value.
pub fn password(fields: &mut Fields<'_>, field: &str) -> Result<String, ApiError> {
    optional_password(fields, field)?.ok_or_else(|| ApiError::missing(field))
}

/// Takes a password that need not be there.
///
/// # Errors
/// As [`password`].
pub fn optional_password(fields: &mut Fields<'_>, field: &str) -> Result<Option<String>, ApiError> {
    let password = fields.string(field, PASSWORD_CHARS.end() * CHAR_BYTES_MAX)?;
    password.as_ref().map_or(Ok(()), |password| check_password(field, password))?;
    Ok(password)
}

/// Whether a text may be a password.
///
/// # Errors
/// 400 naming the field.
pub fn check_password(field: &str, password: &str) -> Result<(), ApiError> {
    let chars = password.chars().count();
    if PASSWORD_CHARS.contains(&chars) {
        return Ok(());
    }
    let (least, most) = (PASSWORD_CHARS.start(), PASSWORD_CHARS.end());
    let message = format!("'{field}' has {chars} characters. Right would be {least} to {most}.");
    Err(ApiError::invalid(field, message))
}

/// Takes the name of a new account.
///
/// # Errors
/// 400 naming it.
pub fn name(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    let name = text(fields, "name")?;
    check_name(&name)?;
    Ok(name)
}

/// Whether a text may be the name of an account.
///
/// # Errors
/// 400 naming `name`.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let right = |letter: char| letter.is_alphanumeric() || "._-+@".contains(letter);
    if (1..=USER_NAME_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(right) {
        return Ok(());
    }
    let message = format!(
        "'name' is no name of an account. Right would be 1 to {USER_NAME_CHARS_MAX} letters, \
         digits and any of . _ - + @"
    );
    Err(ApiError::invalid("name", message))
}

/// Takes what others are shown; where it is absent, the name.
///
/// # Errors
/// 400 naming it.
pub fn display_name(fields: &mut Fields<'_>, name: &str) -> Result<String, ApiError> {
    label(fields, "display_name").map(|found| found.unwrap_or_else(|| name.to_owned()))
}

/// Takes a short text of one line.
///
/// # Errors
/// 400 naming it.
pub fn label(fields: &mut Fields<'_>, field: &str) -> Result<Option<String>, ApiError> {
    let Some(found) = fields.string(field, USER_NAME_CHARS_MAX * CHAR_BYTES_MAX)? else {
        return Ok(None);
    };
    let found = found.trim();
    let chars = found.chars().count();
    if (1..=USER_NAME_CHARS_MAX).contains(&chars) && !found.chars().any(char::is_control) {
        return Ok(Some(found.to_owned()));
    }
    let message = format!(
        "'{field}' must be one line. Right would be 1 to {USER_NAME_CHARS_MAX} characters."
    );
    Err(ApiError::invalid(field, message))
}

/// Takes a value of a table of names.
///
/// # Errors
/// 400 naming it, with the names that are right.
pub fn choice<T>(
    fields: &mut Fields<'_>,
    field: &str,
    of: impl Fn(&str) -> Option<T>,
    right: &str,
) -> Result<Option<T>, ApiError> {
    let Some(found) = fields.string(field, USER_NAME_CHARS_MAX)? else { return Ok(None) };
    let chosen = of(&found);
    if chosen.is_none() {
        let message = format!("Invalid value for '{field}'. Right would be {right}.");
        return Err(ApiError::invalid(field, message));
    }
    Ok(chosen)
}

/// Takes a role.
///
/// # Errors
/// 400 naming it.
pub fn role(fields: &mut Fields<'_>) -> Result<Option<Role>, ApiError> {
    choice(fields, "role", Role::of, "'admin' or 'user'")
}

/// Takes the token of an invitation.
///
/// # Errors
/// 400 naming it.
pub fn token(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    optional_token(fields, "token")?.ok_or_else(|| ApiError::missing("token"))
}

/// Takes the token of an invitation that need not be there.
///
/// # Errors
/// 400 naming it.
pub fn optional_token(fields: &mut Fields<'_>, field: &str) -> Result<Option<String>, ApiError> {
    let Some(token) = fields.string(field, TOKEN_BYTES_MAX)? else { return Ok(None) };
    match token.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok(Some(token)),
        false => Err(ApiError::invalid(field, format!("'{field}' is no token of a link."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_passwords_are_free() {
        for right in ["a", "anna", "Anna.B-c_d+e@example.org", "zoé", "王伟"] {
            assert!(check_name(right).is_ok(), "{right}");
        }
        for wrong in ["", " ", "two words", "a\n", "a/b", "<b>", "a\u{202e}b", &"x".repeat(65)] {
            assert!(check_name(wrong).is_err(), "{wrong:?}");
        }
        for right in ["12345678", "        ", "密码密码密码密码", &"x".repeat(256)] {
            assert!(check_password("password", right).is_ok(), "{right:?}");
        }
        for wrong in ["", "1234567", &"x".repeat(257)] {
            let error = check_password("password", wrong).unwrap_err();
            assert!(wrong.is_empty() || !error.message.contains(wrong), "{error:?}");
        }
    }
}
