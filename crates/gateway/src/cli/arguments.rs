//! What may be typed. Help, shell completions and manual pages are made from this one description.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Sign in with the account you already have, and the licence server opens for your address.
#[derive(Debug, Parser)]
#[command(name = "kmsgate", version, propagate_version = true, arg_required_else_help = true)]
pub struct Arguments {
    /// The configuration.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "KMSGATE_CONFIG",
        default_value = "/etc/kmsgate/kmsgate.toml"
    )]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Serve,
    /// Try it: everything in a temporary directory, without root.
    Demo {
        /// Do it all alone, say each step, and fail if one goes otherwise than promised.
        #[arg(long)]
        tour: bool,
        /// The portal's port on 127.0.0.1; the next free one if it is taken.
        #[arg(long, value_name = "PORT", default_value_t = 8080, conflicts_with = "tour")]
        portal_port: u16,
        /// The guarded port on 127.0.0.1; the next free one if it is taken.
        #[arg(long, value_name = "PORT", default_value_t = 1688, conflicts_with = "tour")]
        port: u16,
    },
    /// Check the configuration, then the world around it; say what to do about each fault.
    Check {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Try one sign-in at this account server instead, without opening anything.
        #[arg(long, value_name = "NAME", requires = "user", conflicts_with = "json")]
        account_server: Option<String>,
        /// Whose; the password is asked for.
        #[arg(long, requires = "account_server")]
        user: Option<String>,
    },
    /// List, show, open and revoke grants.
    Grants {
        /// What to do with them.
        #[command(subcommand)]
        what: Grants,
    },
    /// Count sign-ins and connections.
    Report {
        /// A line for each of these.
        #[arg(long, value_enum, default_value_t = By::Day)]
        by: By,
        /// From this day (2026-11-01, UTC); 30 days ago unless given.
        #[arg(long, value_name = "DAY")]
        from: Option<String>,
        /// Before this day; tomorrow unless given.
        #[arg(long, value_name = "DAY")]
        to: Option<String>,
        /// As what.
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Say what would be decided for somebody, and why. Opens nothing, counts nothing.
    Explain {
        /// Whose sign-in: DOMAIN/NAME, or NAME if there is one domain.
        #[arg(long)]
        user: String,
        /// From which address.
        #[arg(long)]
        source: IpAddr,
        /// To which service; the first one unless given.
        #[arg(long)]
        service: Option<String>,
        /// A group that the account server would name; may be given again.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Keep a local account file. Passwords come from the terminal or standard input, never from an argument.
    Account {
        /// What to do with it.
        #[command(subcommand)]
        what: Account,
    },
    /// Show or forgive what somebody has used.
    Quota {
        /// Which.
        #[command(subcommand)]
        what: Quota,
    },
    /// List providers; keep new connections from one, or no longer.
    Providers {
        /// What to do with them.
        #[command(subcommand)]
        what: Providers,
    },
    /// Print the kernel's ruleset as it is loaded where the forwarder is the kernel, or the enforcer's table; or remove the ruleset.
    Ruleset {
        /// The table that the enforcer reads (kmsgate-enforcer(8)).
        #[arg(long)]
        table: bool,
        /// Remove the ruleset and whatever it carries from the kernel; the gateway must be stopped.
        #[arg(long, conflicts_with = "table")]
        remove: bool,
    },
    /// Make the running gateway read its configuration again; open grants stay.
    Reload,
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them into a directory.
    Man {
        /// Where to.
        directory: Option<PathBuf>,
    },
}

/// `kmsgate grants`.
#[derive(Debug, Subcommand)]
pub enum Grants {
    /// List grants, newest first.
    List {
        /// Finished ones too.
        #[arg(long)]
        all: bool,
        /// Only this person's: DOMAIN/NAME, or NAME if there is one domain.
        #[arg(long)]
        user: Option<String>,
        /// Only from this address.
        #[arg(long)]
        source: Option<IpAddr>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one.
    Show {
        /// Its name: 26 characters.
        id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// End one now; its connections are reset.
    Revoke {
        /// Its name: 26 characters.
        id: String,
    },
    /// Open one for somebody else's machine. Recorded with your name and the reason.
    Open {
        /// For whom: DOMAIN/NAME, or NAME if there is one domain. Rules and quotas hold.
        #[arg(long)]
        user: String,
        /// For which address.
        #[arg(long)]
        source: IpAddr,
        /// For which service; the first one unless given.
        #[arg(long)]
        service: Option<String>,
        /// Why.
        #[arg(long)]
        reason: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `kmsgate providers`.
#[derive(Debug, Subcommand)]
pub enum Providers {
    /// List them, and whether each is up.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Keep new connections from one; those that run go on. Until `undrain`, or until the gateway is restarted.
    Drain {
        /// Its address and port.
        provider: SocketAddr,
        /// Of which service; the first one unless given.
        #[arg(long)]
        service: Option<String>,
    },
    /// Let new connections go to it again.
    Undrain {
        /// Its address and port.
        provider: SocketAddr,
        /// Of which service; the first one unless given.
        #[arg(long)]
        service: Option<String>,
    },
}

/// `kmsgate account`.
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Add an account, or give it a new password.
    Add {
        /// Its name.
        name: String,
        /// The file.
        #[command(flatten)]
        file: AccountFile,
        /// A group; may be given again.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Remove an account.
    Remove {
        /// Its name.
        name: String,
        /// The file.
        #[command(flatten)]
        file: AccountFile,
    },
    /// List the accounts.
    List {
        /// The file.
        #[command(flatten)]
        file: AccountFile,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which account file.
#[derive(Debug, Args)]
pub struct AccountFile {
    /// The account file.
    #[arg(long = "file", value_name = "PATH")]
    pub path: PathBuf,
}

/// `kmsgate quota`.
#[derive(Debug, Subcommand)]
pub enum Quota {
    /// What somebody has used, and when it is free again.
    Show {
        /// Whose: DOMAIN/NAME, or NAME if there is one domain.
        #[arg(long)]
        user: String,
        /// For which service; the first one unless given.
        #[arg(long)]
        service: Option<String>,
        /// From which address; rules that name networks are passed over unless given.
        #[arg(long)]
        source: Option<IpAddr>,
        /// A group that the account server would name; may be given again.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forgive all that somebody has used. Recorded with your name.
    Reset {
        /// Whose: DOMAIN/NAME, or NAME if there is one domain.
        #[arg(long)]
        user: String,
    },
}

/// By what a report counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// A line a person.
    User,
    /// A line a day (UTC).
    Day,
    /// A line an address.
    Source,
    /// A line a service.
    Service,
    /// A line a reason or cause.
    Reason,
}

impl By {
    /// As the operator's API says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Day => "day",
            Self::Source => "source",
            Self::Service => "service",
            Self::Reason => "reason",
        }
    }
}

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// RFC 4180.
    Csv,
    /// An array of objects.
    Json,
}
