//! What the kernel's forwarder needs of the machine. What must never happen here: anything that is changed.

use super::{Finding, Seen};
use crate::cli::control::Gateway;
use crate::cli::ruleset::expected;
use crate::config::Config;
use crate::forward::kernel::{settings, table};
use kmsgate_enforcer::load;
use kmsgate_enforcer::marks::{Marks, Masked};
use kmsgate_enforcer::netlink::{DUMP, Failed, NFTABLES, REQUEST, Received, Socket};
use kmsgate_enforcer::rule::{Ruleset, TABLE};
use kmsgate_orders::table::Table;
use rustix::io::Errno;

/// Kinds of nftables' messages (linux/netfilter/nf_tables.h).
const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
/// Every family (AF_UNSPEC).
const ANY: u8 = 0;
/// Where a packet is that is forwarded (NF_INET_FORWARD), and what becomes of it where no rule says so (NF_DROP).
const FORWARD: u32 = 2;
const DROP: u32 = 0;

/// The kernel, and all that its forwarder needs; with the relay that is nothing.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let Some(table) = table::of(config, &[]) else {
        return vec![Finding::well("kernel", format!("{release}; the relay needs no rights of it"))];
    };
    let mut findings = vec![Finding::well("kernel", release)];
    let found = settings::look(config).into_iter();
    findings.extend(found.map(|setting| Finding::new(setting.key, setting.seen)));
    findings.push(Finding::new("room in conntrack", room(config, settings::conntrack())));
    let runs = Gateway::of(config).get("/api/v1/status").ok();
    let rules = expected(config, &table, runs.as_ref());
    let seen = match Socket::open(&[]).map_err(|errno| Failed { errno, sequence: 0 }) {
        Ok(mut socket) => {
            let loaded = is_loaded(&mut socket, rules.as_ref(), runs.is_some());
            (loaded.unwrap_or_else(unasked), others(&mut socket, &table).unwrap_or_else(unasked))
        }
        Err(failed) => (unasked(failed), unasked(failed)),
    };
    findings.push(Finding::new(format!("table inet {TABLE}"), seen.0));
    findings.push(Finding::new("other packet filters", seen.1));
    findings
}

/// Each connection is an entry, and stays for a while after its end: twice as many as may run at once find room.
fn room(config: &Config, conntrack: Option<(u64, u64)>) -> Seen {
    let Some((most, there)) = conntrack else {
        return Seen::Fault("the kernel does not track connections; `modprobe nf_conntrack`".to_owned());
    };
    let expected = u64::try_from(config.forward.connections).unwrap_or(u64::MAX).saturating_mul(2);
    let left = most.saturating_sub(there);
    if left >= expected {
        return Seen::Well(format!("{left} of {most} left"));
    }
    let wanted = there.saturating_add(expected);
    Seen::Fault(format!(
        "{left} of {most} left, and [forward].connections = {} wants {expected}: connections would be dropped; \
         `sysctl -w net.netfilter.nf_conntrack_max={wanted}` or more, and in /etc/sysctl.d",
        config.forward.connections
    ))
}

/// Whether what is loaded is what this configuration says.
fn is_loaded(socket: &mut Socket, rules: Option<&Ruleset>, runs: bool) -> Result<Seen, Failed> {
    let Some(rules) = rules else {
        return Ok(Seen::Fault("mark_mask must have at least 24 bits in a row".to_owned()));
    };
    Ok(match (load::is_present(socket)?, runs) {
        (false, false) => Seen::Unseen(
            "not loaded yet: until `kmsgate serve` or kmsgate-guard.service loads it, nothing keeps people from the providers"
                .to_owned(),
        ),
        (false, true) => Seen::Fault(
            "a gateway runs, and the ruleset is not there: does another program remove it? See its log".to_owned(),
        ),
        (true, _) if load::is_whole(socket, rules)? => Seen::Well("as this configuration has it".to_owned()),
        (true, _) => Seen::Fault(
            "is of another configuration, or was changed by another program; write the enforcer's table again \
             (`kmsgate ruleset --table`), and start kmsgate-enforcer and kmsgate again"
                .to_owned(),
        ),
    })
}

/// A chain of another table that drops what it does not accept drops our connections, too: an accept of ours does not overrule it.
fn others(socket: &mut Socket, table: &Table) -> Result<Seen, Failed> {
    let marks = Marks::within(table.mark_mask).ok_or(Failed { errno: Errno::INVAL, sequence: 0 })?;
    let ours = ours(&marks);
    let mut dropping = vec![];
    let mut request = socket.messages();
    request.message(NFTABLES, GET_CHAIN, REQUEST | DUMP, ANY, |_| ());
    socket.ask(&request, |message| dropping.extend(Other::dropping(&message)))?;
    let mut faults = vec![];
    for other in &dropping {
        for mark in other.not_asked_for(socket, &ours)? {
            let Other { family, table, chain } = other;
            let family = family_name(*family);
            faults.push(format!(
                "table {family} {table}, chain {chain}, drops what it does not accept, and what we forward with it: \
                 `nft insert rule {family} {table} {chain} ct mark and {:#010x} == {:#010x} accept`",
                mark.mask, mark.value
            ));
        }
    }
    Ok(match (faults.is_empty(), dropping.len()) {
        (true, 0) => Seen::Well("none drops what is forwarded unless it accepts it".to_owned()),
        (true, some) => Seen::Well(format!("{some} drop what they do not accept, and ask for our marks")),
        (false, _) => Seen::Fault(faults.join("; ")),
    })
}

/// A chain of another table.
struct Other {
    family: u8,
    table: String,
    chain: String,
}

impl Other {
    /// A base chain of the forward hook whose policy is to drop.
    fn dropping(message: &Received<'_>) -> Option<Self> {
        let attributes = message.attributes();
        let text = |kind| {
            let name = attributes.find(kind)?.strip_suffix(&[0])?;
            Some(String::from_utf8_lossy(name).into_owned())
        };
        let forwards = attributes.nest(4)?.u32(1) == Some(FORWARD);
        let drops = attributes.u32(5) == Some(DROP);
        let other = Self { family: message.family(), table: text(1)?, chain: text(3)? };
        (forwards && drops && other.table != TABLE).then_some(other)
    }

    /// Those of our marks that none of its rules has in it. What a rule does with one is left to whoever wrote it.
    fn not_asked_for(&self, socket: &mut Socket, ours: &[Masked]) -> Result<Vec<Masked>, Failed> {
        let mut request = socket.messages();
        request.message(NFTABLES, GET_RULE, REQUEST | DUMP, self.family, |out| {
            out.name(1, &self.table).name(2, &self.chain);
        });
        let mut missing = ours.to_vec();
        socket.ask(&request, |message| {
            let words = message.attributes().find(4).unwrap_or_default();
            missing.retain(|mark| !words.windows(4).any(|bytes| bytes == mark.value.to_ne_bytes()));
        })?;
        Ok(missing)
    }
}

/// What a rule of another program has to accept.
fn ours(marks: &Marks) -> Vec<Masked> {
    let (all, highest) = (marks.claimed(), 0xff00_0000);
    match marks.mask() {
        // Every mark of ours has the same highest byte.
        u32::MAX => vec![Masked { mask: highest, value: all.value & highest }],
        _ => vec![all, marks.any_pending(), marks.any_bypass()],
    }
}

/// As nft names it (linux/netfilter.h).
fn family_name(number: u8) -> &'static str {
    match number {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => "bridge",
    }
}

fn unasked(failed: Failed) -> Seen {
    match failed.errno {
        Errno::PERM => Seen::Unseen("only root may ask the kernel; run `kmsgate check` as root".to_owned()),
        Errno::PROTONOSUPPORT | Errno::OPNOTSUPP => {
            Seen::Fault("the kernel has no nftables; `modprobe nf_tables`".to_owned())
        }
        _ => Seen::Fault(format!("the kernel cannot be asked: {failed}")),
    }
}
