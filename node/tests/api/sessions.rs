//! Signing in, as the page and as a program.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Node, PASSWORD, send};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_signs_in_with_a_cookie_and_writes_need_its_csrf_token() {
    let node = Node::start().await;
    let body = json!({ "username": "admin", "password": PASSWORD });
    let signed_in = send(node.anonymous(Method::POST, "/session").json(&body))
        .await
        .expect(200);
    let set_cookie = signed_in.header("set-cookie");
    assert!(set_cookie.starts_with("muster_session_"), "{set_cookie}");
    assert!(
        set_cookie.contains("; HttpOnly") && set_cookie.contains("; SameSite=Strict"),
        "{set_cookie}"
    );
    assert_eq!(signed_in.body["user"]["name"], "admin");
    assert_eq!(signed_in.body["user"]["role"], "admin");

    let (cookie, csrf) = node.session().await;
    let with_cookie = |method: Method, path: &str| {
        node.anonymous(method, path)
            .header("cookie", cookie.clone())
    };
    let session = send(with_cookie(Method::GET, "/session")).await.expect(200);
    assert_eq!(session.body["csrf_token"], csrf);
    send(with_cookie(Method::GET, "/v1/incidents"))
        .await
        .expect(200);

    let incident = json!({ "title": "Dam" });
    let refused = send(with_cookie(Method::POST, "/v1/incidents").json(&incident))
        .await
        .expect(403);
    assert_eq!(refused.code(), "csrf");
    let wrong = with_cookie(Method::POST, "/v1/incidents")
        .header("x-csrf-token", "x")
        .json(&incident);
    send(wrong).await.expect(403);
    let right = with_cookie(Method::POST, "/v1/incidents")
        .header("x-csrf-token", &csrf)
        .json(&incident);
    send(right).await.expect(201);

    send(with_cookie(Method::DELETE, "/session"))
        .await
        .expect(403);
    let gone = send(with_cookie(Method::DELETE, "/session").header("x-csrf-token", &csrf))
        .await
        .expect(204);
    assert!(gone.header("set-cookie").contains("Max-Age=0"));
    send(with_cookie(Method::GET, "/session")).await.expect(401);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_and_a_wrong_password_look_the_same() {
    let node = Node::start().await;
    let sign_in = |username: &str, password: &str| {
        let body = json!({ "username": username, "password": password });
        send(node.anonymous(Method::POST, "/session").json(&body))
    };
    let wrong_password = sign_in("admin", "not the password").await.expect(401);
    let wrong_name = sign_in("nobody", PASSWORD).await.expect(401);
    assert_eq!(wrong_password.text, wrong_name.text);
    let missing = send(
        node.anonymous(Method::POST, "/session")
            .json(&json!({ "user": "admin" })),
    )
    .await
    .expect(422);
    let mut pointers = missing.pointers();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/password", "/user", "/username"]);
    // A form can be sent across sites without asking; JSON cannot.
    let form = node
        .anonymous(Method::POST, "/session")
        .form(&[("username", "admin"), ("password", PASSWORD)]);
    send(form).await.expect(415);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down_and_says_for_how_long() {
    let node = Node::start().await;
    let mut refused = None;
    for _ in 0..20 {
        let answer = node.password_token("somebody", "guess").await;
        if answer.status.as_u16() == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.body["error"], "invalid_grant", "{}", answer.text);
    }
    let refused = refused.expect("a refusal within 20 guesses");
    assert_eq!(refused.code(), "too-many-attempts");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    // The others are not kept out by it.
    node.password_token("admin", PASSWORD).await.expect(200);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_tokens_by_password_refresh_and_credentials() {
    let node = Node::start().await;
    let by_password = node.password_token("admin", PASSWORD).await.expect(200);
    assert_eq!(by_password.header("cache-control"), "no-store");
    assert_eq!(by_password.body["token_type"], "Bearer");
    assert_eq!(by_password.body["expires_in"], 3600);
    let refresh = by_password.body["refresh_token"].as_str().unwrap();

    let renewed = node
        .token_request(&[("grant_type", "refresh_token"), ("refresh_token", refresh)])
        .await
        .expect(200);
    let token = renewed.body["access_token"].as_str().unwrap();
    send(node.anonymous(Method::GET, "/v1/status").bearer_auth(token))
        .await
        .expect(200);
    // Once more within the minute: the first answer may have been lost on the way.
    node.token_request(&[("grant_type", "refresh_token"), ("refresh_token", refresh)])
        .await
        .expect(200);
    // A refresh token opens nothing by itself, an access token renews nothing.
    send(
        node.anonymous(Method::GET, "/v1/status")
            .bearer_auth(refresh),
    )
    .await
    .expect(401);
    let wrong = node
        .token_request(&[("grant_type", "refresh_token"), ("refresh_token", token)])
        .await
        .expect(400);
    assert_eq!(wrong.body["error"], "invalid_grant");

    let credentials = [
        ("grant_type", "client_credentials"),
        ("client_id", "admin"),
        ("client_secret", PASSWORD),
    ];
    let by_credentials = node.token_request(&credentials).await.expect(200);
    assert!(by_credentials.body.get("refresh_token").is_none());
    let basic = node
        .anonymous(Method::POST, "/oauth/token")
        .basic_auth("admin", Some("wrong"))
        .form(&[("grant_type", "client_credentials")]);
    let refused = send(basic).await.expect(401);
    assert_eq!(refused.body["error"], "invalid_client");
    assert!(refused.header("www-authenticate").starts_with("Basic"));

    let unknown = node
        .token_request(&[("grant_type", "magic")])
        .await
        .expect(400);
    assert_eq!(unknown.body["error"], "unsupported_grant_type");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_what_the_old_one_opened() {
    let node = Node::start().await;
    let (cookie, _) = node.session().await;
    let admin = node::app::Caller::socket();
    node.app
        .set_password(&admin, "admin", "another password".into())
        .await
        .unwrap();
    node.get("/v1/status").await.expect(401);
    send(
        node.anonymous(Method::GET, "/session")
            .header("cookie", cookie),
    )
    .await
    .expect(401);
    assert_eq!(
        node.password_token("admin", PASSWORD)
            .await
            .expect(400)
            .body["error"],
        "invalid_grant"
    );
    node.password_token("admin", "another password")
        .await
        .expect(200);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_added_once_and_their_hashes_never_shown() {
    let node = Node::start().await;
    let admin = node::app::Caller::socket();
    let user = node
        .app
        .add_user(&admin, "eva", "eva's password".into(), "admin")
        .await
        .unwrap();
    assert_eq!(user["name"], "eva");
    assert!(
        node.app
            .add_user(&admin, "eva", "eva's password".into(), "admin")
            .await
            .is_err()
    );
    assert!(
        node.app
            .add_user(&admin, "bad name!", "eva's password".into(), "admin")
            .await
            .is_err()
    );
    assert!(
        node.app
            .add_user(&admin, "tom", "short".into(), "admin")
            .await
            .is_err()
    );
    assert!(
        node.app
            .add_user(&admin, "tom", "long enough".into(), "emperor")
            .await
            .is_err()
    );
    let users = node.app.list_users(&admin).await.unwrap();
    assert_eq!(users.len(), 2);
    assert!(!json!(users).to_string().contains("argon2"), "{users:?}");
    node.password_token("eva", "eva's password")
        .await
        .expect(200);
    // There is no way to users over HTTP.
    node.get("/v1/users").await.expect(404);
    node.stop().await;
}
