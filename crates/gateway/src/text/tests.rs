//! No word is missing in any language.

use super::*;
use crate::portal::fault_keys;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const TEMPLATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
const LOCALE_FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/locales");

/// Every message with the variables that it uses.
fn messages(language: Language) -> BTreeMap<String, BTreeSet<String>> {
    let mut messages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in std::fs::read_dir(Path::new(LOCALE_FILES).join(language.tag())).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut current = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((key, _)) = line.split_once(" =").filter(|_| !line.starts_with([' ', '[', '*'])) {
                assert!(!messages.contains_key(key), "{key} is there twice in {}", language.tag());
                current = Some(messages.entry(key.to_owned()).or_default());
            }
            for part in line.split('$').skip(1) {
                let name: String = part.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
                current.as_mut().unwrap().insert(name);
            }
        }
    }
    messages
}

#[test]
fn every_language_has_every_word_with_the_same_values_in_it() {
    let english = messages(Language::En);
    assert!(english.len() > 150);
    for language in Language::ALL {
        assert_eq!(messages(*language), english, "{}", language.tag());
    }
}

#[test]
fn every_word_that_is_asked_for_is_there_and_no_other() {
    let there: BTreeSet<String> = messages(Language::En).into_keys().collect();
    let mut asked: BTreeSet<String> = fault_keys().into_iter().collect();
    asked.extend(
        ["fault-wait", "grant-left", "span-seconds", "span-minutes", "span-hours", "span-days"].map(str::to_owned),
    );
    for file in std::fs::read_dir(TEMPLATES).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for start in ["page.t(\"", "page.t1(\""] {
            asked.extend(text.split(start).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    assert_eq!(asked.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new(), "asked for but not there");
    assert_eq!(there.difference(&asked).collect::<Vec<_>>(), Vec::<&String>::new(), "there but never asked for");
}

#[test]
fn templates_hold_no_text_of_their_own() {
    // Names of products are the same in every language.
    let names = ["Windows", "Office", "·", "!"];
    for file in std::fs::read_dir(TEMPLATES).unwrap() {
        let path = file.unwrap().path();
        let mut text = std::fs::read_to_string(&path).unwrap();
        for (open, close) in [("{{", "}}"), ("{%", "%}"), ("<", ">")] {
            while let Some(start) = text.find(open) {
                let end = start + text[start..].find(close).unwrap() + close.len();
                text.replace_range(start..end, " ");
            }
        }
        let words: Vec<&str> = text
            .split_whitespace()
            .filter(|word| !names.contains(word) && word.chars().any(char::is_alphabetic))
            .collect();
        assert_eq!(words, Vec::<&str>::new(), "{}", path.display());
    }
}

#[test]
fn a_reader_gets_the_language_that_they_like_best() {
    let all = [Language::En, Language::ZhTw];
    for (header, language) in [
        ("", Language::En),
        ("zh-TW", Language::ZhTw),
        ("zh-Hant", Language::ZhTw),
        ("zh-Hant-HK,en;q=0.5", Language::ZhTw),
        ("zh-HK,zh;q=0.9,en;q=0.8", Language::ZhTw),
        ("ZH-tw;q=0.4, en-GB;q=0.8", Language::En),
        ("fr, zh;q=0.2", Language::ZhTw),
        ("zh-CN,en;q=0.5", Language::En),
        ("zh-CN,zh;q=0.9,en;q=0.8", Language::ZhTw),
        ("zh-TW;q=0", Language::En),
        ("*", Language::En),
        ("en;q=nonsense, zh-TW;q=0.1", Language::ZhTw),
        ("\u{0}\u{0},;;;=", Language::En),
    ] {
        assert_eq!(Language::accepted(header, &all), language, "{header:?}");
    }
    assert_eq!(Language::accepted("en", &[Language::ZhTw]), Language::ZhTw);
    assert_eq!(Language::offered(&["zh-TW".into(), "xx".into()]), [Language::ZhTw]);
    assert_eq!(Language::offered(&[]), all);
}

#[test]
fn a_length_of_time_is_said_as_people_say_it_and_never_too_short() {
    let say = |language: Language, milliseconds| language.span(Duration::from_millis(milliseconds));
    assert_eq!(say(Language::En, 0), "1 second");
    assert_eq!(say(Language::En, 1_001), "2 seconds");
    assert_eq!(say(Language::En, 90_000), "90 seconds");
    assert_eq!(say(Language::En, 121_000), "3 minutes");
    assert_eq!(say(Language::En, 5_401_000), "2 hours");
    assert_eq!(say(Language::En, 6 * 86_400_000), "6 days");
    assert_eq!(say(Language::ZhTw, 121_000), "3 分鐘");
}

#[test]
fn a_value_comes_through_as_it_is() {
    let text = Language::En.with("signed-in-as", "person", "alice@example.edu");
    assert_eq!(text, "Signed in as alice@example.edu", "without isolation marks");
}
