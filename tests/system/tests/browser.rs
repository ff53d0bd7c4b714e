//! A person with a browser: signs in by keyboard, sees what happens, with scripts and without.

use kmsgate_system_tests::browser::Browser;
use kmsgate_system_tests::gateway::{Gateway, PASSWORD, Setup, at};
use kmsgate_system_tests::need;
use kmsgate_system_tests::provider::{Manner, Provider};

const HEADING: &str = "document.querySelector('h1').textContent";

fn url(gateway: &Gateway, path: &str) -> String {
    format!("http://{}{path}", gateway.portal())
}

/// From the form to the page of the grant. The browser's address is 127.0.0.1.
fn sign_in(browser: &mut Browser, gateway: &Gateway) {
    browser.open(&url(gateway, "/"));
    browser.type_into("#username", "alice");
    browser.type_into("#password", PASSWORD);
    browser.press_enter();
    browser.until("the page of the grant", "location.pathname === '/grant' && document.querySelector('#clock')");
}

#[test]
fn f20_a_browser_shows_what_happens_without_a_reload() {
    need!("chromium", "/usr/bin/chromium", "chromium");
    for language in ["en", "zh-TW"] {
        let provider = Provider::start(Manner::Echo);
        let gateway = Setup::new(provider.address).start();
        let mut browser = Browser::start(language);
        sign_in(&mut browser, &gateway);
        assert_eq!(browser.text("document.documentElement.lang"), language);
        browser.look("window.untouched = true");

        let clock = browser.text("document.querySelector('#clock').textContent");
        browser.until("a tick", &format!("document.querySelector('#clock').textContent !== {clock:?}"));
        let open = browser.text(HEADING);
        let connection = gateway.connect(at(0, 1)).through();
        browser.until("the connection", &format!("{HEADING} !== {open:?}"));
        let connected = browser.text(HEADING);
        drop(connection);
        browser.until("the end", &format!("{HEADING} !== {connected:?} && !document.querySelector('#clock')"));

        assert_ne!(browser.text(HEADING), open);
        assert_eq!(browser.look("window.untouched === true"), true, "the page was loaded again");
        assert_eq!(browser.complaints(), [""; 0]);
    }
}

#[test]
fn f20_without_scripts_the_page_brings_itself_up_to_date_and_cancels() {
    need!("chromium", "/usr/bin/chromium", "chromium");
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).without_limits().start();
    let mut browser = Browser::start("en");
    browser.without_scripts();
    sign_in(&mut browser, &gateway);
    let open = browser.text(HEADING);
    let connection = gateway.connect(at(0, 1)).through();
    browser.until("the connection", &format!("{HEADING} !== {open:?}"));
    browser.click("form.cancel button");
    browser.until("the end", "location.pathname === '/grant' && !document.querySelector('form.cancel')");
    let grants = gateway.grants();
    assert_eq!((grants[0].state, grants[0].cause.as_deref()), ("closed", Some("cancelled")));
    assert_eq!(provider.until_ended(1).len(), 1, "the connection was ended with it");
    drop(connection);
    assert_eq!(browser.complaints(), [""; 0]);
}

/// A wrong password keeps the name and says what to do; the next try goes on from there.
#[test]
fn a_mistyped_password_is_one_field_to_type_again() {
    need!("chromium", "/usr/bin/chromium", "chromium");
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let mut browser = Browser::start("en");
    browser.open(&url(&gateway, "/"));
    assert_eq!(browser.text("document.activeElement.id"), "username");
    browser.type_into("#username", "alice");
    browser.type_into("#password", "wrong horse");
    browser.press_enter();
    browser.until("the refusal", "document.querySelector('#notice')");
    assert_eq!(browser.text("document.querySelector('#username').value"), "alice");
    assert_eq!(browser.text("document.activeElement.id"), "password");
    assert_eq!(browser.text("document.activeElement.value"), "", "a password is not sent back");
    browser.type_into("#password", PASSWORD);
    browser.press_enter();
    browser.until("the page of the grant", "location.pathname === '/grant' && document.querySelector('#clock')");
}

/// Texts that stand out too little against what is behind them: WCAG 2.2, success criterion 1.4.3.
const FAINT: &str = "(() => {
  const parts = (color) => color.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parts(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')]
    .filter((element) => element.checkVisibility() && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((element) => {
      const [one, other] = [light(parts(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
      const size = parseFloat(getComputedStyle(element).fontSize);
      const needed = size >= 24 || size >= 18.66 && getComputedStyle(element).fontWeight >= 700 ? 3 : 4.5;
      return [(one + 0.05) / (other + 0.05), needed, element.textContent.trim().slice(0, 40)];
    })
    .filter(([contrast, needed]) => contrast < needed)
    .map(([contrast, , text]) => contrast.toFixed(2) + ' ' + text);
})()";

#[test]
fn every_page_fits_a_telephone_and_can_be_read_by_day_and_night() {
    need!("chromium", "/usr/bin/chromium", "chromium");
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let mut browser = Browser::start("zh-TW");
    sign_in(&mut browser, &gateway);
    for scheme in ["light", "dark"] {
        browser.looks(360, 640, scheme);
        for path in ["/", "/?lang=en", "/help", "/help?lang=en", "/grant", "/grant?lang=en", "/history", "/nothing"] {
            browser.open(&url(&gateway, path));
            let width = browser.look("document.documentElement.scrollWidth");
            assert_eq!(width, 360, "{path} is wider than the telephone");
            let faint = browser.look(FAINT);
            assert_eq!(faint, serde_json::json!([]), "{path}, {scheme}");
        }
    }
}
