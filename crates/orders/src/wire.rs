//! Frames. What must never happen here: a length that is believed, a byte left over, a value outside its range.
//!
//! A frame is its length (u16, without itself, at most [`LONGEST`]), a number that an answer repeats (u32; 0 for news), a
//! kind (u8), and the kind's fields, numbers in network order.

use crate::order::{Answer, Carried, Carrier, Ends, GrantName, News, Opening, Order, Place, Refused, Standing};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The greatest length of a frame, without the two bytes that say it.
pub const LONGEST: usize = 128;
/// Kinds from here on are news.
const NEWS: u8 = 64;

/// A frame that nobody of ours sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Longer than [`LONGEST`], or too short for its kind, or with bytes left over.
    Length,
    /// No such kind.
    Kind(u8),
    /// A field outside its range.
    Field,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("a frame of a wrong length"),
            Self::Kind(kind) => write!(f, "a frame of unknown kind {kind}"),
            Self::Field => f.write_str("a field outside its range"),
        }
    }
}

impl std::error::Error for Malformed {}

/// What comes back from the enforcer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// To the order of this number.
    Answer(u32, Answer),
    /// Unasked.
    News(News),
}

/// Cuts the first whole frame off `input`: its body, and how many bytes it took. `None` if more must be read first.
///
/// # Errors
/// [`Malformed::Length`] as soon as the length is known to be wrong.
pub fn frame(input: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some((head, rest)) = input.split_first_chunk::<2>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*head));
    if !(5..=LONGEST).contains(&length) {
        return Err(Malformed::Length);
    }
    Ok(rest.get(..length).map(|body| (body, length + 2)))
}

impl Order {
    /// Appends the frame of an order.
    pub fn write(&self, number: u32, out: &mut Vec<u8>) {
        put(out, number, |out| match self {
            Self::Hello { version, table } => out.u8(0).u16(*version).u64(*table),
            Self::Open(opening) => out.u8(1).opening(opening),
            Self::Adopt(opening) => out.u8(2).opening(opening),
            Self::Close { grant, place } => out.u8(3).bytes(grant).place(place),
            Self::State { place } => out.u8(4).place(place),
            Self::GiveBack { grant, place, count } => out.u8(5).bytes(grant).place(place).u16(*count),
            Self::Connection(ends) => out.u8(6).ends(ends),
            Self::Provider { service, provider, up } => out.u8(7).u8(*service).u8(*provider).u8(u8::from(*up)),
            Self::Watch => out.u8(8),
            Self::List => out.u8(9),
            Self::Connections => out.u8(10),
            Self::Cut(ends) => out.u8(11).ends(ends),
        });
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`Malformed`]; nothing of it may be believed then.
    pub fn read(body: &[u8]) -> Result<(u32, Self), Malformed> {
        let mut from = Reader(body);
        let number = from.u32()?;
        let order = match from.u8()? {
            0 => Self::Hello { version: from.u16()?, table: from.u64()? },
            1 => Self::Open(from.opening()?),
            2 => Self::Adopt(from.opening()?),
            3 => Self::Close { grant: from.array()?, place: from.place()? },
            4 => Self::State { place: from.place()? },
            5 => Self::GiveBack { grant: from.array()?, place: from.place()?, count: from.u16()? },
            6 => Self::Connection(from.ends()?),
            7 => Self::Provider { service: from.u8()?, provider: from.u8()?, up: from.bool()? },
            8 => Self::Watch,
            9 => Self::List,
            10 => Self::Connections,
            11 => Self::Cut(from.ends()?),
            kind => return Err(Malformed::Kind(kind)),
        };
        from.end()?;
        Ok((number, order))
    }
}

impl Reply {
    /// Appends the frame of an answer or of news.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Answer(number, answer) => put(out, *number, |out| match answer {
                Answer::Done => out.u8(0),
                Answer::Absent => out.u8(1),
                Answer::Standing(standing) => out
                    .u8(2)
                    .bytes(&standing.grant)
                    .carrier(standing.carrier)
                    .u64(standing.remaining)
                    .u16(standing.claimed)
                    .u16(standing.left),
                Answer::Connection(carried) => out.u8(3).carried(carried),
                Answer::Refused(refused) => {
                    let (code, errno) = refused.code();
                    out.u8(4).u8(code).u16(errno)
                }
            }),
            Self::News(news) => put(out, 0, |out| match news {
                News::Claimed(ends, carried) => out.u8(NEWS).ends(ends).carried(carried),
                News::Answered(ends, carried) => out.u8(NEWS + 1).ends(ends).carried(carried),
                News::Ended(ends, carried) => out.u8(NEWS + 2).ends(ends).carried(carried),
                News::Lost => out.u8(NEWS + 3),
                News::Reinstalled => out.u8(NEWS + 4),
                News::Found(place, grant) => out.u8(NEWS + 5).place(place).bytes(grant),
            }),
        }
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`Malformed`]; nothing of it may be believed then.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader(body);
        let number = from.u32()?;
        let answer = |answer| Self::Answer(number, answer);
        let reply = match from.u8()? {
            0 => answer(Answer::Done),
            1 => answer(Answer::Absent),
            2 => answer(Answer::Standing(Standing {
                grant: from.array()?,
                carrier: from.carrier()?,
                remaining: from.u64()?,
                claimed: from.u16()?,
                left: from.u16()?,
            })),
            3 => answer(Answer::Connection(from.carried()?)),
            4 => {
                let (code, errno) = (from.u8()?, from.u16()?);
                answer(Answer::Refused(Refused::of(code, errno).ok_or(Malformed::Field)?))
            }
            NEWS => Self::News(News::Claimed(from.ends()?, from.carried()?)),
            65 => Self::News(News::Answered(from.ends()?, from.carried()?)),
            66 => Self::News(News::Ended(from.ends()?, from.carried()?)),
            67 => Self::News(News::Lost),
            68 => Self::News(News::Reinstalled),
            69 => Self::News(News::Found(from.place()?, from.array()?)),
            kind => return Err(Malformed::Kind(kind)),
        };
        from.end()?;
        Ok(reply)
    }
}

impl Refused {
    fn code(self) -> (u8, u16) {
        match self {
            Self::Late => (0, 0),
            Self::TooLong => (1, 0),
            Self::NotListed => (2, 0),
            Self::TooFast => (3, 0),
            Self::Full => (4, 0),
            Self::NoProvider => (5, 0),
            Self::NotYet => (6, 0),
            Self::Occupied => (7, 0),
            Self::OtherTable => (9, 0),
            Self::Kernel(errno) => (8, errno),
        }
    }

    fn of(code: u8, errno: u16) -> Option<Self> {
        let all = [
            Self::Late,
            Self::TooLong,
            Self::NotListed,
            Self::TooFast,
            Self::Full,
            Self::NoProvider,
            Self::NotYet,
            Self::Occupied,
            Self::OtherTable,
            Self::Kernel(errno),
        ];
        all.into_iter().find(|refused| refused.code() == (code, errno))
    }
}

/// Writes a frame's length when its body is there.
fn put(out: &mut Vec<u8>, number: u32, body: impl FnOnce(&mut Writer) -> &mut Writer) {
    let mut writer = Writer(Vec::with_capacity(LONGEST));
    writer.bytes(&number.to_be_bytes());
    body(&mut writer);
    let length = u16::try_from(writer.0.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.append(&mut writer.0);
}

struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn address(&mut self, address: &IpAddr) -> &mut Self {
        match address {
            IpAddr::V4(v4) => self.u8(4).bytes(&v4.octets()),
            IpAddr::V6(v6) => self.u8(6).bytes(&v6.octets()),
        }
    }

    fn place(&mut self, place: &Place) -> &mut Self {
        self.u8(place.service).address(&place.address)
    }

    fn opening(&mut self, opening: &Opening) -> &mut Self {
        self.bytes(&opening.grant)
            .place(&opening.place)
            .u64(opening.deadline)
            .u16(opening.connections)
            .u16(opening.claimed)
            .carrier(opening.carrier)
    }

    fn carrier(&mut self, carrier: Carrier) -> &mut Self {
        self.u8(u8::from(carrier == Carrier::Relay))
    }

    fn socket(&mut self, socket: &SocketAddr) -> &mut Self {
        self.address(&socket.ip()).u16(socket.port())
    }

    fn ends(&mut self, ends: &Ends) -> &mut Self {
        self.socket(&ends.client).socket(&ends.gateway)
    }

    fn carried(&mut self, carried: &Carried) -> &mut Self {
        self.u8(u8::from(carried.grant.is_some()))
            .bytes(&carried.grant.unwrap_or_default())
            .bytes(&carried.mark.to_be_bytes())
            .socket(&carried.provider)
            .u8(u8::from(carried.alive))
            .u8(u8::from(carried.answered))
            .u8(u8::from(carried.asked))
            .u8(u8::from(carried.by_provider))
            .u8(u8::from(carried.cut))
            .u64(carried.bytes_in)
            .u64(carried.bytes_out)
            .u64(carried.lasted)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Field),
        }
    }

    /// An address; an IPv4-mapped one is refused, since one address must have one spelling.
    fn address(&mut self) -> Result<IpAddr, Malformed> {
        match self.u8()? {
            4 => Ok(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))),
            6 => match Ipv6Addr::from(self.array::<16>()?) {
                mapped if mapped.to_ipv4_mapped().is_some() => Err(Malformed::Field),
                v6 => Ok(IpAddr::V6(v6)),
            },
            _ => Err(Malformed::Field),
        }
    }

    fn place(&mut self) -> Result<Place, Malformed> {
        Ok(Place { service: self.u8()?, address: self.address()? })
    }

    fn opening(&mut self) -> Result<Opening, Malformed> {
        let opening = Opening {
            grant: self.array::<16>()? as GrantName,
            place: self.place()?,
            deadline: self.u64()?,
            connections: self.u16()?,
            claimed: self.u16()?,
            carrier: self.carrier()?,
        };
        if opening.connections == 0 || opening.claimed > opening.connections {
            return Err(Malformed::Field);
        }
        Ok(opening)
    }

    fn carrier(&mut self) -> Result<Carrier, Malformed> {
        Ok(if self.bool()? { Carrier::Relay } else { Carrier::Kernel })
    }

    fn socket(&mut self) -> Result<SocketAddr, Malformed> {
        Ok(SocketAddr::new(self.address()?, self.u16()?))
    }

    fn ends(&mut self) -> Result<Ends, Malformed> {
        Ok(Ends { client: self.socket()?, gateway: self.socket()? })
    }

    fn carried(&mut self) -> Result<Carried, Malformed> {
        let named = self.bool()?;
        let grant = self.array()?;
        if !named && grant != [0; 16] {
            return Err(Malformed::Field);
        }
        Ok(Carried {
            grant: named.then_some(grant),
            mark: self.u32()?,
            provider: self.socket()?,
            alive: self.bool()?,
            answered: self.bool()?,
            asked: self.bool()?,
            by_provider: self.bool()?,
            cut: self.bool()?,
            bytes_in: self.u64()?,
            bytes_out: self.u64()?,
            lasted: self.u64()?,
        })
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Length) }
    }
}
