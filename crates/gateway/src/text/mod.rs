//! Every word that a person reads, in every language (Fluent files in `locales/`). What must never happen here: a text in
//! one language only, or markup (templates escape what comes from here).

use fluent_templates::fluent_bundle::FluentValue;
use fluent_templates::{LanguageIdentifier, static_loader};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

static_loader! {
    static LOCALES = {
        locales: "./locales",
        fallback_language: "en",
        // The isolation marks (U+2068, U+2069) would be copied along with a command.
        customise: |bundle| bundle.set_use_isolating(false),
    };
}

/// A language that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// English.
    En,
    /// Chinese as written in Taiwan.
    ZhTw,
}

impl Language {
    /// Every one.
    pub const ALL: &'static [Self] = &[Self::En, Self::ZhTw];

    /// Its BCP 47 tag, as in the configuration and in `lang` attributes.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::ZhTw => "zh-TW",
        }
    }

    /// Its own name for itself.
    #[must_use]
    pub fn own_name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::ZhTw => "繁體中文",
        }
    }

    /// The language with this tag.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|language| language.tag().eq_ignore_ascii_case(tag))
    }

    /// Those of the configuration that we have; all, if it names none that we have.
    #[must_use]
    pub fn offered(tags: &[String]) -> Vec<Self> {
        let offered: Vec<Self> = tags.iter().filter_map(|tag| Self::of_tag(tag)).collect();
        if offered.is_empty() { Self::ALL.to_vec() } else { offered }
    }

    /// The offered language that an Accept-Language header (RFC 9110 section 12.5.4) likes best; the first one offered,
    /// if it likes none.
    #[must_use]
    pub fn accepted(header: &str, offered: &[Self]) -> Self {
        let mut best: Option<(u32, Self)> = None;
        for range in header.split(',').take(32) {
            let mut parts = range.split(';').map(str::trim);
            let range = parts.next().unwrap_or("");
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1000), weight);
            let (Some(language), Some(weight)) = (Self::of_range(range, offered), weight) else { continue };
            if offered.contains(&language) && weight > 0 && best.is_none_or(|(most, _)| weight > most) {
                best = Some((weight, language));
            }
        }
        best.map(|(_, language)| language).or_else(|| offered.first().copied()).unwrap_or(Self::En)
    }

    /// Hong Kong, Macau and "Chinese" without more read the traditional characters; `zh-Hans` and `zh-CN` ask for others.
    fn of_range(range: &str, offered: &[Self]) -> Option<Self> {
        let range = range.to_ascii_lowercase();
        let mut parts = range.split('-');
        match parts.next()? {
            "en" => Some(Self::En),
            "zh" => match parts.next() {
                None | Some("hant" | "tw" | "hk" | "mo") => Some(Self::ZhTw),
                _ => None,
            },
            "*" => offered.first().copied(),
            _ => None,
        }
    }

    /// The text of this key.
    #[must_use]
    pub fn say(self, key: &str) -> String {
        self.look_up(key, None)
    }

    /// The text of this key with one value in it.
    #[must_use]
    pub fn with<'a>(self, key: &str, name: &'static str, value: impl Into<FluentValue<'a>>) -> String {
        self.look_up(key, Some(&HashMap::from([(Cow::Borrowed(name), value.into())])))
    }

    /// The text of this key with two values in it.
    #[must_use]
    pub fn with2<'a>(
        self,
        key: &str,
        first: (&'static str, impl Into<FluentValue<'a>>),
        second: (&'static str, impl Into<FluentValue<'a>>),
    ) -> String {
        let values = [(Cow::Borrowed(first.0), first.1.into()), (Cow::Borrowed(second.0), second.1.into())];
        self.look_up(key, Some(&HashMap::from(values)))
    }

    /// A length of time as one says it, rounded up: "40 seconds", "3 minutes", "2 days".
    #[must_use]
    pub fn span(self, length: Duration) -> String {
        let seconds = length.as_secs() + u64::from(length.subsec_nanos() > 0);
        let (key, count) = match seconds {
            0..=90 => ("span-seconds", seconds.max(1)),
            91..=5_400 => ("span-minutes", seconds.div_ceil(60)),
            5_401..=129_600 => ("span-hours", seconds.div_ceil(3_600)),
            _ => ("span-days", seconds.div_ceil(86_400)),
        };
        self.with(key, "count", count)
    }

    fn look_up(self, key: &str, values: Option<&HashMap<Cow<'static, str>, FluentValue<'_>>>) -> String {
        // A missing key shows itself on the page; the tests of this module keep it from ever being missing.
        LOCALES.lookup_single_language(self.identifier(), key, values).unwrap_or_else(|_| key.to_owned())
    }

    fn identifier(self) -> &'static LanguageIdentifier {
        static EN: LazyLock<LanguageIdentifier> = LazyLock::new(|| Language::En.tag().parse().unwrap_or_default());
        static ZH_TW: LazyLock<LanguageIdentifier> = LazyLock::new(|| Language::ZhTw.tag().parse().unwrap_or_default());
        match self {
            Self::En => &EN,
            Self::ZhTw => &ZH_TW,
        }
    }
}

/// A weight in thousandths (RFC 9110 section 12.4.2).
fn weight(text: &str) -> Option<u32> {
    let value: f32 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000 after the clamp")]
    Some((value.clamp(0.0, 1.0) * 1000.0) as u32)
}

#[cfg(test)]
mod tests;
