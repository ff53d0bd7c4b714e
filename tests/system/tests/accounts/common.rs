//! The configuration of a page of the manual, used as it stands but for hosts, ports and paths (F19).

use kmsgate::config::Config;
use kmsgate_accounts::chain::RefusedBy;
use kmsgate_accounts::{Accounts, ChainAnswer};
use kmsgate_core::address::Source;
use kmsgate_core::name::Login;
use kmsgate_core::password::Password;
use kmsgate_core::reason::Reason;
use std::path::Path;

/// A working configuration of the manual.
#[derive(Debug, Clone)]
pub(crate) struct Page(String);

/// Somebody whom an account server let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Somebody {
    /// Domain and name, such as `campus/alice`.
    pub(crate) person: String,
    /// Groups, sorted.
    pub(crate) groups: Vec<String>,
}

impl Page {
    /// The first block of TOML in `docs/account-servers/NAME.md`.
    pub(crate) fn read(name: &str) -> Self {
        Self::nth(name, 0)
    }

    /// Another one of them, counted from 0.
    pub(crate) fn nth(name: &str, number: usize) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/account-servers/{name}.md"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let block = text.split("```toml\n").nth(number + 1).and_then(|rest| rest.split("```").next());
        Self(block.unwrap_or_else(|| panic!("{} has no block {number}", path.display())).to_owned())
    }

    /// With a text that must be there replaced: where this site differs from the manual's.
    #[must_use]
    pub(crate) fn with(self, text: &str, instead: &str) -> Self {
        assert!(self.0.contains(text), "{text:?} is not in\n{}", self.0);
        Self(self.0.replace(text, instead))
    }

    /// With more keys of the last section.
    #[must_use]
    pub(crate) fn and(self, keys: &str) -> Self {
        Self(format!("{}\n{keys}\n", self.0.trim_end()))
    }

    /// With another `query`.
    #[must_use]
    pub(crate) fn with_query(&self, query: &str) -> Self {
        let lines = self
            .0
            .lines()
            .map(|line| if line.starts_with("query = ") { format!("query = {query:?}") } else { line.to_owned() });
        Self(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Its account servers, ready to be asked.
    pub(crate) fn accounts(&self) -> Accounts {
        self.config().unwrap_or_else(|why| panic!("{why}\n{}", self.0)).accounts.build().expect("account servers")
    }

    /// What the configuration says of it, if anything is wrong.
    pub(crate) fn config(&self) -> Result<Config, String> {
        let rest =
            "[portal]\nlisten = [\"127.0.0.1:0\"]\n[[service]]\nname = \"kms\"\nproviders = [\"127.0.0.1:1688\"]\n";
        Config::parse(Path::new("kmsgate.toml"), &format!("{rest}{}", self.0)).map_err(|why| why.to_string())
    }
}

/// Names that mean something else to somebody: filters, queries, formats, shells, lines. What is no name at all is refused
/// before any server is asked, and is not among them.
pub(crate) fn hostile_names() -> Vec<String> {
    let long = "x".repeat(256);
    let names = [
        "*)(uid=*",
        "' OR 1=1",
        "' OR '1'='1' --",
        "%s%n",
        "%{User-Password}",
        "`id`",
        "$(id)",
        "\"; DROP TABLE users",
        "a\"b\\c",
        "alice:x",
        "../alice",
        "a\0b",
        "a\r\nPASS secret",
        "\u{202e}ecila",
        "a\u{202e}b",
        &long,
    ];
    names.into_iter().filter(|name| Login::parse(name).is_ok()).map(str::to_owned).collect()
}

/// Asks for somebody who comes from this address.
pub(crate) async fn ask_from(
    accounts: &Accounts,
    login: &str,
    password: &str,
    from: &str,
) -> Result<Somebody, RefusedBy> {
    let login = Login::parse(login).expect("a login");
    let password = Password::new(password.to_owned()).expect("a password");
    match accounts.ask_for(&login, &password, Source::new(from.parse().expect("an address"))).await {
        ChainAnswer::Accepted(identity) => {
            let mut groups: Vec<String> = identity.groups().iter().map(ToString::to_string).collect();
            groups.sort_unstable();
            Ok(Somebody { person: identity.person().to_string(), groups })
        }
        ChainAnswer::Refused(by) => Err(by),
        ChainAnswer::Challenge(asked) => panic!("asked {asked:?}"),
    }
}

/// Asks for somebody.
pub(crate) async fn ask(accounts: &Accounts, login: &str, password: &str) -> Result<Somebody, RefusedBy> {
    ask_from(accounts, login, password, "198.51.100.7").await
}

/// Is let in, under this name.
#[track_caller]
pub(crate) fn is(answer: Result<Somebody, RefusedBy>, person: &str) {
    assert_eq!(answer.map(|somebody| somebody.person), Ok(person.to_owned()));
}

/// The password is wrong, or there is nobody of this name.
#[track_caller]
pub(crate) fn is_wrong(answer: Result<Somebody, RefusedBy>) {
    let by = answer.expect_err("let in");
    assert_eq!(by.reason, Reason::InvalidCredentials, "{}", by.log);
}

/// Nobody knows (P8): an outage, of which the log says this.
#[track_caller]
pub(crate) fn is_outage(answer: Result<Somebody, RefusedBy>, why: &str) {
    let by = answer.expect_err("let in");
    assert_eq!((by.reason, by.definite), (Reason::AccountServerUnavailable, false), "{}", by.log);
    assert!(by.log.contains(why), "{why:?} is not in {:?}", by.log);
}
