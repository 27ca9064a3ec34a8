//! Passwords: argon2id in PHC strings, computed off the runtime's threads and never by more than two at once.
//!
//! Invariant: whatever name and password come in, about the same work is done, so that the time of an answer does not
//! tell whether the name exists.

use std::sync::{Arc, LazyLock};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use domain::FieldError;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::app::AppError;

/// Argon2 at once: each takes 19 MiB and a core for some 30 ms, and a Raspberry Pi has other work.
const RUNNING_MAX: usize = 2;
/// Waiting for one of them: about a second of work; whoever comes later is told so.
const WAITING_MAX: usize = 32;

/// A password may hold so many bytes: longer than any sentence, short enough to hash at once.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// NIST SP 800-63B §3.1.1.2: at least 8 characters where a password is the only factor that this node asks for.
const PASSWORD_CHARS_MIN: usize = 8;

/// Bounds on the parameters of a hash that came from another node: a member must not be able to stop this one by a
/// user whose hash takes 4 GiB. Four times what we write ourselves.
const MEMORY_KIB_MAX: u32 = 4 * Params::DEFAULT_M_COST;
const PASSES_MAX: u32 = 4 * Params::DEFAULT_T_COST;

/// The hash that a name without a user is compared with.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash_now(b"nobody").unwrap_or_default());

pub(super) struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Passwords {
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// A PHC string for a new password.
    pub(super) async fn hash(&self, password: Zeroizing<String>) -> Result<String, AppError> {
        check(&password)?;
        self.run(move || hash_now(password.as_bytes()))
            .await?
            .ok_or_else(|| AppError::Fault {
                context: "hash a password",
                source: "argon2 refused its parameters".into(),
            })
    }

    /// Whether the password belongs to the hash; `None` for a user who does not exist or has no password.
    pub(super) async fn verify(
        &self,
        password: Zeroizing<String>,
        hash: Option<String>,
    ) -> Result<bool, AppError> {
        self.run(move || match hash.filter(|hash| is_affordable(hash)) {
            Some(hash) => verify_now(&password, &hash),
            None => {
                verify_now(&password, &NOBODY);
                false
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AppError> {
        let _waiting = self
            .waiting
            .try_acquire()
            .map_err(|_| AppError::Busy { retry_after_s: 2 })?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| AppError::Busy { retry_after_s: 2 })?;
        // The permit goes with the work: a caller who hangs up does not make room for a third.
        tokio::task::spawn_blocking(move || {
            let _running = running;
            work()
        })
        .await
        .map_err(|error| AppError::Fault {
            context: "check a password",
            source: error.into(),
        })
    }
}

fn check(password: &str) -> Result<(), AppError> {
    let detail = if password.chars().count() < PASSWORD_CHARS_MIN {
        format!("needs at least {PASSWORD_CHARS_MIN} characters")
    } else if password.len() > PASSWORD_BYTES_MAX {
        format!("may hold {PASSWORD_BYTES_MAX} bytes")
    } else {
        return Ok(());
    };
    Err(AppError::Invalid(vec![FieldError {
        pointer: "/password".into(),
        detail,
    }]))
}

fn hash_now(password: &[u8]) -> Option<String> {
    let salt: [u8; 16] = rand::random();
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password, &salt)
        .ok()?;
    Some(hash.to_string())
}

fn verify_now(password: &str, hash: &str) -> bool {
    password.len() <= PASSWORD_BYTES_MAX
        && Argon2::default()
            .verify_password(password.as_bytes(), hash)
            .is_ok()
}

fn is_affordable(hash: &str) -> bool {
    PasswordHash::new(hash)
        .ok()
        .and_then(|hash| Params::try_from(&hash).ok())
        .is_some_and(|params| {
            params.m_cost() <= MEMORY_KIB_MAX
                && params.t_cost() <= PASSES_MAX
                && params.p_cost() <= 8
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_fits_its_hash() {
        let passwords = Passwords::new();
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(
            passwords
                .verify(secret("correct horse"), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(secret("correct cow"), Some(hash))
                .await
                .unwrap()
        );
        assert!(!passwords.verify(secret("nobody"), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_short_password_is_refused_with_its_place() {
        let error = Passwords::new().hash(secret("1234567")).await.unwrap_err();
        assert!(matches!(error, AppError::Invalid(errors) if errors[0].pointer == "/password"));
    }

    #[test]
    fn a_hash_that_would_take_the_machine_down_is_not_computed() {
        let salt_and_hash = "c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(is_affordable(&format!(
            "$argon2id$v=19$m=19456,t=2,p=1${salt_and_hash}"
        )));
        assert!(!is_affordable(&format!(
            "$argon2id$v=19$m=4194304,t=2,p=1${salt_and_hash}"
        )));
        assert!(!is_affordable(&format!(
            "$argon2id$v=19$m=19456,t=4000000,p=1${salt_and_hash}"
        )));
        assert!(!is_affordable("not a hash"));
    }
}
