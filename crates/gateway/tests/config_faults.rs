//! One line a case: what stands in the file, and what is said of it.

use kmsgate::config::{Config, ConfigErrors};
use std::path::Path;

const SERVER: &str = "\n[[account_server]]\nname = \"guests\"\nkind = \"file\"\npath = \"accounts\"\n";
const SERVICE: &str = "\n[[service]]\nname = \"kms\"\nproviders = [\"10.0.0.2:1688\"]\n";

/// Reads a text, with the sections that every file needs put behind it.
fn read(text: &str) -> Result<Config, ConfigErrors> {
    let mut whole = text.to_owned();
    for (section, rest) in [("[[account_server]]", SERVER), ("[[service]]", SERVICE)] {
        if !text.contains(section) {
            whole.push_str(rest);
        }
    }
    Config::parse(Path::new("kmsgate.toml"), &whole)
}

/// What is said, without the file's name: the first words of each fault.
fn faults(text: &str) -> Vec<String> {
    match read(text) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            errors.0.iter().map(|error| error.to_string().trim_start_matches("kmsgate.toml:").to_owned()).collect()
        }
    }
}

fn service(keys: &str) -> String {
    format!("[[service]]\nname = \"kms\"\nproviders = [\"10.0.0.2:1688\"]\n{keys}")
}

fn server(keys: &str) -> String {
    format!("[[account_server]]\nname = \"mail\"\n{keys}")
}

fn pop3(keys: &str) -> String {
    server(&format!("kind = \"pop3\"\nurl = \"pop3s://mail.example.edu\"\n{keys}"))
}

fn ldap(keys: &str) -> String {
    server(&format!("kind = \"ldap\"\nurl = \"ldaps://ldap.example.edu\"\n{keys}"))
}

fn sqlite(keys: &str) -> String {
    server(&format!("kind = \"sqlite\"\npath = \"x\"\n{keys}"))
}

fn radius(keys: &str) -> String {
    server(&format!("kind = \"radius\"\nurl = \"radius://r1.example.edu\"\n{keys}"))
}

fn rule(keys: &str) -> String {
    format!("[[rule]]\nname = \"staff\"\nusers = [\"*\"]\n{keys}")
}

#[test]
fn every_fault_has_its_line_column_cause_and_way_out() {
    let cases: &[(String, &str)] = &[
        // Unknown keys and sections.
        (service("conections = 1"), "4:1: unknown key \"conections\" in [[service]]; did you mean \"connections\"?"),
        (service("colour = 1"), "4:1: unknown key \"colour\" in [[service]]"),
        ("[portal]\nlisten_to = \"x\"".into(), "2:1: unknown key \"listen_to\" in [portal]; did you mean \"listen\"?"),
        ("[portl]\ntitle = \"x\"".into(), "1:2: unknown section [portl]; did you mean [portal]?"),
        ("title = \"x\"".into(), "1:1: unknown key \"title\" in the file"),
        (rule("quota = { weak = 3 }"), "4:11: unknown key \"weak\" in quota; did you mean \"week\"?"),
        (
            "[throttle]\nper_user = { atempts = 1, every = \"1m\" }".into(),
            "2:12: per_user has no \"attempts\"; it is needed",
        ),
        (pop3("path = \"x\""), "5:1: unknown key \"path\" in [[account_server]]"),
        // Syntax.
        ("[portal\n".into(), "1:8: unclosed table, expected `]`"),
        ("[node]\nname = \"a\"\nname = \"b\"".into(), "3:1: duplicate key"),
        ("[service]\nname = \"kms\"\n[[service]]\nname=\"x\"".into(), "3:3: duplicate key"),
        // Form of sections.
        (
            "[[portal]]\ntitle = \"x\"".into(),
            "1:1: portal: must be a section, written [portal], and there can be only one",
        ),
        ("[rule]\nname = \"x\"".into(), "1:1: rule: must be written [[rule]], with two brackets: there may be several"),
        // Wrong types.
        (service("port = \"1688\""), "4:8: port: must be a whole number, without quotes; it is a text"),
        (service("window = 200"), "4:10: window: must be a length of time in quotes, such as \"200s\""),
        (
            service("close_when_used = \"yes\""),
            "4:19: close_when_used: must be true or false, without quotes; it is a text",
        ),
        (
            "[portal]\nlisten = \"127.0.0.1:80\"".into(),
            "2:10: listen: must be a list, such as [\"...\", \"...\"]; it is a text",
        ),
        (rule("quota = 6"), "4:9: quota: must be a table, such as { key = ... }; it is a whole number"),
        ("[portal]\ntitle = 2026-01-01".into(), "2:9: title: must be a text in quotes; it is a date"),
        // Missing keys.
        ("[[service]]\nproviders = [\"10.0.0.2:1688\"]".into(), "1:1: [[service]] has no \"name\"; it is needed"),
        (
            "[[service]]\nname = \"ssh\"\nproviders = [\"10.0.0.2:22\"]".into(),
            "1:1: [[service]] has no \"port\"; it is needed",
        ),
        ("[[service]]\nname = \"kms\"".into(), "1:1: [[service]] has no \"providers\"; it is needed"),
        (server(""), "1:1: [[account_server]] has no \"kind\"; it is needed"),
        (server("kind = \"pop3\""), "1:1: [[account_server]] has no \"url\"; it is needed"),
        (server("kind = \"file\""), "1:1: [[account_server]] has no \"path\"; it is needed"),
        // Duplicate names.
        (
            format!("{SERVER}{SERVER}").trim_start().into(),
            "7:8: name: \"guests\" is taken by an earlier [[account_server]]",
        ),
        (
            format!("{}\n{}", service("port = 1"), service("port = 2")),
            "8:1: the name \"kms\" is taken by an earlier [[service]]",
        ),
        (format!("{}\n{}", rule(""), rule("")), "6:8: name: \"staff\" is taken by an earlier rule, denial or bypass"),
        // Names that do not exist.
        (
            "[accounts]\norder = [\"gests\"]".into(),
            "2:10: order: no [[account_server]] is named \"gests\"; did you mean \"guests\"?",
        ),
        (
            "[accounts]\nrealms = { \"a.example\" = [\"nobody\"] }".into(),
            "2:27: realms: no [[account_server]] is named \"nobody\"",
        ),
        ("[accounts]\norder = [\"guests\", \"guests\"]".into(), "2:20: order: \"guests\" is there twice"),
        (rule("services = [\"kmss\"]"), "4:13: services: no [[service]] is named \"kmss\"; did you mean \"kms\"?"),
        // Files and secrets.
        (
            "[portal]\ncertificate = \"/no/chain.pem\"\nprivate_key = \"/no/key.pem\"".into(),
            "2:15: certificate: /no/chain.pem cannot be read: no such file or directory",
        ),
        ("[portal]\ncertificate = \"/dev/null\"".into(), "2:1: certificate needs private_key beside it"),
        (pop3("ca = \"/no/ca.pem\""), "5:6: ca: /no/ca.pem cannot be read: no such file or directory"),
        (
            server("bind_password = { file = \"/no/secret\" }\nkind = \"oidc\""),
            "3:17: bind_password: the secret in /no/secret cannot be read: no such file or directory",
        ),
        (
            server("bind_password = { env = \"KMSGATE_NO_SUCH\" }\nkind = \"oidc\""),
            "3:17: bind_password: the environment has no KMSGATE_NO_SUCH, or it is not UTF-8",
        ),
        // Networks, addresses, lengths of time, URLs.
        (
            "[portal]\ntrusted_proxies = [\"10.9.0.0/33\"]".into(),
            "2:20: trusted_proxies: \"10.9.0.0/33\" is no network",
        ),
        (
            "[portal]\ntrusted_proxies = [\"10.9.0.1/24\"]".into(),
            "2:20: trusted_proxies: \"10.9.0.1/24\" has bits beyond its prefix; did you mean \"10.9.0.0/24\"?",
        ),
        (
            "[portal]\nlisten = [\"localhost:80\"]".into(),
            "2:11: listen: \"localhost:80\" is no numeric address with a port",
        ),
        ("[forward]\naddresses = [\"eth0\"]".into(), "2:14: addresses: \"eth0\" is no address"),
        (
            "[[service]]\nname = \"kms\"\nproviders = [\"kms.example.edu:1688\"]".into(),
            "3:14: providers: \"kms.example.edu:1688\" is no numeric address with a port",
        ),
        (
            "[[service]]\nname = \"kms\"\nproviders = [\"0.0.0.0:1688\"]".into(),
            "3:14: providers: nothing can be reached at 0.0.0.0:1688",
        ),
        (
            "[[service]]\nname = \"kms\"\nproviders = []".into(),
            "3:13: providers: the list is empty; leave the key out instead",
        ),
        (
            service("window = \"200\""),
            "4:10: window: \"200\" is no length of time; write a number and ms, s, m, h or d",
        ),
        (server("kind = \"pop3\"\nurl = \"mail.example.edu\""), "4:7: url: is no URL; it begins with a scheme"),
        (
            server("kind = \"pop3\"\nurl = \"imap://mail.example.edu\""),
            "4:7: url: imap:// is not one of pop3s://, pop3://",
        ),
        (
            server("kind = \"pop3\"\nurl = \"pop3s://a:b@mail.example.edu\""),
            "4:7: url: has a password in the URL; it does not belong there",
        ),
        (
            "[portal]\npublic_url = \"https://kms.example.edu/gate\"".into(),
            "2:14: public_url: has the path \"/gate\"; the portal serves the root of its host only",
        ),
        // Ranges.
        (service("window = \"0s\""), "4:10: window: \"0s\" is out of range; it may be \"1s\" to \"12h\""),
        (service("window = \"13h\""), "4:10: window: \"13h\" is out of range; it may be \"1s\" to \"12h\""),
        (service("connections = 0"), "4:15: connections: 0 is out of range; it may be 1 to 256"),
        (service("connections = 257"), "4:15: connections: 257 is out of range; it may be 1 to 256"),
        (service("connections = -1"), "4:15: connections: -1 is out of range"),
        (service("port = 65536"), "4:8: port: 65536 is out of range; it may be 0 to 65535"),
        (service("ipv6_prefix = 48"), "4:15: ipv6_prefix: 48 is out of range; it may be 64 to 128"),
        ("[ledger]\nkeep = \"7d\"".into(), "2:8: keep: \"7d\" is out of range; it may be \"32d\" to \"3660d\""),
        // Words.
        (
            service("protocol = \"msrcp\""),
            "4:12: protocol: \"msrcp\" is none of \"msrpc\", \"tcp\"; did you mean \"msrpc\"?",
        ),
        (
            "[quota]\ntimezone = \"Asia/Taipeh\"".into(),
            "2:12: timezone: this machine knows no time zone \"Asia/Taipeh\"",
        ),
        (rule("hours = [\"weekdays\"]"), "4:10: hours: \"weekdays\" is not of the form \"mon-fri 08:00-18:00\""),
        ("[[rule]]\nname = \"x\"\nusers = [\"/alice\"]".into(), "3:10: users: there is no domain before the slash"),
        (
            "[[rule]]\nname = \"x\"\nusers = [\"guest/alice\"]".into(),
            "3:10: users: no [[account_server]] has the domain \"guest\"; did you mean \"guests\"?",
        ),
        // What contradicts itself.
        (
            service("protocol = \"tcp\"\ncalls = 1\nhealth = \"tcp\""),
            "5:1: calls: only protocol = \"msrpc\" has calls that can be counted",
        ),
        (
            service("protocol = \"tcp\"\nhealth = \"msrpc\""),
            "5:1: health: \"msrpc\" asks for an RPC bind, but this service has protocol = \"tcp\"",
        ),
        (radius(""), "1:1: [[account_server]] has no \"secret\"; it is needed"),
        (radius("secret = \"\""), "5:10: secret: the secret is empty or longer than"),
        (radius("secret = \"s\"\nmethod = \"chap\""), "6:10: method: \"chap\" is none of \"pap\", \"mschapv2\""),
        (radius("secret = \"s\"\ngroups = \"Groups\""), "6:10: groups: \"Groups\" is none of \"Filter-Id\", \"Class\""),
        (radius("secret = \"s\"\nnas_identifier = \"\""), "6:18: nas_identifier: a NAS-Identifier has 1 to 253 bytes"),
        (radius("secret = \"s\"\nmessage_authenticator = false"), "6:25: message_authenticator: "),
        (radius("secret = \"s\"\ntls = \"none\""), "6:1: unknown key \"tls\" in [[account_server]]"),
        (
            server("kind = \"nis\"\nurl = \"nis://nis.example.edu\""),
            "4:7: url: has no NIS domain: write it behind the host",
        ),
        (server("kind = \"nis\"\nurl = \"nis://nis.example.edu/a/b\""), "4:7: url: has no NIS domain"),
        (
            server("kind = \"nis\"\nurl = [\"nis://a.example/a\", \"nis://b.example/b\"]"),
            "4:29: url: all hosts of a server serve the same",
        ),
        (
            server("kind = \"nis\"\nurl = \"nis://a.example/a\"\nhashes = [\"des\"]"),
            "5:11: hashes: \"des\" is none of \"argon2\", ",
        ),
        (ldap(""), "1:1: this account server needs bind_template, or bind_dn and bind_password"),
        (ldap("bind_dn = \"cn=a\"\nbase = \"dc=x\"\nfilter = \"(uid={user})\""), "5:1: bind_dn needs bind_password"),
        (ldap("bind_template = \"uid=x\""), "5:17: bind_template: a template has {user} in it once"),
        (
            ldap("bind_template = \"uid={user}\"\nbind_dn = \"cn=a\"\nbind_password = \"s\""),
            "5:1: bind_template: people bind as themselves, or bind_dn looks for them",
        ),
        (ldap("bind_template = \"{user}@x\""), "1:1: this account server needs base and filter"),
        (
            ldap("bind_template = \"{user}@x\"\nbase = \"dc=x\"\nfilter = \"(cn=*{user}*)\""),
            "1:1: this account server needs user_attribute",
        ),
        (ldap("bind_template = \"uid={user}\"\nfilter = \"(uid={user})\""), "6:1: filter needs base beside it"),
        (
            ldap("bind_template = \"uid={user}\"\nbase = \"dc=x\"\nfilter = \"uid={user}\""),
            "7:10: filter: the filter lacks",
        ),
        (
            ldap("bind_template = \"uid={user}\"\nbase = \"dc=x\"\nfilter = \"(uid=*)\""),
            "7:10: filter: the filter has no {user}",
        ),
        (
            ldap("bind_template = \"uid={user}\"\ngroups = \"memberOf\"\nnested_groups = true"),
            "7:1: groups are an attribute (groups), or entries (group_filter), or nested",
        ),
        (ldap("bind_template = \"uid={user}\"\nnested_groups = true"), "1:1: nested_groups needs base"),
        (ldap("bind_template = \"uid={user}\"\ngroups = \"member of\""), "6:10: groups: \"member of\" is no attribute"),
        (sqlite(""), "1:1: [[account_server]] has no \"query\"; it is needed"),
        (
            sqlite("query = \"SELECT hash FROM users\""),
            "5:9: query: has no place for the name: write ? where it stands",
        ),
        (sqlite("query = \"SELECT hash FROM users WHERE name = '?'\""), "5:9: query: '?' is a text and no place"),
        (sqlite("query = \"SELECT ?\"\ngroups_query = \" ; \""), "6:16: groups_query: must be a SELECT of 1 to"),
        (
            server("kind = \"postgres\"\nurl = \"postgres://db.example.edu\"\nquery = \"SELECT $1\""),
            "4:7: url: must say as whom and which database",
        ),
        (
            server("kind = \"postgres\"\nurl = \"postgres://u:p@db.example.edu/x\"\nquery = \"SELECT $1\""),
            "4:7: url: has a password in the URL; it does not belong there",
        ),
        (
            server("kind = \"postgres\"\nurl = [\"postgres://u@a/x\", \"postgres://u@b/y\"]\nquery = \"SELECT $1\""),
            "4:28: url: all hosts hold the same database",
        ),
        (server("kind = \"pop3\"\nurl = \"pop3s://u@mail.example.edu\""), "4:7: url: has a user in the URL"),
        (pop3("tls = \"none\""), "5:1: tls: \"none\" contradicts pop3s://"),
        (pop3("ca = \"/dev/null\""), "5:1: /dev/null: no certificate in it"),
        (
            server("kind = \"pop3\"\nurl = [\"pop3s://a.example\", \"pop3://b.example\"]"),
            "4:29: url: all hosts of a server are reached in the same way",
        ),
        ("[portal]\nlisten = [\"0.0.0.0:80\"]".into(), "2:11: listen: passwords would cross the network in clear."),
        ("[[rule]]\nname = \"x\"".into(), "1:1: [[rule]] names nobody; it needs users or groups"),
        ("[[deny]]\nname = \"x\"".into(), "1:1: [[deny]] denies nobody; it needs users, groups or networks"),
        ("[log]\nsyslog = \"unix:/dev/log\"\nformat = \"json\"".into(), "3:1: format: syslog takes \"rfc5424\" only"),
        // Clashes of ports.
        (
            "[portal]\nlisten = [\"127.0.0.1:1688\"]".into(),
            "8:1: the service \"kms\" wants port 1688, but the portal has it",
        ),
        (
            "[portal]\nlisten = [\"127.0.0.1:80\", \"127.0.0.1:80\"]".into(),
            "2:27: the portal wants port 80, but the portal has it",
        ),
        (
            "[operator]\nlisten = \"127.0.0.1:8080\"".into(),
            "2:10: the operator's listener wants port 8080, but the portal has it",
        ),
        (
            format!("{}\n[[service]]\nname = \"b\"\nport = 1688\nproviders = [\"10.0.0.2:1\"]", service("")),
            "7:1: the service \"b\" wants port 1688, but the service \"kms\" has it",
        ),
        // What comes later, and what cannot be.
        (server("kind = \"oidc\"\nissuer = \"x\""), "3:8: kind: \"oidc\" is not carried out by this version"),
        (
            server("kind = \"ldab\"\nbase = \"dc=x\""),
            "3:8: kind: \"ldab\" is none of \"file\", \"imap\", \"ldap\", \"nis\", \"pop3\", \"postgres\", \"radius\", \"sqlite\"",
        ),
        (
            server("kind = \"file\"\npath = \"x\"\nformat = \"htpasswd\"\nhashes = [\"bcrypt\", \"md5\"]"),
            "6:21: hashes: \"md5\" is none of \"argon2\", \"bcrypt\", \"sha-crypt\"",
        ),
        (
            server("kind = \"file\"\npath = \"x\"\nhashes = [\"bcrypt\"]"),
            "5:1: hashes goes with format = \"htpasswd\" or \"passwd\"",
        ),
        (
            "[forward]\nmode = \"nftables\"".into(),
            "2:1: mode = \"nftables\" needs external: the interfaces on which people come",
        ),
        (
            "[forward]\nmode = \"nftables\"\nexternal = [\"eth 0\"]".into(),
            "3:13: external: \"eth 0\" is no name of an interface",
        ),
        (
            "[forward]\nmode = \"nftables\"\nexternal = [\"eth0\"]\nmark_mask = 0xff".into(),
            "4:13: mark_mask: must have at least 24 bits in a row",
        ),
        ("[forward]\nexternal = [\"eth0\"]".into(), "2:1: external goes with mode = \"nftables\""),
        (
            "[forward]\nmasquerade = true".into(),
            "2:14: masquerade: with the relay providers see the gateway's address in any case",
        ),
        (
            "[forward]\nrefuse = \"drop\"".into(),
            "2:10: refuse: \"drop\" cannot be had with the relay: the kernel has accepted",
        ),
        (
            "[portal]\nproxy_protocol = true".into(),
            "2:18: proxy_protocol: proxy_protocol = true is not carried out by this version",
        ),
        ("[mail]\nsmtp = \"smtps://mail.example.edu\"".into(), "1:2: [mail] is not carried out by this version"),
        (
            "[operator]\noperators = [\"user:campus/alice\"]".into(),
            "2:1: \"operators\" in [operator] is not carried out by this version",
        ),
        (
            "[log]\nsyslog = \"tls://log.example.edu\"".into(),
            "2:10: syslog: syslog over TLS is not carried out by this version",
        ),
        (
            "[ledger]\nurl = \"postgres://db/kms\"".into(),
            "2:7: url: a ledger in PostgreSQL is not carried out by this version",
        ),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let said = faults(text);
        if !said.first().is_some_and(|first| first.starts_with(expected)) {
            wrong.push(format!("{text}\n  expected {expected}\n  said     {}", said.join("\n           ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_faults_of_a_file_are_told_in_its_order() {
    let said = faults(
        "[portal]\ntitel = \"x\"\n[accounts]\norder = [\"nobody\"]\n[throttle]\nper_user = { attempts = 0, every = 5 }\n[mail]\n",
    );
    let places: Vec<&str> = said.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["2:1", "4:10", "6:25", "6:36", "7:2"], "{said:#?}");
}

#[test]
fn what_is_off_may_be_written() {
    let text =
        "[portal]\nproxy_protocol = false\n[forward]\nmode = \"relay\"\nrefuse = \"reset\"\nmasquerade = false\n";
    assert_eq!(faults(text), Vec::<String>::new());
}

#[test]
fn what_is_missing_altogether_is_told_once() {
    let error = Config::parse(Path::new("kmsgate.toml"), "").err().map(|errors| errors.to_string());
    let expected = "kmsgate.toml:1:1: there is no [[account_server]]; without one nobody can sign in\n\
                    kmsgate.toml:1:1: there is no [[service]]; name the one to guard, such as name = \"kms\" with its providers";
    assert_eq!(error.as_deref(), Some(expected));
}

#[test]
fn a_file_that_is_none_is_told_without_a_line() {
    let error = Config::load(Path::new("/no/kmsgate.toml")).err().map(|errors| errors.to_string()).unwrap_or_default();
    assert!(error.starts_with("/no/kmsgate.toml: cannot be read: no such file or directory;"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kmsgate.toml");
    std::fs::write(&file, b"[portal]\ntitle = \"\xff\"\n").unwrap();
    let error = Config::load(&file).err().map(|errors| errors.to_string()).unwrap_or_default();
    assert!(error.ends_with("kmsgate.toml:2:10: this is not UTF-8"), "{error}");
}
