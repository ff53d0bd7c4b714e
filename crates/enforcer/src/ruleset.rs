//! The ruleset for a table. What must never happen here: a packet to a provider that no grant and no bypass network covers, a
//! rule per grant.
//!
//! The way of a packet: `gate` (may it pass?), `syn` (may it begin a connection?), `claim` (takes one of the grant's
//! connections), `pool` (to which provider), `forward` (only what was admitted, both ways). Facts and attacks behind
//! each line: ARCHITECTURE.md, "The kernel forwarder".

use crate::marks::Marks;
use crate::rule::{
    ACK, Chain, ESTABLISHED, EVENTS_OF_CLAIMED, EVENTS_OF_PENDING, FIN, Family, Hook, INVALID, Key, NEW, RST, Ruleset,
    SYN, Set, SetKind, Timeouts, UNTRACKED, Word,
};
use Word::{
    Accept, AddMark, BroughtMore, Count, Drop, Events, Extensions, Flags, From, Goto, Icmp, In, IntoReset, Is,
    LastsLonger, Local, Mark, MarkFrom, Masquerade, MoreThan, NotFlags, NotIn, Options, Original, Port, Remove, Reset,
    SetMark, ShareBelow, State, Tcp, Timeouts as Lasting, ToProvider, WithoutFastOpen,
};
use kmsgate_orders::table::{Refuse, ServiceEntry, Table};

/// Half-open connections of one address at most (K10).
const HALF_OPEN: u32 = 256;
/// A claim must come from an entry that has left SYN_RECV, whose time-out is [`SYN_RECV`] (K02).
const LEFT_SYN_RECV: u32 = 30_000;
const SYN_RECV: u32 = 10;

const PREROUTING: Hook =
    Hook { kind: "filter", number: 0, name: "prerouting", priority: -150, priority_name: "mangle" };
const DESTINATION: Hook = Hook { kind: "nat", number: 0, name: "prerouting", priority: -100, priority_name: "dstnat" };
const FORWARD: Hook = Hook { kind: "filter", number: 2, name: "forward", priority: 0, priority_name: "filter" };
const SOURCE: Hook = Hook { kind: "nat", number: 4, name: "postrouting", priority: 100, priority_name: "srcnat" };

/// Which providers are up, in the table's order.
pub type Up = Vec<Vec<bool>>;

/// Every provider up.
#[must_use]
pub fn all_up(table: &Table) -> Up {
    table.services.iter().map(|service| vec![true; service.providers.len()]).collect()
}

/// Names of a service's sets.
#[derive(Debug, Clone)]
pub struct Names<'a>(pub &'a str, pub Family);

impl Names<'_> {
    /// Addresses that may begin connections.
    #[must_use]
    pub fn open(&self) -> String {
        self.of("open")
    }

    /// The mark that a grant's connections get.
    #[must_use]
    pub fn generation(&self) -> String {
        self.of("gen")
    }

    /// How many connections are left.
    #[must_use]
    pub fn budget(&self) -> String {
        self.of("pass")
    }

    /// How many are left but the last.
    #[must_use]
    pub fn not_last(&self) -> String {
        self.of("more")
    }

    /// Addresses whose connections a program on the gateway carries.
    #[must_use]
    pub fn relayed(&self) -> String {
        self.of("relay")
    }

    fn of(&self, what: &str) -> String {
        format!("{}_{what}{}", self.0, self.1.digit())
    }
}

/// The name of the set of running connections.
#[must_use]
pub fn live(family: Family) -> String {
    format!("live{}", family.digit())
}

/// The whole ruleset. None if the table's mask holds no marks.
#[must_use]
pub fn of(table: &Table, up: &Up) -> Option<Ruleset> {
    let marks = Marks::within(table.mark_mask)?;
    let plan = Plan { table, marks };
    let mut chains = vec![];
    for (index, service) in plan.services() {
        for family in Family::BOTH {
            chains.extend(plan.pool_chains(index, service, family, up));
            chains.push(plan.claimed(service, family));
            chains.push(plan.claim(service, family));
            chains.push(plan.syn(index, service, family));
            chains.push(plan.gate(index, service, family));
        }
    }
    chains.extend([plan.ours(), plan.prerouting(), plan.destination(), plan.forward()]);
    if table.masquerade {
        chains.push(plan.source());
    }
    Some(Ruleset { timeouts: plan.timeouts(), sets: plan.sets(), chains })
}

struct Plan<'a> {
    table: &'a Table,
    marks: Marks,
}

impl Plan<'_> {
    fn services(&self) -> impl Iterator<Item = (u8, &ServiceEntry)> {
        (0..).zip(&self.table.services)
    }

    /// The packet is for us: for one of the addresses at which services are offered, if they are named.
    fn local(&self, family: Family) -> Word {
        let none = self.table.addresses.is_empty();
        if none { Local } else { In(vec![Key::Destination(family)], format!("addresses{}", family.digit())) }
    }

    /// What becomes of a packet that may not pass, from outside.
    fn refused(&self) -> Vec<Word> {
        match self.table.refuse {
            Refuse::Reset => vec![Tcp, Count, Reset],
            Refuse::Drop => vec![Count, Drop],
        }
    }

    fn prerouting(&self) -> Chain {
        let mut rules = vec![];
        for interface in &self.table.external {
            for (_, service) in self.services() {
                for family in Family::BOTH {
                    rules.push(vec![
                        From(interface.clone()),
                        Is(family),
                        Tcp,
                        Port(service.port),
                        self.local(family),
                        Goto(chain(service, "gate", family)),
                    ]);
                }
            }
        }
        Chain { name: "prerouting".into(), hook: Some(PREROUTING), rules }
    }

    fn gate(&self, index: u8, service: &ServiceEntry, family: Family) -> Chain {
        let (marks, names) = (&self.marks, Names(&service.name, family));
        let source = vec![Key::Source(family)];
        let running = In(vec![Key::Source(family), Key::Mark(marks.naming())], live(family));
        let mut rules = vec![
            // A SYN never belongs to a running connection: conntrack would let it open a claimed entry again (K01, K08).
            vec![Tcp, Flags { of: FIN | SYN | RST | ACK, set: SYN }, Goto(chain(service, "syn", family))],
        ];
        if service.max_bytes_in > 0 {
            rules.push(vec![
                Mark(marks.running()),
                BroughtMore(service.max_bytes_in),
                AddMark(marks.end()),
                Tcp,
                IntoReset,
                Count,
                Accept,
            ]);
        }
        rules.extend([
            vec![Mark(marks.running()), Is(family), running, Accept],
            vec![Mark(marks.bypass(index)), Accept],
            // Only the first plain ACK of a handshake that conntrack saw completed spends the grant (F06, K02).
            vec![
                State(ESTABLISHED),
                Mark(marks.pending(index)),
                LastsLonger(LEFT_SYN_RECV),
                Tcp,
                Flags { of: FIN | SYN | RST | ACK, set: ACK },
                Is(family),
                In(source.clone(), names.open()),
                In(source, names.budget()),
                Goto(chain(service, "claim", family)),
            ],
            self.relayed(service, family),
            // The window of a claimed connection is over: first the provider learns it, then the client (K06, K07, F09).
            vec![
                State(ESTABLISHED),
                Original(true),
                Mark(marks.running()),
                AddMark(marks.end()),
                Tcp,
                IntoReset,
                Count,
                Accept,
            ],
            // A reset is never answered; one of a half-open connection may reach its provider.
            vec![Tcp, Flags { of: RST, set: RST }, Mark(marks.pending(index)), Accept],
            vec![Tcp, Flags { of: RST, set: RST }, Drop],
            // Answering what conntrack calls invalid would kill a running connection (K09).
            vec![State(INVALID), Count, Drop],
            // Whoever was admitted is told of the end, even where strangers are told nothing (F09).
            vec![Mark(marks.claimed()), Tcp, Count, Reset],
            self.refused(),
        ]);
        Chain { name: chain(service, "gate", family), hook: None, rules }
    }

    /// For the gateway's own relay. A connection that began under a grant of the kernel's stays that grant's.
    fn relayed(&self, service: &ServiceEntry, family: Family) -> Vec<Word> {
        let set = Names(&service.name, family).relayed();
        vec![Mark(self.marks.none()), Is(family), In(vec![Key::Source(family)], set), Accept]
    }

    fn syn(&self, index: u8, service: &ServiceEntry, family: Family) -> Chain {
        let bare = format!("bare{}", family.digit());
        let strange = match family {
            Family::V4 => vec![Is(family), Options, Count, Drop],
            Family::V6 => vec![Is(family), Extensions, Count, Drop],
        };
        let bypass = In(vec![Key::Source(family)], format!("{}_bypass{}", service.name, family.digit()));
        let rules = vec![
            // A reset in answer would end the running connection for conntrack (nf_ct_set_closing, Linux 6.4), and whoever
            // guesses its port would end it so.
            vec![Mark(self.marks.running()), Count, Drop],
            // No payload in a SYN: TCP Fast Open would bring a request before the claim (K05).
            vec![WithoutFastOpen],
            strange,
            vec![Is(family), Tcp, NotIn(vec![Key::Length(family), Key::DataOffset], bare), Count, Drop],
            vec![Is(family), bypass, SetMark(self.marks.bypass(index)), Count, Goto(chain(service, "begin", family))],
            vec![
                Is(family),
                In(vec![Key::Source(family)], Names(&service.name, family).open()),
                Goto(chain(service, "begin", family)),
            ],
            self.relayed(service, family),
            self.refused(),
        ];
        Chain { name: chain(service, "syn", family), hook: None, rules }
    }

    /// `begin` and `pool` of a family: what depends on which providers are up. Without any, a SYN is refused before it could
    /// be answered by this machine itself (F07).
    fn pool_chains(&self, index: u8, service: &ServiceEntry, family: Family, up: &Up) -> [Chain; 2] {
        let ups = up.get(usize::from(index)).map(Vec::as_slice).unwrap_or_default();
        let usable: Vec<_> = service
            .providers
            .iter()
            .zip(ups)
            .filter(|(provider, up)| **up && Family::of(&provider.address.ip()) == family)
            .map(|(provider, _)| provider)
            .collect();
        let (pending, bypass) = (self.marks.pending(index), self.marks.bypass(index));
        let half = format!("{}_half{}", service.name, family.digit());
        let begin = if usable.is_empty() {
            vec![self.refused()]
        } else {
            vec![
                vec![Mark(bypass), Accept],
                vec![State(NEW), Is(family), MoreThan { family, set: half, connections: HALF_OPEN }, Count, Drop],
                vec![State(NEW), SetMark(pending), Lasting(timeouts_name(family)), Events(EVENTS_OF_PENDING), Accept],
                // Sent again because the answer was lost (F04).
                vec![Mark(pending), Accept],
                self.refused(),
            ]
        };
        let of = usable.iter().map(|provider| u32::from(provider.weight)).sum();
        let mut below = 0;
        let mut to_provider = vec![];
        for (place, provider) in usable.iter().enumerate() {
            below += u32::from(provider.weight);
            let mut rule = vec![Is(family), Tcp];
            if place + 1 < usable.len() {
                rule.push(ShareBelow { family, of, below });
            }
            rule.extend([Count, ToProvider(provider.address)]);
            to_provider.push(rule);
        }
        [
            Chain { name: chain(service, "begin", family), hook: None, rules: begin },
            Chain { name: chain(service, "pool", family), hook: None, rules: to_provider },
        ]
    }

    fn claim(&self, service: &ServiceEntry, family: Family) -> Chain {
        let map = Names(&service.name, family).generation();
        let rules = vec![
            vec![
                Is(family),
                MarkFrom { family, map, mask: self.table.mark_mask },
                Events(EVENTS_OF_CLAIMED),
                Count,
                Goto(chain(service, "claimed", family)),
            ],
            vec![Tcp, Count, Reset],
        ];
        Chain { name: chain(service, "claim", family), hook: None, rules }
    }

    /// Behind the last claim no SYN may pass: the address leaves the set that admits them. Exactness does not hang on that.
    fn claimed(&self, service: &ServiceEntry, family: Family) -> Chain {
        let names = Names(&service.name, family);
        let rules = vec![
            vec![Is(family), In(vec![Key::Source(family)], names.not_last()), Accept],
            vec![Is(family), Remove(family, names.open())],
            vec![Accept],
        ];
        Chain { name: chain(service, "claimed", family), hook: None, rules }
    }

    fn destination(&self) -> Chain {
        let mut rules = vec![];
        for (index, service) in self.services() {
            for family in Family::BOTH {
                for mark in [self.marks.pending(index), self.marks.bypass(index)] {
                    rules.push(vec![Mark(mark), Is(family), Goto(chain(service, "pool", family))]);
                }
            }
        }
        Chain { name: "destination".into(), hook: Some(DESTINATION), rules }
    }

    fn forward(&self) -> Chain {
        let marks = &self.marks;
        let mut rules: Vec<_> = [marks.any_pending(), marks.any_bypass(), marks.claimed()]
            .into_iter()
            .map(|ours| vec![Mark(ours), Goto("ours".into())])
            .collect();
        // Nobody else reaches a provider from outside (F10).
        for interface in &self.table.external {
            for family in Family::BOTH {
                let provider = || In(vec![Key::Destination(family)], format!("providers{}", family.digit()));
                rules.push(vec![From(interface.clone()), Original(true), Is(family), provider(), Count, Drop]);
                rules.push(vec![
                    From(interface.clone()),
                    State(INVALID | UNTRACKED),
                    Is(family),
                    provider(),
                    Count,
                    Drop,
                ]);
                // Where conntrack forgot a connection and the provider spoke next, conntrack takes the person's packets for
                // answers to the provider (K08).
                for port in self.provider_ports(family) {
                    let from = From(interface.clone());
                    rules.push(vec![from, Is(family), provider(), Tcp, Port(port), Count, Drop]);
                }
            }
        }
        Chain { name: "forward".into(), hook: Some(FORWARD), rules }
    }

    fn provider_ports(&self, family: Family) -> std::collections::BTreeSet<u16> {
        let all = self.table.services.iter().flat_map(|service| &service.providers);
        all.filter(|provider| Family::of(&provider.address.ip()) == family)
            .map(|provider| provider.address.port())
            .collect()
    }

    /// What is forwarded of our connections. The way there was admitted in `gate`; the way back is admitted here.
    fn ours(&self) -> Chain {
        let marks = &self.marks;
        let mut rules = vec![];
        for interface in &self.table.external {
            rules.push(vec![Original(true), From(interface.clone()), Tcp, Accept]);
        }
        // With our mark it can only be about a connection of ours: a router's word that packets are too long, above all.
        rules.extend([vec![Icmp(Family::V4), Accept], vec![Icmp(Family::V6), Accept]]);
        rules.push(vec![Original(true), Count, Drop]);
        rules.push(vec![Mark(marks.any_bypass()), Accept]);
        // A provider's reset ends the connection: its entry may not be used again (K01).
        rules.push(vec![Mark(marks.running()), Tcp, Flags { of: RST, set: RST }, AddMark(marks.end()), Count, Accept]);
        for family in Family::BOTH {
            let running = || In(vec![Key::Destination(family), Key::Mark(marks.naming())], live(family));
            let payload = NotIn(vec![Key::Length(family), Key::DataOffset], format!("bare{}", family.digit()));
            rules.push(vec![
                Mark(marks.unanswered()),
                Is(family),
                running(),
                Tcp,
                payload,
                AddMark(marks.answer()),
                Accept,
            ]);
            rules.push(vec![Mark(marks.running()), Is(family), running(), Accept]);
        }
        rules.push(vec![Tcp, Flags { of: RST, set: RST }, Accept]);
        for (index, service) in self.services() {
            for family in Family::BOTH {
                rules.push(vec![
                    Mark(marks.pending(index)),
                    Tcp,
                    Flags { of: FIN | SYN | RST | ACK, set: SYN | ACK },
                    Is(family),
                    In(vec![Key::Destination(family)], Names(&service.name, family).open()),
                    Accept,
                ]);
            }
        }
        rules.extend([
            vec![Mark(marks.any_pending()), Tcp, NotFlags { of: FIN | SYN | RST | ACK, set: SYN | ACK }, Count, Drop],
            // The first late packet becomes a reset for the far side, the next is answered with one (K06, K07).
            vec![Mark(marks.running()), AddMark(marks.end()), Tcp, IntoReset, Count, Accept],
            vec![Tcp, Count, Reset],
        ]);
        Chain { name: "ours".into(), hook: None, rules }
    }

    fn source(&self) -> Chain {
        let rules = [self.marks.any_pending(), self.marks.any_bypass()];
        let rules = rules.into_iter().map(|ours| vec![Mark(ours), Masquerade]).collect();
        Chain { name: "source".into(), hook: Some(SOURCE), rules }
    }

    fn sets(&self) -> Vec<Set> {
        let mut sets = vec![];
        for family in Family::BOTH {
            let mut set = |name: String, kind, size| sets.push(Set { name, family, kind, size });
            let grants = Some(self.table.grants);
            // A grant of an address at each of the services.
            let services = u32::try_from(self.table.services.len()).unwrap_or(u32::MAX);
            set(live(family), SetKind::Live, Some(self.table.grants.saturating_mul(services)));
            set(format!("bare{}", family.digit()), SetKind::Bare, None);
            if !self.table.addresses.is_empty() {
                let ours = self.table.addresses.iter().copied().filter(|ip| Family::of(ip) == family);
                set(format!("addresses{}", family.digit()), SetKind::Addresses(ours.collect()), None);
            }
            let all = self.table.services.iter().flat_map(|service| &service.providers);
            let mut providers: Vec<_> =
                all.map(|provider| provider.address.ip()).filter(|ip| Family::of(ip) == family).collect();
            providers.sort_unstable();
            providers.dedup();
            set(format!("providers{}", family.digit()), SetKind::Addresses(providers), None);
            for service in &self.table.services {
                let names = Names(&service.name, family);
                set(names.open(), SetKind::Window, grants);
                set(names.generation(), SetKind::Generation, grants);
                set(names.budget(), SetKind::Budget, grants);
                set(names.not_last(), SetKind::Budget, grants);
                set(names.relayed(), SetKind::Window, grants);
                set(format!("{}_half{}", service.name, family.digit()), SetKind::Half, grants);
                let bypass = service.bypass.iter().filter(|network| Family::of(&network.first) == family);
                let bypass = SetKind::Networks(bypass.copied().collect());
                set(format!("{}_bypass{}", service.name, family.digit()), bypass, None);
            }
        }
        sets
    }

    fn timeouts(&self) -> Vec<Timeouts> {
        // An idle connection's entry lives as long as a window may.
        let established = self.table.longest_window.max(120);
        let policy = vec![
            (1, "syn_sent", 10),
            (2, "syn_recv", SYN_RECV),
            (3, "established", established),
            (4, "fin_wait", 60),
            (5, "close_wait", 60),
            (6, "last_ack", 20),
            (7, "time_wait", 20),
            (8, "close", 5),
            (11, "unack", 60),
        ];
        let named = |family| Timeouts { name: timeouts_name(family), family, policy: policy.clone() };
        Family::BOTH.into_iter().map(named).collect()
    }
}

fn timeouts_name(family: Family) -> String {
    format!("times{}", family.digit())
}

fn chain(service: &ServiceEntry, what: &str, family: Family) -> String {
    format!("{}_{what}{}", service.name, family.digit())
}
