//! Users, sessions and tokens: the only place that makes a [`Caller`] for a person.
//!
//! Users are documents and replicate, so whoever has a password has it on every node. Sessions and tokens are this node's
//! own and only their hashes are stored: a stolen database opens nothing. Invariants:
//!
//! - a token is good while its user exists, is not disabled and still has the password that the token came from; each
//!   use looks, so a password that was changed on another node ends the sessions here when that change arrives;
//! - a password is judged only after the attempt was counted ([`attempts`]).

mod attempts;
mod password;

use std::net::IpAddr;

use data_encoding::BASE64URL_NOPAD;
use domain::permissions::{Action, Subject};
use domain::{FieldError, Kind, RecordId, ids};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{DocumentQuery, Reader, SessionRecord, SessionWrite, StoreError};
use sync_engine::ObjectId;
use uuid::Uuid;
use zeroize::Zeroizing;

use self::attempts::Attempts;
use self::password::Passwords;
use super::clock::rfc3339_wall;
use super::documents::{By, EditRequest, IfExists, Step};
use super::present::RowView;
use super::{App, AppError, Caller, Via};

/// A page that nobody touched for a shift is signed out.
const SESSION_MS: u64 = 12 * 3_600_000;
/// A session's end moves at most this often: each move is a write.
const SESSION_MOVE_MS: u64 = 10 * 60_000;
/// Access tokens are short, because programs renew them by themselves.
const ACCESS_MS: u64 = 3_600_000;
/// A gateway that was off for a month signs in anew.
const REFRESH_MS: u64 = 30 * 24 * 3_600_000;
/// A refresh token that was used stays good this long: on a bad link the answer with its successor gets lost.
const REFRESH_GRACE_MS: u64 = 60_000;

/// The first user of an operation.
pub const ADMIN: &str = "admin";
/// The role that may do everything.
const ADMIN_ROLE: &str = "admin";
/// Roles that a user can be given; more come with the features that tell them apart.
const ROLES: [&str; 1] = [ADMIN_ROLE];

/// What users are in the table of rights.
const USERS: Subject = Subject::Document(Kind::User);

/// Bytes of a token before encoding: 256 bits, nothing to guess.
const TOKEN_BYTES: usize = 32;

/// What this part of the app keeps in memory.
pub(in crate::app) struct Auth {
    attempts: Mutex<Attempts>,
    passwords: Passwords,
}

impl Auth {
    pub(in crate::app) fn new() -> Self {
        Auth {
            attempts: Mutex::new(Attempts::new()),
            passwords: Passwords::new(),
        }
    }
}

/// A fresh session of the page.
pub struct SignedIn {
    /// Goes into the cookie and nowhere else.
    pub session_token: String,
    /// Goes to the page, which sends it with every write.
    pub csrf_token: String,
    /// Who it is.
    pub caller: Caller,
}

/// A request for tokens (RFC 6749).
pub enum TokenRequest {
    /// §4.3.
    Password {
        /// Name of the user.
        username: String,
        /// Their password.
        password: String,
    },
    /// §6.
    Refresh {
        /// Of an earlier answer.
        refresh_token: String,
    },
    /// §4.4; a program is a user whose name is the client id.
    ClientCredentials {
        /// Name of the user.
        client_id: String,
        /// Their password.
        client_secret: String,
    },
}

/// Tokens.
pub struct TokenReply {
    /// Opaque.
    pub access_token: String,
    /// Seconds.
    pub expires_in_s: u64,
    /// Opaque; none for `client_credentials` (RFC 6749 §4.4.3).
    pub refresh_token: Option<String>,
}

/// What a stored session or token remembers of its user.
#[derive(Debug, Serialize, Deserialize)]
struct SessionData {
    /// [`stamp`] of the password hash at sign-in, in hex.
    stamp: String,
}

/// A user as their document says.
struct UserRow {
    id: RecordId,
    name: String,
    role: String,
    disabled: bool,
    password_hash: Option<String>,
}

const WRONG: AppError = AppError::Unauthenticated("the name or the password is wrong");
const ENDED: AppError = AppError::Unauthenticated("the session or token has ended: sign in again");

impl App {
    /// Signs a person in on the page.
    ///
    /// # Errors
    /// `Unauthenticated` for a wrong name or password alike, `TooMany` and `Busy` with a time to wait.
    pub async fn sign_in(
        &self,
        username: &str,
        password: String,
        remote: IpAddr,
    ) -> Result<SignedIn, AppError> {
        let user = self.judge(username, password, remote).await?;
        let token = new_token();
        let put = self.record(&token, "cookie", &user, rand::random(), SESSION_MS);
        let expire = SessionWrite::Expire {
            before_wall_ms: self.clock.wall_ms(),
        };
        self.store
            .write_sessions(vec![expire, SessionWrite::Put(put)])
            .await
            .map_err(written)?;
        let csrf_token = csrf_token(&token);
        Ok(SignedIn {
            session_token: token,
            csrf_token,
            caller: user.caller(Via::Session),
        })
    }

    /// Who holds this session cookie, and the session's CSRF token.
    ///
    /// # Errors
    /// `Unauthenticated` when it has ended.
    pub async fn session_caller(&self, token: &str) -> Result<(Caller, String), AppError> {
        let (record, user) = self.holder(token, "cookie").await?;
        let now_ms = self.clock.wall_ms();
        let end_ms = now_ms.saturating_add(SESSION_MS);
        if end_ms.saturating_sub(record.expires_wall_ms) > SESSION_MOVE_MS {
            // Nobody waits for it: on a full disk the session ends when it would have anyway.
            drop(
                self.store
                    .write_sessions(vec![SessionWrite::Put(SessionRecord {
                        expires_wall_ms: end_ms,
                        ..record
                    })]),
            );
        }
        Ok((user.caller(Via::Session), csrf_token(token)))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// Where it could not be stored; the session goes on then.
    pub async fn sign_out(&self, token: &str) -> Result<(), AppError> {
        let token_hash = token_hash(token);
        self.store
            .write_sessions(vec![SessionWrite::Delete { token_hash }])
            .await
            .map_err(written)
    }

    /// Gives tokens to a program.
    ///
    /// # Errors
    /// As [`App::sign_in`].
    pub async fn token(
        &self,
        request: TokenRequest,
        remote: IpAddr,
    ) -> Result<TokenReply, AppError> {
        let (user, family, used, with_refresh) = match request {
            TokenRequest::Password { username, password } => (
                self.judge(&username, password, remote).await?,
                rand::random(),
                None,
                true,
            ),
            TokenRequest::ClientCredentials {
                client_id,
                client_secret,
            } => (
                self.judge(&client_id, client_secret, remote).await?,
                rand::random(),
                None,
                false,
            ),
            TokenRequest::Refresh { refresh_token } => {
                let (record, user) = self.holder(&refresh_token, "refresh").await?;
                (user, record.family, Some(record), true)
            }
        };
        let now_ms = self.clock.wall_ms();
        let access_token = new_token();
        let mut writes = vec![
            SessionWrite::Expire {
                before_wall_ms: now_ms,
            },
            SessionWrite::Put(self.record(&access_token, "access", &user, family, ACCESS_MS)),
        ];
        let refresh_token = with_refresh.then(new_token);
        if let Some(token) = &refresh_token {
            writes.push(SessionWrite::Put(
                self.record(token, "refresh", &user, family, REFRESH_MS),
            ));
        }
        if let Some(used) = used {
            let expires_wall_ms = used
                .expires_wall_ms
                .min(now_ms.saturating_add(REFRESH_GRACE_MS));
            writes.push(SessionWrite::Put(SessionRecord {
                expires_wall_ms,
                ..used
            }));
        }
        self.store.write_sessions(writes).await.map_err(written)?;
        Ok(TokenReply {
            access_token,
            expires_in_s: ACCESS_MS / 1_000,
            refresh_token,
        })
    }

    /// Who holds this access token.
    ///
    /// # Errors
    /// `Unauthenticated` when it has ended.
    pub async fn caller_from_bearer(&self, token: &str) -> Result<Caller, AppError> {
        let (_, user) = self.holder(token, "access").await?;
        Ok(user.caller(Via::Token))
    }

    /// Makes a user: `{"id","name","role","disabled"}`.
    ///
    /// # Errors
    /// `Conflict` where the name is taken, `Invalid` with pointers.
    pub async fn add_user(
        &self,
        caller: &Caller,
        name: &str,
        password: String,
        role: &str,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Create, USERS)?;
        let mut fields = Map::new();
        fields.insert("name".into(), name.into());
        fields.insert("role".into(), role.into());
        domain::check_create(Kind::User, &fields).map_err(AppError::Invalid)?;
        if !ROLES.contains(&role) {
            let detail = format!("expected one of: {}", ROLES.join(", "));
            return Err(AppError::Invalid(vec![FieldError {
                pointer: "/role".into(),
                detail,
            }]));
        }
        let id = self.user_id(name);
        if self.user_row(id).await?.is_some() {
            return Err(AppError::Conflict(format!(
                "there is a user {name} already"
            )));
        }
        let hash = self.auth.passwords.hash(Zeroizing::new(password)).await?;
        fields.insert("password_hash".into(), hash.into());
        let create = Step::Create {
            kind: Kind::User,
            id,
            fields,
            by: By::Node,
            if_exists: IfExists::Refuse,
        };
        self.edit_user(caller, "user.add", vec![create]).await?;
        Ok(json!({ "id": id.to_string(), "name": name, "role": role, "disabled": false }))
    }

    /// Sets a user's password and ends their sessions, here at once and elsewhere when the change arrives.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` with pointers.
    pub async fn set_password(
        &self,
        caller: &Caller,
        name: &str,
        password: String,
    ) -> Result<(), AppError> {
        self.authorise(caller, Action::Edit, USERS)?;
        let id = self.user_id(name);
        if self.user_row(id).await?.is_none() {
            return Err(AppError::NotFound {
                what: "user",
                id: name.to_owned(),
            });
        }
        let hash = self.auth.passwords.hash(Zeroizing::new(password)).await?;
        let fields = Map::from_iter([("password_hash".to_owned(), Value::from(hash))]);
        let patch = Step::Patch {
            kind: Kind::User,
            id,
            base: None,
            fields,
            by: By::Node,
        };
        self.edit_user(caller, "user.password", vec![patch]).await?;
        self.store
            .write_sessions(vec![SessionWrite::DeleteUser {
                user: ObjectId(id.0),
            }])
            .await
            .map_err(written)
    }

    /// Every user: `{"id","name","display_name","role","disabled","created_at"}`, by name.
    ///
    /// # Errors
    /// `Forbidden`, or a fault of the store.
    pub async fn list_users(&self, caller: &Caller) -> Result<Vec<Value>, AppError> {
        self.authorise(caller, Action::Read, USERS)?;
        let rows = self
            .read(|reader| {
                reader.list_documents(&DocumentQuery::new(Kind::User.spec().code, USERS_MAX))
            })
            .await?;
        let mut users = Vec::with_capacity(rows.len());
        for row in rows {
            let view = row_view(&row.view)?;
            let field = |name: &str| view.fields.get(name).cloned().unwrap_or_default();
            users.push(json!({
                "id": Uuid::from_bytes(row.id.0).to_string(),
                "name": field("name"),
                "display_name": field("display_name"),
                "role": field("role"),
                "disabled": field("disabled"),
                "created_at": rfc3339_wall(row.created_wall_ms),
            }));
        }
        users.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        Ok(users)
    }

    /// Makes the first user where there is none; answers the password that was generated, to be shown once. With
    /// `password`, that one is set and nothing is answered.
    ///
    /// # Errors
    /// As [`App::add_user`].
    pub async fn ensure_admin(&self, password: Option<String>) -> Result<Option<String>, AppError> {
        if self.user_row(self.user_id(ADMIN)).await?.is_some() {
            return Ok(None);
        }
        let generated = password.is_none().then(generated_password);
        let password = password.or_else(|| generated.clone()).unwrap_or_default();
        self.add_user(&Caller::node(), ADMIN, password, ADMIN_ROLE)
            .await?;
        Ok(generated)
    }

    /// [`App::ensure_admin`] on the node that founded the operation, where the founding was cut off before its first user:
    /// without one nobody could ever sign in. On any other node the users arrive from elsewhere.
    ///
    /// # Errors
    /// As [`App::add_user`].
    pub async fn finish_founding(
        &self,
        password: Option<String>,
    ) -> Result<Option<String>, AppError> {
        let identity = self.read(|reader| reader.identity()).await?;
        if identity.is_none_or(|identity| identity.root_secret.is_none()) {
            return Ok(None);
        }
        self.ensure_admin(password).await
    }

    /// The user whose name and password these are.
    async fn judge(
        &self,
        username: &str,
        password: String,
        remote: IpAddr,
    ) -> Result<UserRow, AppError> {
        let now_ms = self.clock.uptime_ms();
        self.auth
            .attempts
            .lock()
            .begin(username, remote, now_ms)
            .map_err(|retry_after_s| AppError::TooMany { retry_after_s })?;
        let user = self
            .user_row(self.user_id(username))
            .await?
            .filter(|user| !user.disabled);
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let verdict = self
            .auth
            .passwords
            .verify(Zeroizing::new(password), hash)
            .await;
        // An attempt that this node was too busy to judge says nothing about who made it.
        if !matches!(verdict, Ok(false)) {
            self.auth.attempts.lock().clear(username, remote);
        }
        match user.filter(|_| matches!(verdict, Ok(true))) {
            Some(user) => Ok(user),
            None => {
                verdict?;
                metrics::counter!("muster_sign_in_refused_total").increment(1);
                Err(WRONG)
            }
        }
    }

    /// The stored session or token, and its user, if it is still good.
    async fn holder(
        &self,
        token: &str,
        kind: &'static str,
    ) -> Result<(SessionRecord, UserRow), AppError> {
        let hash = token_hash(token);
        let now_ms = self.clock.wall_ms();
        let found = self
            .read(move |reader| {
                let Some(record) = reader.session(&hash)? else {
                    return Ok(None);
                };
                let user = read_user(reader, &record.user)?;
                Ok(Some((record, user)))
            })
            .await?;
        let Some((record, Some(view))) = found else {
            return Err(ENDED);
        };
        let user = UserRow::from_view(RecordId(record.user.0), &view)?;
        let data: SessionData =
            serde_json::from_str(&record.data).map_err(|error| AppError::Fault {
                context: "read a session",
                source: error.into(),
            })?;
        let good = record.kind == kind
            && record.expires_wall_ms > now_ms
            && !user.disabled
            && data.stamp == stamp(&user);
        if good { Ok((record, user)) } else { Err(ENDED) }
    }

    async fn user_row(&self, id: RecordId) -> Result<Option<UserRow>, AppError> {
        let view = self
            .read(move |reader| read_user(reader, &ObjectId(id.0)))
            .await?;
        view.map(|view| UserRow::from_view(id, &view)).transpose()
    }

    fn user_id(&self, name: &str) -> RecordId {
        ids::stable_id(&self.operation_id().0, Kind::User, name)
    }

    fn record(
        &self,
        token: &str,
        kind: &str,
        user: &UserRow,
        family: [u8; 16],
        life_ms: u64,
    ) -> SessionRecord {
        let now_ms = self.clock.wall_ms();
        SessionRecord {
            token_hash: token_hash(token),
            kind: kind.to_owned(),
            user: ObjectId(user.id.0),
            family,
            created_wall_ms: now_ms,
            expires_wall_ms: now_ms.saturating_add(life_ms),
            data: json!(SessionData { stamp: stamp(user) }).to_string(),
        }
    }

    async fn edit_user(
        &self,
        caller: &Caller,
        action: &'static str,
        steps: Vec<Step>,
    ) -> Result<(), AppError> {
        let request = EditRequest {
            user: caller.user_id,
            actor: caller.name.clone(),
            action,
            steps,
            idempotency: None,
            rule_cursor: None,
        };
        self.documents.edit(request).await.map(drop)
    }
}

/// Users that a list shows; an operation has a few dozen.
const USERS_MAX: usize = 10_000;

impl UserRow {
    fn from_view(id: RecordId, view: &str) -> Result<Self, AppError> {
        let view = row_view(view)?;
        let text = |fields: &Map<String, Value>, name: &str| {
            fields.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        Ok(UserRow {
            id,
            name: text(&view.fields, "name").unwrap_or_default(),
            role: text(&view.fields, "role").unwrap_or_default(),
            disabled: view.fields.get("disabled") == Some(&Value::Bool(true)),
            password_hash: text(&view.secrets, "password_hash"),
        })
    }

    fn caller(self, via: Via) -> Caller {
        Caller {
            user_id: Some(self.id.0),
            name: self.name,
            role: self.role,
            via,
        }
    }
}

/// The view of a user who is not deleted.
fn read_user(reader: &Reader<'_>, id: &ObjectId) -> Result<Option<String>, StoreError> {
    let row = reader.get_document(Some(Kind::User.spec().code), id, None)?;
    Ok(row.filter(|row| !row.deleted).map(|row| row.view))
}

fn row_view(view: &str) -> Result<RowView, AppError> {
    serde_json::from_str(view).map_err(|error| AppError::Fault {
        context: "read a user",
        source: error.into(),
    })
}

fn written(error: StoreError) -> AppError {
    match error {
        StoreError::DiskFull => AppError::DiskFull,
        StoreError::Busy(_) => AppError::Busy { retry_after_s: 1 },
        other => AppError::Fault {
            context: "write a session",
            source: other.into(),
        },
    }
}

fn new_token() -> String {
    let bytes: [u8; TOKEN_BYTES] = rand::random();
    BASE64URL_NOPAD.encode(&bytes)
}

/// What is stored of a token. Tokens are random, so a plain hash is enough.
fn token_hash(token: &str) -> [u8; 32] {
    blake3::derive_key("muster 2026 session token hash v1", token.as_bytes())
}

/// Follows from the session's token, so it needs no place of its own; it does not tell the token.
fn csrf_token(token: &str) -> String {
    let key = blake3::derive_key("muster 2026 session csrf token v1", token.as_bytes());
    BASE64URL_NOPAD.encode(&key)
}

/// Changes with the password. Kept with each session instead of the hash itself.
fn stamp(user: &UserRow) -> String {
    let hash = user.password_hash.as_deref().unwrap_or_default();
    let stamp = blake3::derive_key("muster 2026 session password stamp v1", hash.as_bytes());
    BASE64URL_NOPAD.encode(&stamp[..16])
}

/// Twenty characters of five bits each, in groups: typed from a terminal into a phone without a mistake. No `i`, `l`,
/// `o`, `0` or `1`, which look alike (`x` fills the last of the 32 places).
fn generated_password() -> String {
    const CHARACTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789x";
    let random: [u8; 20] = rand::random();
    let characters: Vec<char> = random
        .iter()
        .map(|byte| char::from(CHARACTERS[usize::from(byte & 31)]))
        .collect();
    characters
        .chunks(5)
        .map(|group| group.iter().collect::<String>())
        .collect::<Vec<_>>()
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_is_long_and_can_be_read_aloud() {
        let password = generated_password();
        assert_eq!(password.len(), 23);
        assert!(password.chars().all(|c| !"ilo01".contains(c)), "{password}");
        assert_ne!(password, generated_password());
    }

    #[test]
    fn what_is_derived_from_a_token_differs_from_it_and_from_each_other() {
        let token = new_token();
        assert_ne!(csrf_token(&token), token);
        assert_ne!(
            BASE64URL_NOPAD.encode(&token_hash(&token)),
            csrf_token(&token)
        );
        assert_ne!(token, new_token());
    }
}
