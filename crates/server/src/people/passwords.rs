//! Turns passwords into hashes that are slow to guess, and hashes into yes or no, a few at a time.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;

use crate::errors::ApiError;
use crate::limits::{PASSWORDS_TOGETHER, PASSWORDS_WAITING_MAX};

/// Memory in KiB, passes and lanes, as OWASP recommends them for Argon2id: some 30 ms of one core.
const COST: (u32, u32, u32) = (19_456, 2, 1);

/// A hash of the same cost that nobody's password has: unknown names take as long as known ones.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdC4uLg\
                      $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Where passwords are hashed: a few at a time, so that those who guess do not take the machine.
pub(crate) struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Passwords {
        let places = |count| Arc::new(Semaphore::new(count));
        Passwords {
            running: places(PASSWORDS_TOGETHER),
            waiting: places(PASSWORDS_TOGETHER + PASSWORDS_WAITING_MAX),
        }
    }
}

impl Passwords {
    /// The hash of a password.
    ///
    /// # Errors
    /// 429 where too many wait.
    pub async fn hash(&self, password: String) -> Result<String, ApiError> {
        let hashed = self.run(move || hash(&password)).await?;
        hashed.ok_or_else(ApiError::internal)
    }

    /// Whether a password is the one of this hash; without a hash it is not, which takes as long.
    ///
    /// # Errors
    /// 429 where too many wait.
    pub async fn matches(&self, password: String, hash: Option<String>) -> Result<bool, ApiError> {
        self.run(move || {
            let matches = matches(&password, hash.as_deref().unwrap_or(NOBODY));
            matches && hash.is_some()
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let busy = || ApiError::busy("logins_busy", "Too many others are signing in.");
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| busy())?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| busy())?;
        let work = move || {
            // Held by the work itself: whoever goes away does not make room for more of it.
            let _places = (waiting, running);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(panicked = error.is_panic(), "hashing a password failed");
            ApiError::internal()
        })
    }
}

fn argon2() -> Option<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    let cost = Params::new(memory, passes, lanes, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, cost))
}

/// The hash of a password under a salt of its own, as a PHC string. Takes a while; none where the
/// system has no randomness.
pub fn hash(password: &str) -> Option<String> {
    let hash = argon2()?.hash_password(password.as_bytes()).ok()?;
    Some(hash.to_string())
}

/// A password of so many random letters and digits.
pub fn random(letters: usize) -> String {
    myriad_store::secret_letters(letters)
}

fn matches(password: &str, hash: &str) -> bool {
    let (Some(argon2), Ok(hash)) = (argon2(), PasswordHash::new(hash)) else { return false };
    argon2.verify_password(password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn only_the_password_matches() {
        let first = hash("correct horse").unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, hash("correct horse").unwrap(), "each has a salt of its own");
        assert!(matches("correct horse", &first));
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert!(!matches(wrong, &first), "{wrong}");
        }
        for broken in ["", "plain", "$argon2id$", &first[..40]] {
            assert!(!matches("correct horse", broken), "{broken}");
        }
    }

    #[tokio::test]
    async fn nobody_takes_as_long_as_somebody() {
        let passwords = Passwords::default();
        let known = hash("correct horse").unwrap();
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            for (times, hash) in times.iter_mut().zip([Some(known.clone()), None]) {
                let since = Instant::now();
                assert!(!passwords.matches("wrong".into(), hash).await.unwrap());
                times.push(since.elapsed());
            }
        }
        // The least is what the machine's other work disturbs least.
        let [known, nobody] = times.map(|times| times.into_iter().min().unwrap());
        let ratio = nobody.as_secs_f64() / known.as_secs_f64();
        assert!((0.5..2.0).contains(&ratio), "{nobody:?} against {known:?}");
    }

    #[tokio::test]
    async fn too_many_at_once_are_told_to_wait() {
        let passwords = Passwords::default();
        let all = PASSWORDS_TOGETHER + PASSWORDS_WAITING_MAX;
        let held = Arc::clone(&passwords.waiting).acquire_many_owned(all as u32).await.unwrap();
        let error = passwords.hash("password".into()).await.unwrap_err();
        assert_eq!(error.status, 429);
        drop(held);
        assert!(passwords.hash("password".into()).await.is_ok());
    }
}
