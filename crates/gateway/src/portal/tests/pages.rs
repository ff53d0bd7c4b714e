//! The pages, as a browser without a script sees them.

use super::*;
use kmsgate_core::reason::Reason;

/// Signs alice in; what a browser sends from then on.
async fn signed_in(portal: &Running) -> String {
    let came = portal.form(ALICE, &[]).await;
    assert_eq!((came.status, came.header("location")), (303, Some("/grant")), "{came:?}");
    format!("kmsgate={}", came.cookie("kmsgate").unwrap())
}

fn last(portal: &Running) -> GrantId {
    portal.desk.memory.lock().unwrap().grants.last().unwrap().id
}

#[tokio::test]
async fn every_answer_wears_the_strict_headers() {
    let portal = start().await;
    for path in ["/", "/help", "/nothing", "/api/v1/status", "/api/v1/nothing", "/assets/kmsgate.css"] {
        let came = portal.get(path, &[]).await;
        let policy = came.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "style-src 'self'",
            "img-src 'self'",
            "script-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.split("; ").any(|found| found == part), "{path}: {part}");
        }
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(came.header(name), Some(value), "{path}");
        }
        assert_eq!(came.header("strict-transport-security"), None, "plain HTTP must not promise TLS");
        let asset = path.starts_with("/assets/");
        assert_eq!(came.header("cache-control"), Some(if asset { "no-cache" } else { "no-store" }), "{path}");
        assert!(
            !came.body.contains("style=\"") && !came.body.contains("http://www") && !came.body.contains("https://")
        );
    }
}

#[tokio::test]
async fn the_whole_way_works_without_a_script() {
    let portal = start().await;
    let form = portal.get("/", &[]).await;
    assert!(form.body.contains("Sign in from the computer that is to be activated."));
    assert!(form.body.contains("Switch off any VPN"));
    assert!(form.body.contains("<code>127.0.0.1</code>"));
    let signed_in_answer = portal.form(ALICE, &[]).await;
    let line = signed_in_answer.headers("set-cookie").into_iter().find(|line| line.starts_with("kmsgate=")).unwrap();
    assert!(line.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{line}");
    assert!(line.len() >= "kmsgate=".len() + 43, "256 bits");
    let cookie = signed_in(&portal).await;
    let page = portal.get("/grant", &[("cookie", &cookie)]).await;
    assert_eq!(page.status, 200);
    for part in [
        "<h1>Open</h1>",
        "slmgr.vbs /skms 127.0.0.1:1688",
        "slmgr.vbs /ato",
        "ospp.vbs /sethst:127.0.0.1",
        "1 of 1 left",
    ] {
        assert!(page.body.contains(part), "{part}");
    }
    assert!(page.body.contains("<noscript><meta http-equiv=\"refresh\""));
    let history = portal.get("/history", &[("cookie", &cookie)]).await;
    assert!(history.body.contains("127.0.0.1") && history.body.contains("Open"));
    // Cancelling takes the session's token.
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let came = portal.send("POST", "/grant/cancel", &[kind, ("cookie", &cookie)], b"csrf=wrong").await;
    assert_eq!(came.status, 403);
    let body = format!("csrf={}", page.csrf());
    let foreign = [kind, ("cookie", cookie.as_str()), ("origin", "https://evil.example")];
    assert_eq!(portal.send("POST", "/grant/cancel", &foreign, body.as_bytes()).await.status, 403);
    assert!(portal.get("/grant", &[("cookie", &cookie)]).await.body.contains("<h1>Open</h1>"));
    let came = portal.send("POST", "/grant/cancel", &[kind, ("cookie", &cookie)], body.as_bytes()).await;
    assert_eq!((came.status, came.header("location")), (303, Some("/grant")));
    let page = portal.get("/grant", &[("cookie", &cookie)]).await;
    assert!(page.body.contains("You closed the window.") && !page.body.contains("http-equiv"));
    // Signing out ends the session, not only the cookie.
    let came = portal.send("POST", "/sign-out", &[kind, ("cookie", &cookie)], body.as_bytes()).await;
    assert!(came.header("set-cookie").unwrap().contains("Max-Age=0"));
    for path in ["/grant", "/history"] {
        let came = portal.get(path, &[("cookie", &cookie)]).await;
        assert_eq!((came.status, came.header("location")), (303, Some("/")));
    }
    assert_eq!(portal.get("/grant/events", &[("cookie", &cookie)]).await.status, 401);
}

#[tokio::test]
async fn the_scripts_say_what_the_page_says() {
    let portal = start().await;
    let page = portal.get("/grant", &[("cookie", &signed_in(&portal).await)]).await;
    for (path, asks) in [("/activate.cmd", "/skms %HOST%:%PORT%"), ("/activate.ps1", "/skms \"${server}:${port}\"")] {
        assert!(page.body.contains(&format!("href=\"{path}\"")), "{path}");
        let script = portal.get(path, &[]).await;
        assert_eq!((script.status, script.header("content-type")), (200, Some("text/plain; charset=us-ascii")));
        let name = path.trim_start_matches('/');
        assert_eq!(script.header("content-disposition"), Some(format!("attachment; filename=\"{name}\"").as_str()));
        for part in ["127.0.0.1", "1688", asks] {
            assert!(script.body.contains(part), "{part}: {}", script.body);
        }
        let foreign = portal.get(path, &[("host", "evil.example")]).await;
        assert_eq!(foreign.status, 421, "a stranger's host is in no script");
    }
}

#[tokio::test]
async fn f20_the_page_says_open_only_when_the_forwarder_confirmed() {
    let portal = start().await;
    let cookie = signed_in(&portal).await;
    let page = async || portal.get("/grant", &[("cookie", &cookie)]).await.body;
    let id = last(&portal);
    let now = portal.desk.now();
    let change = |change: &dyn Fn(&mut GrantRecord)| portal.desk.change(id, change).unwrap();
    change(&|grant| grant.state = State::Opening);
    assert!(page().await.contains("<h1>One moment</h1>"));
    change(&|grant| grant.state = State::Open);
    assert!(page().await.contains("<h1>Open</h1>"));
    change(&|grant| (grant.claims, grant.alive) = (1, 1));
    assert!(page().await.contains("<h1>Connected</h1>"));
    change(&|grant| grant.alive = 0);
    let body = page().await;
    assert!(body.contains("<h1>Done</h1>") && !body.contains("slmgr"));
    change(&|grant| (grant.claims, grant.given_back) = (0, 1));
    let body = page().await;
    assert!(body.contains("<h1>Open</h1>") && body.contains("did not answer the last connection"), "F07: it is said");
    change(&|grant| grant.window.deadline = now.boot);
    let body = page().await;
    assert!(body.contains("<h1>Time is over</h1>"), "past its end it is over, whether or not the closer has run");
    change(&|grant| grant.state = State::Closed(Cause::Revoked, Totals::default()));
    assert!(page().await.contains("An operator closed the window."));
}

#[tokio::test]
async fn a_wrong_password_brings_the_form_again_with_the_name_and_without_the_password() {
    let portal = start().await;
    portal.desk.say(Say::Refuse(Refusal::plain(Reason::InvalidCredentials)));
    let came = portal.form(b"username=al%22%3E%3Cscript%3E&password=hunter2", &[]).await;
    assert_eq!(came.status, 401);
    assert!(came.body.contains("value=\"al&#34;&#62;&#60;script&#62;\""), "{}", came.body);
    let came = portal.form(b"username=alice&password=hunter2", &[]).await;
    assert_eq!(came.status, 401);
    assert!(came.body.contains("value=\"alice\"") && came.body.contains("role=\"alert\""));
    assert!(!came.body.contains("hunter2") && !came.body.contains("<script>"));
}

#[tokio::test]
async fn a_refusal_is_read_out_with_both_fields_that_it_may_be_about() {
    let portal = start().await;
    let described = |page: &str| {
        let fields = page
            .split("<input ")
            .filter(|field| field.contains("name=\"username\"") || field.contains("name=\"password\""));
        fields.filter(|field| field.split('>').next().unwrap().contains("aria-describedby=\"notice\"")).count()
    };
    assert_eq!(described(&portal.get("/", &[]).await.body), 0, "nothing is there to be read");
    portal.desk.say(Say::Refuse(Refusal::plain(Reason::InvalidCredentials)));
    let came = portal.form(b"username=alice&password=hunter2", &[]).await;
    assert_eq!((described(&came.body), came.body.matches("id=\"notice\"").count()), (2, 1), "{}", came.body);
    for field in [
        "<label for=\"username\">",
        "<label for=\"password\">",
        "autocomplete=\"username\"",
        "autocomplete=\"current-password\"",
    ] {
        assert!(came.body.contains(field), "{field}");
    }
}

#[tokio::test]
async fn a_value_never_becomes_markup() {
    let portal = start().await;
    portal.desk.say(Say::Refuse(Refusal {
        message: Some("<script>alert(1)</script>".into()),
        ..Refusal::plain(Reason::InvalidCredentials)
    }));
    let came = portal.form(b"username=%22%3E%3Cb&password=x", &[]).await;
    assert!(!came.body.contains("\"><b") && !came.body.contains("<script>"), "{}", came.body);
}

#[tokio::test]
async fn the_language_is_chosen_and_kept() {
    let portal = start().await;
    let came = portal.get("/", &[("accept-language", "zh-HK,zh;q=0.9")]).await;
    assert!(came.body.contains("<html lang=\"zh-TW\">") && came.body.contains("請先關閉 VPN"));
    let came = portal.get("/?lang=zh-TW", &[]).await;
    assert!(came.body.contains("<html lang=\"zh-TW\">"));
    let cookie = format!("kmsgate-lang={}", came.cookie("kmsgate-lang").unwrap());
    let came = portal.get("/help", &[("cookie", &cookie), ("accept-language", "en")]).await;
    assert!(came.body.contains("<html lang=\"zh-TW\">"));
    for odd in ["/?lang=xx", "/?lang=", "/?lang=%0d%0a", "/?lang=zh-TW%0d%0aset-cookie:x=y"] {
        let came = portal.get(odd, &[]).await;
        assert!(came.body.contains("<html lang=\"en\">") && came.cookie("kmsgate-lang").is_none(), "{odd}");
    }
}

#[tokio::test]
async fn a_bypass_address_is_told_that_it_needs_no_sign_in() {
    let desk = TestDesk {
        site: Mutex::new(Arc::new(site())),
        memory: Mutex::default(),
        bypassed: true,
        news: News::default(),
    };
    let portal = start_with(Arc::new(desk), limits(), None).await;
    assert!(portal.get("/", &[]).await.body.contains("You need not sign in here"));
}

#[tokio::test]
async fn services_are_offered_for_choice_only_if_there_is_one() {
    let portal = start().await;
    assert!(!portal.get("/", &[]).await.body.contains("<select"));
    let mut two = site();
    two.services.push(service("licences", 27000));
    two.services[1].protocol = Protocol::Tcp;
    *portal.desk.site.lock().unwrap() = Arc::new(two);
    assert!(portal.get("/", &[]).await.body.contains("<option value=\"licences\">"));
    let came = portal.form(b"username=alice&password=secret&service=licences", &[]).await;
    let cookie = format!("kmsgate={}", came.cookie("kmsgate").unwrap());
    let page = portal.get("/grant", &[("cookie", &cookie)]).await;
    assert!(page.body.contains("127.0.0.1:27000") && !page.body.contains("slmgr"));
}

#[tokio::test]
async fn what_a_page_names_is_there_and_may_be_kept() {
    let portal = start().await;
    let cookie = signed_in(&portal).await;
    let page = portal.get("/grant", &[("cookie", &cookie)]).await;
    let assets: Vec<&str> = page.body.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(assets.len() >= 3);
    for asset in assets {
        let came = portal.get(asset, &[]).await;
        assert_eq!(came.status, 200, "{asset}");
        assert_eq!(came.header("cache-control"), Some("public, max-age=31536000, immutable"));
    }
}
