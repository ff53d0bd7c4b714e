//! The pages. They work without a script. What must never happen here: a word that is not in `locales/`, a change by GET.

use crate::answer::{self, Visit};
use crate::portal::ask::{self, Typed};
use crate::portal::fault::{Fault, Wrong};
use crate::portal::session::{self, Cookie};
use crate::portal::view::{self, Phase};
use crate::portal::visitor::Visitor;
use crate::portal::{Portal, Reply, api, assets, events, scripts};
use crate::text::Language;
use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use kmsgate_core::reason::{Cause, Reason};
use kmsgate_core::time::Now;
use kmsgate_ledger::records::{GrantRecord, Session};
use std::sync::Arc;

/// How many grants the history shows.
const HISTORY: usize = 50;

/// How often a page without a script asks again, in seconds.
const REFRESH: u64 = 5;

type Shared = State<Arc<Portal>>;
type Who = Extension<Arc<Visitor>>;

pub(crate) fn routes() -> Router<Arc<Portal>> {
    Router::new()
        .route("/", get(form).post(sign_in))
        .route("/grant", get(grant))
        .route("/grant/cancel", post(cancel))
        .route("/grant/events", get(live))
        .route("/history", get(history))
        .route("/sign-out", post(sign_out))
        .route("/help", get(help))
}

/// What every page has.
struct Page {
    language: Language,
    others: Vec<Language>,
    site: String,
    person: Option<String>,
    csrf: String,
    style: String,
    script: String,
    icon: String,
}

impl Page {
    fn t(&self, key: &str) -> String {
        self.language.say(key)
    }

    /// The commands as files.
    fn scripts(&self) -> [&'static str; 2] {
        scripts::NAMES
    }

    fn t1(&self, key: &str, name: &'static str, value: &str) -> String {
        self.language.with(key, name, value.to_owned())
    }
}

/// A service in the form's choice.
struct Choice {
    name: String,
    chosen: bool,
}

/// A box with words above what else is there.
struct Notice {
    title: String,
    detail: String,
    message: Option<String>,
    wait: Option<String>,
}

#[derive(Template)]
#[template(path = "form.html")]
struct FormPage {
    page: Page,
    notice: Option<Notice>,
    services: Vec<Choice>,
    username: String,
    source: Option<String>,
    bypassed: bool,
    standing: bool,
}

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage {
    page: Page,
    notice: Notice,
    to_form: bool,
}

#[derive(Template)]
#[template(path = "grant.html")]
struct GrantPage {
    page: Page,
    phase: Phase,
    title: String,
    detail: String,
    given_back: bool,
    shared: bool,
    remaining: u64,
    whole: u64,
    clock: String,
    ends_at: String,
    ends: String,
    left: u16,
    left_words: String,
    source: String,
    service: String,
    gateway: String,
    commands: Option<Commands>,
    refresh: u64,
}

/// What is typed on the person's computer. Commands are no words: the same in every language.
struct Commands {
    windows: Vec<String>,
    office: Vec<String>,
}

impl Commands {
    /// `slmgr.vbs` (Windows) and `ospp.vbs` (Office, volume licence) as their makers document them.
    fn new(host: &str, port: u16) -> Self {
        Self {
            windows: vec![format!("slmgr.vbs /skms {host}:{port}"), "slmgr.vbs /ato".to_owned()],
            office: vec![
                r#"cd /d "%ProgramFiles%\Microsoft Office\Office16""#.to_owned(),
                format!("cscript ospp.vbs /sethst:{host}"),
                format!("cscript ospp.vbs /setprt:{port}"),
                "cscript ospp.vbs /act".to_owned(),
            ],
        }
    }
}

/// A line of the history.
struct Line {
    at: String,
    shown: String,
    service: String,
    source: String,
    tone: &'static str,
    came: String,
}

#[derive(Template)]
#[template(path = "history.html")]
struct HistoryPage {
    page: Page,
    lines: Vec<Line>,
}

/// A refusal in the help.
struct Explained {
    name: &'static str,
    title: String,
    detail: String,
}

#[derive(Template)]
#[template(path = "help.html")]
struct HelpPage {
    page: Page,
    host: String,
    reasons: Vec<Explained>,
}

async fn form(State(portal): Shared, Extension(visitor): Who, headers: HeaderMap) -> Reply {
    let standing = match signed_in(&portal, &visitor, &headers).await? {
        Some(session) => match portal.desk.grant(session.grant).await? {
            Some(grant) => !Phase::of(&grant, portal.desk.now()).is_over(),
            None => false,
        },
        None => false,
    };
    Ok(form_page(&portal, &visitor, &headers, StatusCode::OK, None, "", None, standing))
}

async fn sign_in(State(portal): Shared, Extension(visitor): Who, headers: HeaderMap, body: Body) -> Reply {
    visitor.may_change(&headers)?;
    let body = ask::read(&headers, body, "application/x-www-form-urlencoded", portal.limits.body).await?;
    let asked = ask::form(&body)?;
    drop(body);
    let typed = asked.username.expose().to_owned();
    let wanted = asked.service.as_ref().map(|service| service.expose().to_owned());
    match admitted(&portal, &visitor, &headers, asked).await {
        Ok(granted) => {
            let cookie = granted.cookie.as_ref().ok_or(Wrong::Refused(Reason::Internal))?;
            let mut response = to("/grant");
            set_cookie(&mut response, &Cookie::Session.set(cookie.expose(), visitor.secure));
            set_cookie(&mut response, &Cookie::Form.clear(visitor.secure));
            Ok(response)
        }
        // With the name still in the form, so that only the password is to be typed again.
        Err(fault) if fault.mended_in_form() => {
            portal.turned_away(&visitor, &fault);
            let shown = if matches!(fault.wrong, Wrong::Name(_) | Wrong::NotText) { "" } else { typed.as_str() };
            let status = api::status_of(&fault);
            let notice = Some(Notice::of(&fault, &visitor));
            let mut page = form_page(&portal, &visitor, &headers, status, notice, shown, wanted.as_deref(), false);
            api::decorate(&fault, &mut page);
            Ok(page)
        }
        Err(fault) => Err(fault),
    }
}

async fn admitted(
    portal: &Portal,
    visitor: &Visitor,
    headers: &HeaderMap,
    asked: ask::Asked,
) -> Result<answer::Granted, Fault> {
    let cookie = Cookie::Form.read(headers, visitor.secure);
    if !session::is_form_token(asked.csrf.as_ref().map(Typed::expose), cookie) {
        return Err(Wrong::FormToken.into());
    }
    let service = visitor.service(asked.service.as_ref().map(Typed::expose))?;
    let source = visitor.source.clone().map_err(Wrong::NoSource)?;
    Ok(portal.desk.admit(asked.sign_in(service, source)?, Visit::Browser).await?)
}

async fn grant(State(portal): Shared, Extension(visitor): Who, headers: HeaderMap) -> Reply {
    let Some(session) = signed_in(&portal, &visitor, &headers).await? else { return Ok(to("/")) };
    let Some(grant) = portal.desk.grant(session.grant).await? else { return Ok(to("/")) };
    let page = Page::new(&visitor, &headers, Some(&session));
    Ok(html(StatusCode::OK, &GrantPage::new(page, &grant, &visitor, portal.desk.now())))
}

async fn live(State(portal): Shared, Extension(visitor): Who, headers: HeaderMap) -> Reply {
    visitor.may_change(&headers)?;
    let session = signed_in(&portal, &visitor, &headers).await?.ok_or(Wrong::Token)?;
    let grant = portal.desk.grant(session.grant).await?.ok_or(Wrong::NotFound)?;
    events::stream(&portal, grant.id)
}

async fn cancel(State(portal): Shared, Extension(visitor): Who, headers: HeaderMap, body: Body) -> Reply {
    let session = confirmed(&portal, &visitor, &headers, body).await?;
    if let Some(session) = session
        && let Some(grant) = portal.desk.grant(session.grant).await?
        && grant.state.unfinished()
    {
        portal.desk.close(grant.id, Cause::Cancelled).await?;
    }
    Ok(to("/grant"))
}

async fn sign_out(State(portal): Shared, Extension(visitor): Who, headers: HeaderMap, body: Body) -> Reply {
    if let Some(session) = confirmed(&portal, &visitor, &headers, body).await? {
        portal.desk.session_end(session.hash).await?;
    }
    let mut response = to("/");
    set_cookie(&mut response, &Cookie::Session.clear(visitor.secure));
    Ok(response)
}

async fn history(State(portal): Shared, Extension(visitor): Who, headers: HeaderMap) -> Reply {
    let Some(session) = signed_in(&portal, &visitor, &headers).await? else { return Ok(to("/")) };
    let grants = portal.desk.history(session.person.clone(), HISTORY).await?;
    let now = portal.desk.now();
    let page = Page::new(&visitor, &headers, Some(&session));
    let lines = grants.iter().map(|grant| Line::new(grant, &visitor, now)).collect();
    Ok(html(StatusCode::OK, &HistoryPage { page, lines }))
}

async fn help(State(portal): Shared, Extension(visitor): Who, headers: HeaderMap) -> Reply {
    let session = signed_in(&portal, &visitor, &headers).await?;
    let reasons = Reason::ALL.iter().filter(|reason| **reason != Reason::Abandoned).map(|reason| {
        let words = Fault::from(Wrong::Refused(*reason)).words(&visitor);
        Explained { name: reason.as_str(), title: words.title, detail: words.detail }
    });
    let page = Page::new(&visitor, &headers, session.as_ref());
    Ok(html(StatusCode::OK, &HelpPage { page, host: visitor.gateway_host(), reasons: reasons.collect() }))
}

/// A page for a fault that no form mends.
pub(crate) fn refused(visitor: &Visitor, fault: &Fault) -> Response {
    let notice = Notice::of(fault, visitor);
    let page = Page::with_token(visitor, String::new());
    let to_form = !matches!(fault.wrong, Wrong::PlainHttp | Wrong::Misdirected | Wrong::NoHost);
    let mut response = html(api::status_of(fault), &FaultPage { page, notice, to_form });
    api::decorate(fault, &mut response);
    response
}

#[expect(clippy::too_many_arguments, reason = "called from two places, each with all of it at hand")]
fn form_page(
    portal: &Portal,
    visitor: &Visitor,
    headers: &HeaderMap,
    status: StatusCode,
    notice: Option<Notice>,
    username: &str,
    wanted: Option<&str>,
    standing: bool,
) -> Response {
    let (page, fresh) = match Cookie::Form.read(headers, visitor.secure) {
        Some(cookie) => (Page::with_token(visitor, session::form_token(cookie)), None),
        None => match answer::Secret::draw() {
            Ok(cookie) => (Page::with_token(visitor, session::form_token(cookie.expose())), Some(cookie)),
            Err(_) => return Fault::from(Wrong::Refused(Reason::Internal)).into_response(),
        },
    };
    let services = visitor.site.services.iter().map(|service| service.terms.service.as_str()).collect::<Vec<_>>();
    let wanted = wanted.or(services.first().copied());
    let bypassed = match (&visitor.source, wanted.and_then(|wanted| visitor.service(Some(wanted)).ok())) {
        (Ok(source), Some(service)) => portal.desk.bypasses(*source, &service),
        _ => false,
    };
    let mut response = html(
        status,
        &FormPage {
            page,
            notice,
            services: services
                .iter()
                .map(|name| Choice { name: (*name).to_owned(), chosen: Some(*name) == wanted })
                .collect(),
            username: username.chars().take(256).collect(),
            source: visitor.source.as_ref().ok().map(ToString::to_string),
            bypassed,
            standing,
        },
    );
    if let Some(cookie) = fresh {
        set_cookie(&mut response, &Cookie::Form.set(cookie.expose(), visitor.secure));
    }
    response
}

async fn signed_in(portal: &Portal, visitor: &Visitor, headers: &HeaderMap) -> Result<Option<Session>, Fault> {
    match Cookie::Session.read(headers, visitor.secure) {
        Some(cookie) => Ok(portal.desk.session(answer::hash(cookie)).await?),
        None => Ok(None),
    }
}

/// The session of a form that changes something: same origin, and with the token bound to the session's cookie.
async fn confirmed(
    portal: &Portal,
    visitor: &Visitor,
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<Session>, Fault> {
    visitor.may_change(headers)?;
    let body = ask::read(headers, body, "application/x-www-form-urlencoded", portal.limits.body).await?;
    let token = ask::token_only(&body)?;
    let cookie = Cookie::Session.read(headers, visitor.secure);
    if !session::is_form_token(token.as_ref().map(Typed::expose), cookie) {
        return Err(Wrong::FormToken.into());
    }
    signed_in(portal, visitor, headers).await
}

impl Page {
    fn new(visitor: &Visitor, headers: &HeaderMap, session: Option<&Session>) -> Self {
        let cookie = Cookie::Session.read(headers, visitor.secure);
        let mut page = Self::with_token(visitor, cookie.map(session::form_token).unwrap_or_default());
        page.person = session.map(|session| session.person.name.to_string());
        page
    }

    fn with_token(visitor: &Visitor, csrf: String) -> Self {
        let offered = Language::offered(&visitor.site.portal.languages);
        Self {
            language: visitor.language,
            others: offered.into_iter().filter(|other| *other != visitor.language).collect(),
            site: visitor.site.portal.title.clone(),
            person: None,
            csrf,
            style: assets::STYLE.address(),
            script: assets::SCRIPT.address(),
            icon: assets::ICON.address(),
        }
    }
}

impl Notice {
    fn of(fault: &Fault, visitor: &Visitor) -> Self {
        let words = fault.words(visitor);
        Self { title: words.title, detail: words.detail, message: words.message, wait: words.wait }
    }
}

impl GrantPage {
    fn new(page: Page, grant: &GrantRecord, visitor: &Visitor, now: Now) -> Self {
        let language = page.language;
        let phase = Phase::of(grant, now);
        let left = view::left(grant, now);
        let remaining = if phase.is_over() { 0 } else { now.boot.until(grant.window.deadline).as_secs() };
        let (host, port) = (visitor.gateway_host(), view::port(grant, &visitor.site));
        let whole = grant.window.ends_at.duration_since(grant.window.opened_at).as_secs();
        Self {
            phase,
            title: language.say(&format!("phase-{}-title", phase.key())),
            detail: language.say(&format!("phase-{}-detail", phase.key())),
            given_back: grant.given_back > 0 && !phase.is_over(),
            shared: grant.shared && !phase.is_over(),
            remaining,
            whole: u64::try_from(whole).unwrap_or(0).max(remaining).max(1),
            clock: clock(remaining),
            ends_at: view::rfc3339(grant.window.ends_at),
            ends: grant.window.ends_at.strftime("%H:%M:%S UTC").to_string(),
            left,
            left_words: language.with2("grant-left", ("left", left), ("of", grant.connections)),
            source: view::source(grant, &visitor.site),
            service: grant.service.to_string(),
            gateway: format!("{host}:{port}"),
            commands: view::is_kms(grant, &visitor.site).then(|| Commands::new(&host, port)),
            refresh: REFRESH.min(remaining + 1),
            page,
        }
    }
}

impl Line {
    fn new(grant: &GrantRecord, visitor: &Visitor, now: Now) -> Self {
        let phase = Phase::of(grant, now);
        Self {
            at: view::rfc3339(grant.window.opened_at),
            shown: grant.window.opened_at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
            service: grant.service.to_string(),
            source: view::source(grant, &visitor.site),
            tone: phase.tone(),
            came: visitor.language.say(&format!("phase-{}-short", phase.key())),
        }
    }
}

/// `3:20`, or `1:03:20`.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            response
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// 303, so that what follows is a GET whatever came before (RFC 9110 section 15.4.4).
fn to(place: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(place));
    response
}

fn set_cookie(response: &mut Response, line: &str) {
    // Built of a name, base64url and flags: always a valid field value.
    if let Ok(line) = HeaderValue::try_from(line) {
        response.headers_mut().append(SET_COOKIE, line);
    }
}
