//! What a value of the file may be: a length of time, an address, a network, a URL, a path, a secret.

use super::read::{At, Value, nearest};
use ipnet::IpNet;
use kmsgate_accounts::secret::Secret;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// Longest secret read from a file or the environment, in bytes.
const LONGEST_SECRET: usize = 4096;

/// A text.
pub(crate) fn text(value: Value<'_, '_>) -> Option<String> {
    value.text().map(str::to_owned)
}

/// `true` or `false`.
pub(crate) fn boolean(value: Value<'_, '_>) -> Option<bool> {
    value.boolean()
}

/// With its place.
pub(crate) fn at<'r, 'i: 'r, T>(
    of: impl FnOnce(Value<'r, 'i>) -> Option<T>,
) -> impl FnOnce(Value<'r, 'i>) -> Option<At<T>> {
    |value| {
        let span = value.span();
        of(value).map(|value| At { value, span })
    }
}

/// A list of such values, at least one.
pub(crate) fn list<'r, 'i: 'r, T>(
    of: impl Fn(Value<'r, 'i>) -> Option<T>,
) -> impl FnOnce(Value<'r, 'i>) -> Option<Vec<At<T>>> {
    move |value| {
        let entries = value.list()?;
        if entries.is_empty() {
            value.fail("the list is empty; leave the key out instead");
            return None;
        }
        Some(entries.into_iter().filter_map(|entry| at(&of)(entry)).collect())
    }
}

/// One of a few words.
pub(crate) fn choice<'r, 'i: 'r, T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(Value<'r, 'i>) -> Option<T> {
    move |value| {
        let text = value.text()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            let hint = nearest(text, words.iter().map(|(word, _)| *word));
            let hint = hint.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            value.fail(format!("{text:?} is none of {}{hint}", all.join(", ")));
        }
        found
    }
}

/// As [`choice`], where some agreed words are not carried out yet.
pub(crate) fn choice_with_later<'r, 'i: 'r, T: Copy>(
    words: &'static [(&'static str, T)],
    later: &'static [&'static str],
) -> impl Fn(Value<'r, 'i>) -> Option<T> {
    move |value| {
        let text = value.text()?;
        if later.contains(&text) {
            value.fail(format!("{text:?} is not carried out by this version"));
            return None;
        }
        choice(words)(value)
    }
}

/// A whole number within a range.
pub(crate) fn number<'r, 'i: 'r, T>(range: RangeInclusive<T>) -> impl Fn(Value<'r, 'i>) -> Option<T>
where
    T: TryFrom<u64> + PartialOrd + std::fmt::Display,
{
    move |value| {
        let number = value.integer()?;
        let fits = T::try_from(number).ok().filter(|number| range.contains(number));
        if fits.is_none() {
            value.fail(format!("{number} is out of range; it may be {} to {}", range.start(), range.end()));
        }
        fits
    }
}

/// A length of time within a range, such as "200s".
pub(crate) fn duration<'r, 'i: 'r>(range: RangeInclusive<Duration>) -> impl Fn(Value<'r, 'i>) -> Option<Duration> {
    move |value| {
        if !value.is_text() {
            value.fail("must be a length of time in quotes, such as \"200s\", \"5m\", \"12h\" or \"400d\"");
            return None;
        }
        let text = value.text()?;
        let Some(duration) = parse_duration(text) else {
            value.fail(format!("{text:?} is no length of time; write a number and ms, s, m, h or d, such as \"200s\""));
            return None;
        };
        if !range.contains(&duration) {
            let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
            value.fail(format!("{text:?} is out of range; it may be \"{least}\" to \"{most}\""));
            return None;
        }
        Some(duration)
    }
}

/// "250ms", "200s", "5m", "12h", "400d".
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_secs)
}

/// The shortest way to write a length of time.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if milliseconds >= length && milliseconds.is_multiple_of(length) {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    format!("{milliseconds}ms")
}

/// An address with a port.
pub(crate) fn socket_address(value: Value<'_, '_>) -> Option<SocketAddr> {
    let text = value.text()?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        value.fail(format!(
            "{text:?} is no numeric address with a port, such as \"192.0.2.1:1688\" or \"[2001:db8::1]:1688\""
        ));
    }
    parsed
}

/// An address.
pub(crate) fn address(value: Value<'_, '_>) -> Option<IpAddr> {
    let text = value.text()?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        value.fail(format!("{text:?} is no address, such as \"192.0.2.1\" or \"2001:db8::1\""));
    }
    parsed
}

/// A network; a single address is a network of one. IPv4-mapped IPv6 is IPv4.
pub(crate) fn network(value: Value<'_, '_>) -> Option<IpNet> {
    let text = value.text()?;
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
    let Some(network) = parsed else {
        value.fail(format!("{text:?} is no network, such as \"192.0.2.0/24\" or \"2001:db8::/32\""));
        return None;
    };
    if network.trunc() != network {
        value.fail(format!("{text:?} has bits beyond its prefix; did you mean \"{}\"?", network.trunc()));
        return None;
    }
    Some(unmapped(network))
}

fn unmapped(network: IpNet) -> IpNet {
    let IpAddr::V6(address) = network.network() else { return network };
    let (Some(v4), Some(prefix)) = (Ipv6Addr::to_ipv4_mapped(&address), network.prefix_len().checked_sub(96)) else {
        return network;
    };
    IpNet::new(IpAddr::V4(v4), prefix).unwrap_or(network)
}

/// A name that is written into logs and compared: letters, digits, `.`, `-`, `_`; at most 64.
pub(crate) fn label(value: Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || text.len() > 64 || !text.chars().all(good) {
        value.fail(format!("{text:?} is no name; it may have letters, digits, \".\", \"-\" and \"_\", at most 64"));
        return None;
    }
    Some(text.to_owned())
}

/// A name that people read: any text without control characters, at most 64 characters.
pub(crate) fn title(value: Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    if text.trim().is_empty() || text.chars().count() > 64 || text.chars().any(char::is_control) {
        value.fail("must be a text of 1 to 64 characters, none of them a control character");
        return None;
    }
    Some(text.to_owned())
}

/// A path; a relative one counts from the directory of the configuration file.
pub(crate) fn path(value: Value<'_, '_>) -> Option<PathBuf> {
    let text = value.text()?;
    if text.is_empty() || text.contains('\0') {
        value.fail("is no path");
        return None;
    }
    Some(value.directory().join(text))
}

/// A file that must be readable now.
pub(crate) fn readable(value: Value<'_, '_>) -> Option<PathBuf> {
    let found = path(value.clone())?;
    match fs::File::open(&found).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_dir() => {
            value.fail(format!("{} is a directory", found.display()));
            None
        }
        Ok(_) => Some(found),
        Err(why) => {
            value.fail(format!("{} cannot be read: {}", found.display(), reason(&why)));
            None
        }
    }
}

/// What an error of the operating system says, without its number.
#[must_use]
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// A secret: a text, `{ file = "..." }` (its content without the last line end) or `{ env = "..." }`.
pub(crate) fn secret(value: Value<'_, '_>) -> Option<Secret> {
    let found = if value.is_text() {
        Zeroizing::new(value.text()?.to_owned())
    } else {
        let (file, env) = value.table(|table| (table.take("file", path), table.take("env", text)))?;
        match (file, env) {
            (Some(file), None) => secret_from_file(&value, &file)?,
            (None, Some(name)) => match std::env::var(&name) {
                Ok(secret) => Zeroizing::new(secret),
                Err(_) => {
                    value.fail(format!("the environment has no {name}, or it is not UTF-8"));
                    return None;
                }
            },
            _ => {
                value.fail("a secret is a text, { file = \"...\" } or { env = \"...\" }");
                return None;
            }
        }
    };
    if found.is_empty() || found.len() > LONGEST_SECRET {
        value.fail(format!("the secret is empty or longer than {LONGEST_SECRET} bytes"));
        return None;
    }
    Some(Secret::new(found))
}

fn secret_from_file(value: &Value<'_, '_>, file: &Path) -> Option<Zeroizing<String>> {
    match fs::read_to_string(file).map(Zeroizing::new) {
        Ok(content) => {
            let line = content.strip_suffix('\n').unwrap_or(&content);
            Some(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
        }
        Err(why) => {
            value.fail(format!("the secret in {} cannot be read: {}", file.display(), reason(&why)));
            None
        }
    }
}

/// A URL, taken apart: `scheme://user@host:port/path`. Never a password in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// In lower case.
    pub(crate) scheme: String,
    /// As whom, if that is said.
    pub(crate) user: Option<String>,
    /// A name or an address; an IPv6 address without its brackets.
    pub(crate) host: String,
    /// If one is given.
    pub(crate) port: Option<u16>,
    /// With its slash; empty if there is none.
    pub(crate) path: String,
}

/// A URL with one of these schemes.
pub(crate) fn url<'r, 'i: 'r>(schemes: &'static [&'static str]) -> impl Fn(Value<'r, 'i>) -> Option<Url> {
    move |value| url_of(&value, schemes)
}

/// The same, of schemes that are known later.
pub(crate) fn url_of(value: &Value<'_, '_>, schemes: &[&str]) -> Option<Url> {
    match url_with_user(value, schemes)? {
        Url { user: Some(_), .. } => {
            value.fail("has a user in the URL; it does not belong there");
            None
        }
        url => Some(url),
    }
}

/// The same, and it may say as whom.
pub(crate) fn url_with_user(value: &Value<'_, '_>, schemes: &[&str]) -> Option<Url> {
    match parse_url(value.text()?) {
        Ok(url) if schemes.contains(&url.scheme.as_str()) => Some(url),
        Ok(url) => {
            let all: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
            value.fail(format!("{}:// is not one of {}", url.scheme, all.join(", ")));
            None
        }
        Err(why) => {
            value.fail(why);
            None
        }
    }
}

/// Takes a URL apart.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("is no URL; it begins with a scheme, such as https://".to_owned());
    };
    let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(cut);
    let (user, authority) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            return Err("has a password in the URL; it does not belong there".to_owned());
        }
        Some((user, authority)) => (Some(user.to_owned()), authority),
        None => (None, authority),
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let Some((host, after)) = inner.split_once(']') else {
                return Err("has an IPv6 address without its closing bracket".to_owned());
            };
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(format!("{host:?} is no IPv6 address"));
            }
            (host, after.strip_prefix(':').or(if after.is_empty() { None } else { Some(after) }))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(format!("{port:?} is no port")),
        },
    };
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !(host.chars().all(good) || host.contains(':')) || host.len() > 253 {
        return Err(format!("{host:?} is no host name"));
    }
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    Ok(Url { scheme, user, host, port, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_a_number_and_a_unit() {
        for (text, seconds) in [("200s", 200), ("5m", 300), ("12h", 43_200), ("400d", 34_560_000), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for text in ["", "s", "5", "5 m", "-5m", "5M", "1h30m", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(200)), "200s");
        assert_eq!(show_duration(Duration::from_secs(43_200)), "12h");
        assert_eq!(show_duration(Duration::ZERO), "0ms");
    }

    #[test]
    fn a_url_is_taken_apart_or_refused() {
        let good = parse_url("pop3s://Mail.example.edu:995");
        assert_eq!(
            good.map(|url| (url.scheme, url.host, url.port)),
            Ok(("pop3s".into(), "mail.example.edu".into(), Some(995)))
        );
        assert_eq!(
            parse_url("https://[2001:db8::1]:8443/x").map(|url| (url.host, url.path)),
            Ok(("2001:db8::1".into(), "/x".into()))
        );
        for bad in ["mail.example.edu", "a://", "a://b:0", "a://b:x", "a://u:p@b", "a://[::1", "a://[::1]x", "a://b c"]
        {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mapped_network_is_ipv4() {
        let mapped: Option<IpNet> = "::ffff:10.0.0.0/104".parse().ok();
        assert_eq!(mapped.map(unmapped).map(|network| network.to_string()).as_deref(), Some("10.0.0.0/8"));
    }
}
