//! Brings the ruleset into the kernel in one transaction, and finds it again. What must never happen here: a moment without
//! the guard, an element of an open grant that a change of rules takes away.

use crate::encode;
use crate::netlink::{ACK, APPEND, CREATE, DUMP, Failed, Messages, NFTABLES, REQUEST, Socket};
use crate::rule::{Chain, Ruleset, SetKind, TABLE, Word};
use rustix::io::Errno;

/// Kinds of nftables' messages (linux/netfilter/nf_tables.h).
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const GET_SET: u16 = 10;
const DELETE_SET: u16 = 11;
const NEW_ELEMENTS: u16 = 12;
const DELETE_ELEMENTS: u16 = 14;
const NEW_OBJECT: u16 = 18;

/// What was found at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No table of ours: loaded new.
    Nothing,
    /// This very ruleset: untouched.
    Same,
    /// Another version or another configuration: rules replaced, elements of open grants kept.
    Other,
}

/// Loads the ruleset, or leaves it alone if it is there.
///
/// # Errors
/// If the kernel refuses: nothing was changed then.
pub fn load(socket: &mut Socket, ruleset: &Ruleset) -> Result<Found, NotLoaded> {
    let found = match is_present(socket)? {
        false => Found::Nothing,
        true if is_whole(socket, ruleset)? => return Ok(Found::Same),
        true => Found::Other,
    };
    let left = match found {
        Found::Other => Left { chains: names(socket, GET_CHAIN, 3)?, sets: names(socket, GET_SET, 2)? },
        _ => Left::default(),
    };
    let mark = fingerprint(ruleset);
    let mut batch = socket.messages();
    batch.begin_batch();
    batch.message(NFTABLES, NEW_TABLE, REQUEST | CREATE, encode::INET, |table| {
        table.name(1, TABLE);
    });
    clear(&left, ruleset, &mut batch);
    let before_timeouts = batch.sequence();
    put_objects(&mut batch, ruleset);
    ruleset.chains.iter().for_each(|chain| put_chain(&mut batch, chain));
    let before_rules = batch.sequence();
    ruleset.chains.iter().for_each(|chain| put_rules(&mut batch, chain, &mark));
    let last = acknowledge(&mut batch);
    batch.end_batch();
    socket.commit(&batch, last).map_err(|failed| {
        let place = |before: u32| usize::try_from(failed.sequence.checked_sub(before + 1)?).ok();
        let timeouts = place(before_timeouts).is_some_and(|place| place < ruleset.timeouts.len());
        let rule = place(before_rules).and_then(|place| {
            ruleset.chains.iter().flat_map(|chain| chain.rules.iter().map(move |rule| (chain, rule))).nth(place)
        });
        let part = match rule {
            Some((chain, words)) => Some(format!("a rule of {} ({})", chain.name, needs(words))),
            None => timeouts.then(|| format!("time-outs ({TIMEOUTS})")),
        };
        NotLoaded { failed, part }
    })?;
    Ok(found)
}

/// Why a ruleset is not loaded.
#[derive(Debug, PartialEq, Eq)]
pub struct NotLoaded {
    /// What the kernel says.
    pub failed: Failed,
    /// Which part of it the kernel does not take, and what that needs.
    pub part: Option<String>,
}

impl From<Failed> for NotLoaded {
    fn from(failed: Failed) -> Self {
        Self { failed, part: None }
    }
}

impl std::fmt::Display for NotLoaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.part {
            Some(part) => write!(f, "the kernel refuses {part}: {}", self.failed.errno),
            None => self.failed.fmt(f),
        }
    }
}

const TIMEOUTS: &str = "`ct timeout` needs Linux 4.19 with CONFIG_NF_CONNTRACK_TIMEOUT";

/// What the less usual words of a rule need of a kernel (linux/net/netfilter/Kconfig and the history of nf_tables).
fn needs(words: &[Word]) -> String {
    let needs = words.iter().filter_map(|word| match word {
        Word::WithoutFastOpen => Some("`reset tcp option` needs Linux 5.18"),
        Word::Timeouts(_) => Some(TIMEOUTS),
        Word::Events(_) => Some("`ct event` needs CONFIG_NF_CONNTRACK_EVENTS"),
        Word::MoreThan { .. } => Some("`ct count` needs Linux 4.18 with CONFIG_NFT_CONNLIMIT"),
        Word::Local => Some("`fib` needs CONFIG_NFT_FIB_INET"),
        Word::ShareBelow { .. } => Some("`jhash` needs CONFIG_NFT_HASH"),
        Word::Reset => Some("`reject` needs CONFIG_NFT_REJECT"),
        Word::ToProvider(_) => Some("`dnat` in inet needs Linux 5.2 with CONFIG_NFT_NAT"),
        Word::Masquerade => Some("`masquerade` in inet needs Linux 5.2 with CONFIG_NFT_MASQ"),
        _ => None,
    });
    let needs: Vec<_> = needs.collect();
    if needs.is_empty() { format!("{words:?}") } else { needs.join("; ") }
}

/// Goes from the ruleset that is there to one with the same sets and chains: replaces the rules that differ, and leaves the
/// counters of all others.
///
/// # Errors
/// If the kernel refuses: the rules are as before.
pub fn change(socket: &mut Socket, from: &Ruleset, to: &Ruleset) -> Result<(), Failed> {
    let mark = fingerprint(to);
    let mut batch = socket.messages();
    batch.begin_batch();
    for chain in to.chains.iter().filter(|chain| carries_mark(chain) || !from.chains.contains(chain)) {
        empty(&mut batch, &chain.name);
        put_rules(&mut batch, chain, &mark);
    }
    let last = acknowledge(&mut batch);
    batch.end_batch();
    socket.commit(&batch, last)
}

/// Removes everything of ours.
///
/// # Errors
/// If the kernel refuses.
pub fn remove(socket: &mut Socket) -> Result<(), Failed> {
    if !is_present(socket)? {
        return Ok(());
    }
    let mut batch = socket.messages();
    batch.begin_batch();
    let last = batch.message(NFTABLES, DELETE_TABLE, REQUEST | ACK, encode::INET, |table| {
        table.name(1, TABLE);
    });
    batch.end_batch();
    socket.commit(&batch, last)
}

/// Whether our table is there.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn is_present(socket: &mut Socket) -> Result<bool, Failed> {
    let mut request = socket.messages();
    request.message(NFTABLES, GET_TABLE, REQUEST | ACK, encode::INET, |table| {
        table.name(1, TABLE);
    });
    match socket.ask(&request, |_| ()) {
        Ok(()) => Ok(true),
        Err(Failed { errno: Errno::NOENT, .. }) => Ok(false),
        Err(failed) => Err(failed),
    }
}

/// Whether this very ruleset is there, with as many rules in the chains that the kernel itself goes through as there must be:
/// another program may remove the table, or empty it.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn is_whole(socket: &mut Socket, ruleset: &Ruleset) -> Result<bool, Failed> {
    let mark = fingerprint(ruleset);
    for chain in ruleset.chains.iter().filter(|chain| chain.hook.is_some()) {
        let mut request = socket.messages();
        request.message(NFTABLES, GET_RULE, REQUEST | DUMP, encode::INET, |out| {
            out.name(1, TABLE).name(2, &chain.name);
        });
        let (mut rules, mut marked) = (0, 0);
        let answered = socket.ask(&request, |message| {
            rules += 1;
            marked += usize::from(message.attributes().find(encode::RULE_USER_DATA) == Some(mark.as_slice()));
        });
        match answered {
            Ok(()) if rules == chain.rules.len() && (marked == rules || !carries_mark(chain)) => {}
            Ok(()) | Err(Failed { errno: Errno::NOENT, .. }) => return Ok(false),
            Err(failed) => return Err(failed),
        }
    }
    Ok(true)
}

/// Whether the rules of this chain say which ruleset they are of: a table keeps the comment with which it was made, rules are
/// made anew. Of a chain whose rules count nothing, for they are replaced with every change.
fn carries_mark(chain: &Chain) -> bool {
    chain.name == "prerouting"
}

/// Names a ruleset by all that it says, in the form of nft's comments so that nft shows it.
fn fingerprint(ruleset: &Ruleset) -> Vec<u8> {
    let hash = kmsgate_orders::table::fingerprint(&format!("{ruleset:?}"));
    let text = format!("kmsgate {hash:016x}\0");
    let mut comment = vec![0, u8::try_from(text.len()).unwrap_or(u8::MAX)];
    comment.extend_from_slice(text.as_bytes());
    comment
}

/// Chains and sets that are there already.
#[derive(Default)]
struct Left {
    chains: Vec<String>,
    sets: Vec<String>,
}

/// Takes away what another version or configuration left: its rules, and chains and sets that the new one does not have.
fn clear(left: &Left, ruleset: &Ruleset, batch: &mut Messages) {
    let Left { chains, sets } = left;
    chains.iter().for_each(|chain| empty(batch, chain));
    for chain in chains.iter().filter(|name| !ruleset.chains.iter().any(|chain| chain.name == **name)) {
        batch.message(NFTABLES, DELETE_CHAIN, REQUEST, encode::INET, |out| {
            out.name(1, TABLE).name(3, chain);
        });
    }
    for name in sets {
        match ruleset.sets.iter().find(|set| set.name == *name) {
            None => {
                batch.message(NFTABLES, DELETE_SET, REQUEST, encode::INET, |out| {
                    out.name(1, TABLE).name(2, name);
                });
            }
            Some(set) if matches!(set.kind, SetKind::Addresses(_) | SetKind::Networks(_) | SetKind::Bare) => {
                batch.message(NFTABLES, DELETE_ELEMENTS, REQUEST, encode::INET, |out| {
                    out.name(1, TABLE).name(2, name);
                });
            }
            Some(_) => {}
        }
    }
}

/// The names of chains or sets in our table; `attribute` is where they stand.
fn names(socket: &mut Socket, kind: u16, attribute: u16) -> Result<Vec<String>, Failed> {
    let mut request = socket.messages();
    request.message(NFTABLES, kind, REQUEST | DUMP, encode::INET, |out| {
        out.name(1, TABLE);
    });
    let mut names = vec![];
    socket.ask(&request, |message| {
        let text = |kind| message.attributes().find(kind).and_then(|name| name.strip_suffix(&[0]));
        if text(1) == Some(TABLE.as_bytes())
            && let Some(name) = text(attribute)
        {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    })?;
    Ok(names)
}

fn put_objects(batch: &mut Messages, ruleset: &Ruleset) {
    for timeouts in &ruleset.timeouts {
        batch.message(NFTABLES, NEW_OBJECT, REQUEST | CREATE, encode::INET, |out| encode::timeouts(out, timeouts));
    }
    for (set, id) in ruleset.sets.iter().zip(1..) {
        batch.message(NFTABLES, NEW_SET, REQUEST | CREATE, encode::INET, |out| encode::set(out, set, id));
        let elements = encode::constant_elements(set);
        if elements.is_empty() {
            continue;
        }
        batch.message(NFTABLES, NEW_ELEMENTS, REQUEST | CREATE, encode::INET, |out| {
            out.name(1, TABLE).name(2, &set.name).u32(4, id);
            out.nest(3, |list| {
                for (key, ends) in &elements {
                    list.nest(1, |element| {
                        if *ends {
                            element.u32(3, 1);
                        }
                        element.nest(1, |data| {
                            data.bytes(1, key);
                        });
                    });
                }
            });
        });
    }
}

fn put_chain(batch: &mut Messages, chain: &Chain) {
    batch.message(NFTABLES, NEW_CHAIN, REQUEST | CREATE, encode::INET, |out| encode::chain(out, chain));
}

/// Appends a chain's rules.
fn put_rules(batch: &mut Messages, chain: &Chain, mark: &[u8]) {
    let comment = carries_mark(chain).then_some(mark);
    for words in &chain.rules {
        batch.message(NFTABLES, NEW_RULE, REQUEST | CREATE | APPEND, encode::INET, |out| {
            encode::rule(out, &chain.name, words, comment);
        });
    }
}

fn empty(batch: &mut Messages, chain: &str) {
    batch.message(NFTABLES, DELETE_RULE, REQUEST, encode::INET, |out| {
        out.name(1, TABLE).name(2, chain);
    });
}

/// A last message that asks for an acknowledgement and changes nothing.
fn acknowledge(batch: &mut Messages) -> u32 {
    batch.message(NFTABLES, NEW_TABLE, REQUEST | CREATE | ACK, encode::INET, |table| {
        table.name(1, TABLE);
    })
}
