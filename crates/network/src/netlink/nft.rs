//! nf_tables over netlink: commands as data, and their encoding as one atomic batch. Numbers are those of
//! linux/netfilter/nf_tables.h.

use nix::libc;

use super::{
    ACK, APPEND, CREATE, DUMP, REQUEST,
    message::{Writer, attributes, find, find_path},
    socket::{INET, Socket},
};
use crate::Error;

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const DELCHAIN: u16 = SUBSYSTEM | 5;
const NEWRULE: u16 = SUBSYSTEM | 6;
const NEWSET: u16 = SUBSYSTEM | 9;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const GETSETELEM: u16 = SUBSYSTEM | 13;
const DELSETELEM: u16 = SUBSYSTEM | 14;

const VERDICT_TYPE: u32 = 0xffff_ff00;
const GOTO: i32 = -4;
const JUMP: i32 = -3;
const RETURN: i32 = -5;
const DROP: i32 = 0;

/// Elements per message, so that the list stays well below the 64 KiB of an attribute.
const ELEMENTS_PER_MESSAGE: usize = 256;

/// A 32-bit register, 0 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u8);

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Goto(String),
    Jump(String),
    Return,
    Drop,
}

/// Types of key and data fields, only for `nft list`. Numbers are nft's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Address = 7,
    Protocol = 12,
    Port = 13,
    Mark = 19,
}

/// What a set's elements lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetData {
    /// Nothing: a set.
    None,
    /// Verdicts: a verdict map.
    Verdict,
    /// Fields: a map.
    Fields(Vec<Field>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key: Vec<Field>,
    pub(crate) data: SetData,
    /// Filled by packets: at most this many elements, each for a limited time.
    pub(crate) dynamic: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    pub(crate) data: ElementData,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ElementData {
    None,
    Value(Vec<u8>),
    Verdict(Verdict),
}

/// A listed element.
pub(crate) type KeyAndData = (Vec<u8>, Vec<u8>);

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) kind: &'static str,
    /// `NF_INET_*`.
    pub(crate) hook: u32,
    pub(crate) priority: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Bytes of the IPv4 header.
    Network {
        offset: u32,
        length: u32,
        to: Register,
    },
    /// Bytes of the TCP or UDP header.
    Transport {
        offset: u32,
        length: u32,
        to: Register,
    },
    Meta {
        key: u32,
        to: Register,
    },
    ConnectionStatus {
        to: Register,
    },
    /// `fib daddr type`.
    AddressType {
        to: Register,
    },
    Mask {
        register: Register,
        mask: [u8; 4],
    },
    Compare {
        register: Register,
        equal: bool,
        value: Vec<u8>,
    },
    Load {
        to: Register,
        value: Vec<u8>,
    },
    Verdict(Verdict),
    /// Ends the rule unless the key is in the set.
    Member {
        set: &'static str,
        key: Register,
    },
    /// Ends the rule unless the key is in the map; writes the data.
    Map {
        set: &'static str,
        key: Register,
        to: Register,
    },
    /// Follows the verdict that the map has for the key, if any.
    VerdictMap {
        set: &'static str,
        key: Register,
    },
    /// A random number below `modulus`, in host byte order.
    Random {
        modulus: u32,
        to: Register,
    },
    /// Puts the key with the data into the map, or renews its time.
    Remember {
        set: &'static str,
        key: Register,
        data: Register,
        milliseconds: u64,
    },
    DestinationNat {
        address: Register,
        port: Register,
    },
    Masquerade,
    RejectTcpReset,
    RejectPortUnreachable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    AddTable,
    DeleteTable,
    AddChain { name: String, base: Option<Base> },
    DeleteChain { name: String },
    AddRule { chain: String, expressions: Vec<Expression> },
    AddSet(Set),
    AddElements { set: &'static str, elements: Vec<Element> },
    DeleteElements { set: &'static str, elements: Vec<Element> },
}

/// Carries out `commands` on the table of family `ip`, all or nothing.
pub(crate) fn transaction(socket: &Socket, table: &str, commands: &[Command]) -> Result<(), Error> {
    if commands.is_empty() {
        return Ok(());
    }
    let (bytes, last) = encode(table, commands);
    socket.execute(bytes, last, &format!("change nftables table {table}"))
}

/// Whether the table exists.
pub(crate) fn table_exists(socket: &Socket, table: &str) -> Result<bool, Error> {
    let mut writer = Writer::default();
    begin(&mut writer, GETTABLE, ACK, 1);
    writer.string(1, table);
    writer.end();
    match socket.execute(writer.finish(), 1, &format!("look for nftables table {table}")) {
        Ok(()) => Ok(true),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The elements of a set or map as key and data; verdicts have no data.
pub(crate) fn elements(socket: &Socket, table: &str, set: &str) -> Result<Vec<KeyAndData>, Error> {
    const LIST: u16 = 3;
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const VALUE: u16 = 1;
    let mut writer = Writer::default();
    begin(&mut writer, GETSETELEM, DUMP, 1);
    writer.string(1, table);
    writer.string(2, set);
    writer.end();
    let mut found = Vec::new();
    socket.dump(writer.finish(), &format!("list {set} of nftables table {table}"), &mut |message| {
        let body = message.payload.get(4..).unwrap_or_default();
        for (_, element) in attributes(find(body, LIST).unwrap_or_default()) {
            if let Some(key) = find_path(element, &[KEY, VALUE]) {
                found.push((key.to_vec(), find_path(element, &[DATA, VALUE]).unwrap_or_default().to_vec()));
            }
        }
    })?;
    Ok(found)
}

/// The batch for `commands` and the sequence number whose acknowledgement means that it is committed.
pub(crate) fn encode(table: &str, commands: &[Command]) -> (Option<Vec<u8>>, u32) {
    let mut batch = Batch { writer: Writer::default(), table, sequence: 0, sets: 0 };
    batch.boundary(BATCH_BEGIN);
    let last = commands.len().saturating_sub(1);
    for (index, command) in commands.iter().enumerate() {
        batch.command(command, index == last);
    }
    let sequence = batch.sequence;
    batch.boundary(BATCH_END);
    (batch.writer.finish(), sequence)
}

fn begin(writer: &mut Writer, kind: u16, flags: u16, sequence: u32) {
    writer.begin(kind, REQUEST | flags, sequence);
    writer.raw(&[INET_NFPROTO, 0, 0, 0]);
}

/// `NFPROTO_IPV4` equals `AF_INET`.
const INET_NFPROTO: u8 = INET;

struct Batch<'a> {
    writer: Writer,
    table: &'a str,
    sequence: u32,
    sets: u32,
}

// === impl Batch ===

impl Batch<'_> {
    fn boundary(&mut self, kind: u16) {
        self.sequence += 1;
        self.writer.begin(kind, REQUEST, self.sequence);
        self.writer.raw(&[0, 0, 0, 10]);
        self.writer.end();
    }

    fn message(&mut self, kind: u16, flags: u16, last: bool, body: impl FnOnce(&mut Writer, &str)) {
        self.sequence += 1;
        begin(&mut self.writer, kind, flags | if last { ACK } else { 0 }, self.sequence);
        body(&mut self.writer, self.table);
        self.writer.end();
    }

    fn command(&mut self, command: &Command, last: bool) {
        match command {
            Command::AddTable => self.message(NEWTABLE, CREATE, last, |writer, table| writer.string(1, table)),
            Command::DeleteTable => self.message(DELTABLE, 0, last, |writer, table| writer.string(1, table)),
            Command::AddChain { name, base } => self.message(NEWCHAIN, CREATE, last, |writer, table| {
                writer.string(1, table);
                writer.string(3, name);
                if let Some(base) = base {
                    writer.nested(4, |writer| {
                        writer.u32_be(1, base.hook);
                        writer.u32_be(2, base.priority.cast_unsigned());
                    });
                    writer.string(7, base.kind);
                }
            }),
            Command::DeleteChain { name } => self.message(DELCHAIN, 0, last, |writer, table| {
                writer.string(1, table);
                writer.string(3, name);
            }),
            Command::AddRule { chain, expressions } => {
                self.message(NEWRULE, CREATE | APPEND, last, |writer, table| {
                    writer.string(1, table);
                    writer.string(2, chain);
                    writer.nested(4, |writer| expressions.iter().for_each(|expression| write(writer, expression)));
                });
            }
            Command::AddSet(set) => {
                self.sets += 1;
                let id = self.sets;
                self.message(NEWSET, CREATE, last, |writer, table| write_set(writer, table, set, id));
            }
            Command::AddElements { set, elements } => self.elements(NEWSETELEM, CREATE, last, set, elements),
            Command::DeleteElements { set, elements } => self.elements(DELSETELEM, 0, last, set, elements),
        }
    }

    fn elements(&mut self, kind: u16, flags: u16, last: bool, set: &str, elements: &[Element]) {
        let deleting = kind == DELSETELEM;
        let count = elements.len().div_ceil(ELEMENTS_PER_MESSAGE);
        for (index, chunk) in elements.chunks(ELEMENTS_PER_MESSAGE).enumerate() {
            self.message(kind, flags, last && index + 1 == count, |writer, table| {
                writer.string(1, table);
                writer.string(2, set);
                writer.nested(3, |writer| {
                    for element in chunk {
                        writer.nested(1, |writer| {
                            writer.nested(1, |writer| writer.attribute(1, &element.key));
                            match &element.data {
                                _ if deleting => {}
                                ElementData::None => {}
                                ElementData::Value(value) => writer.nested(2, |writer| writer.attribute(1, value)),
                                ElementData::Verdict(verdict) => {
                                    writer.nested(2, |writer| write_verdict(writer, verdict));
                                }
                            }
                        });
                    }
                });
            });
        }
    }
}

fn write_set(writer: &mut Writer, table: &str, set: &Set, id: u32) {
    const FLAG_MAP: u32 = 0x8;
    const FLAG_TIMEOUT: u32 = 0x10;
    const FLAG_EVAL: u32 = 0x20;
    let mut flags = 0;
    if set.data != SetData::None {
        flags |= FLAG_MAP;
    }
    if set.dynamic.is_some() {
        flags |= FLAG_TIMEOUT | FLAG_EVAL;
    }
    writer.string(1, table);
    writer.string(2, set.name);
    writer.u32_be(3, flags);
    writer.u32_be(4, field_type(&set.key));
    writer.u32_be(5, field_length(&set.key));
    match &set.data {
        SetData::None => {}
        SetData::Verdict => {
            writer.u32_be(6, VERDICT_TYPE);
            // The kernel sizes verdicts itself and wants no length.
            writer.u32_be(7, 0);
        }
        SetData::Fields(fields) => {
            writer.u32_be(6, field_type(fields));
            writer.u32_be(7, field_length(fields));
        }
    }
    if let Some(size) = set.dynamic {
        writer.nested(9, |writer| writer.u32_be(1, size));
    }
    writer.u32_be(10, id);
}

/// nft's number for a concatenation: six bits per field.
fn field_type(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |number, field| number << 6 | *field as u32)
}

fn field_length(fields: &[Field]) -> u32 {
    fields.iter().map(|_| 4).sum()
}

fn write_verdict(writer: &mut Writer, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Goto(chain) => (GOTO, Some(chain)),
        Verdict::Jump(chain) => (JUMP, Some(chain)),
        Verdict::Return => (RETURN, None),
        Verdict::Drop => (DROP, None),
    };
    writer.nested(2, |writer| {
        writer.u32_be(1, code.cast_unsigned());
        if let Some(chain) = chain {
            writer.string(2, chain);
        }
    });
}

fn write(writer: &mut Writer, expression: &Expression) {
    let mut named = |name: &str, data: &dyn Fn(&mut Writer)| {
        writer.nested(1, |writer| {
            writer.string(1, name);
            writer.nested(2, |writer| data(writer));
        });
    };
    let number = |register: Register| u32::from(register.0) + 8;
    let payload = |writer: &mut Writer, base: u32, offset: u32, length: u32, to: Register| {
        writer.u32_be(1, number(to));
        writer.u32_be(2, base);
        writer.u32_be(3, offset);
        writer.u32_be(4, length);
    };
    match expression {
        Expression::Network { offset, length, to } => {
            named("payload", &|writer| payload(writer, 1, *offset, *length, *to));
        }
        Expression::Transport { offset, length, to } => {
            named("payload", &|writer| payload(writer, 2, *offset, *length, *to));
        }
        Expression::Meta { key, to } => named("meta", &|writer| {
            writer.u32_be(1, number(*to));
            writer.u32_be(2, *key);
        }),
        Expression::ConnectionStatus { to } => named("ct", &|writer| {
            writer.u32_be(1, number(*to));
            writer.u32_be(2, 2);
        }),
        Expression::AddressType { to } => named("fib", &|writer| {
            writer.u32_be(1, number(*to));
            writer.u32_be(2, 3);
            writer.u32_be(3, 2);
        }),
        Expression::Mask { register, mask } => named("bitwise", &|writer| {
            writer.u32_be(1, number(*register));
            writer.u32_be(2, number(*register));
            writer.u32_be(3, 4);
            writer.nested(4, |writer| writer.attribute(1, mask));
            writer.nested(5, |writer| writer.attribute(1, &[0; 4]));
        }),
        Expression::Compare { register, equal, value } => named("cmp", &|writer| {
            writer.u32_be(1, number(*register));
            writer.u32_be(2, u32::from(!equal));
            writer.nested(3, |writer| writer.attribute(1, value));
        }),
        Expression::Load { to, value } => named("immediate", &|writer| {
            writer.u32_be(1, number(*to));
            writer.nested(2, |writer| writer.attribute(1, value));
        }),
        Expression::Verdict(verdict) => named("immediate", &|writer| {
            writer.u32_be(1, 0);
            writer.nested(2, |writer| write_verdict(writer, verdict));
        }),
        Expression::Member { set, key } => named("lookup", &|writer| {
            writer.string(1, set);
            writer.u32_be(2, number(*key));
        }),
        Expression::Map { set, key, to } => named("lookup", &|writer| {
            writer.string(1, set);
            writer.u32_be(2, number(*key));
            writer.u32_be(3, number(*to));
        }),
        Expression::VerdictMap { set, key } => named("lookup", &|writer| {
            writer.string(1, set);
            writer.u32_be(2, number(*key));
            writer.u32_be(3, 0);
        }),
        Expression::Random { modulus, to } => named("numgen", &|writer| {
            writer.u32_be(1, number(*to));
            writer.u32_be(2, *modulus);
            writer.u32_be(3, 1);
        }),
        Expression::Remember { set, key, data, milliseconds } => named("dynset", &|writer| {
            writer.string(1, set);
            writer.u32_be(3, 1);
            writer.u32_be(4, number(*key));
            writer.u32_be(5, number(*data));
            writer.u64_be(6, *milliseconds);
        }),
        Expression::DestinationNat { address, port } => named("nat", &|writer| {
            writer.u32_be(1, 1);
            writer.u32_be(2, libc::NFPROTO_IPV4.cast_unsigned());
            writer.u32_be(3, number(*address));
            writer.u32_be(5, number(*port));
        }),
        // NF_NAT_RANGE_PROTO_RANDOM_FULLY: two connections at once never fight for one source port.
        Expression::Masquerade => named("masq", &|writer| writer.u32_be(1, 16)),
        Expression::RejectTcpReset => named("reject", &|writer| writer.u32_be(1, 1)),
        Expression::RejectPortUnreachable => named("reject", &|writer| {
            writer.u32_be(1, 0);
            writer.u8(2, 3);
        }),
    }
}
