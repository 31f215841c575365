//! From the bytes of a query to the bytes of its answer.

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::DNSClass,
};

/// The largest query that is looked at: a name of 255 bytes with EDNS and cookies is far below.
pub(super) const QUERY_MAX: usize = 1024;
/// What a UDP answer may have without EDNS (RFC 1035), and at most with it (DNS flag day 2020).
const UDP_PLAIN: usize = 512;
const UDP_MAX: usize = 1232;
const TCP_MAX: usize = u16::MAX as usize;

/// How the query came, which decides how long the answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A query that can be answered.
#[derive(Debug)]
pub(super) struct Request {
    metadata: Metadata,
    pub(super) query: Query,
    /// The client's EDNS: payload size and whether it wants DNSSEC records.
    edns: Option<(u16, bool)>,
    transport: Transport,
}

/// What to do with received bytes.
#[derive(Debug)]
pub(super) enum Received {
    Request(Request),
    /// Answered right away, with an error.
    Error(Vec<u8>),
    /// Not a query: answering it could make two servers talk to each other for ever.
    Ignore,
}

/// Reads a query. Any bytes are fine.
pub(super) fn receive(bytes: &[u8], transport: Transport) -> Received {
    const RESPONSE_BIT: u8 = 0x80;
    if bytes.len() > QUERY_MAX || bytes.get(2).is_none_or(|flags| flags & RESPONSE_BIT != 0) {
        return Received::Ignore;
    }
    let Ok(message) = Message::from_vec(bytes) else {
        let id = bytes.get(..2).and_then(|id| id.try_into().ok()).map_or(0, u16::from_be_bytes);
        return error(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr));
    };
    let fail = |code| {
        let mut metadata = Metadata::response_from_request(&message.metadata);
        metadata.response_code = code;
        let mut answer = Message::response(metadata.id, metadata.op_code);
        answer.metadata = metadata;
        error(answer)
    };
    if message.metadata.message_type != MessageType::Query {
        return Received::Ignore;
    }
    if message.metadata.op_code != OpCode::Query {
        return fail(ResponseCode::NotImp);
    }
    let [query] = message.queries.as_slice() else { return fail(ResponseCode::FormErr) };
    if query.query_class() != DNSClass::IN {
        return fail(ResponseCode::Refused);
    }
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return fail(ResponseCode::BADVERS);
    }
    Received::Request(Request {
        metadata: message.metadata,
        query: query.clone(),
        edns: message.edns.as_ref().map(|edns| (edns.max_payload(), edns.flags().dnssec_ok)),
        transport,
    })
}

fn error(answer: Message) -> Received {
    answer.to_vec().map_or(Received::Ignore, Received::Error)
}

// === impl Request ===

impl Request {
    /// Whether the client asks for DNSSEC records.
    pub(super) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|(_, dnssec_ok)| dnssec_ok)
    }

    /// A number that differs from query to query, to rotate answers.
    pub(super) fn id(&self) -> u16 {
        self.metadata.id
    }

    /// The bytes of `answer` as the answer to this query; shortened to a header with the truncation flag if it does
    /// not fit, so that the client asks again over TCP.
    pub(super) fn respond(&self, answer: Message) -> Option<Vec<u8>> {
        let (code, authoritative) = (answer.metadata.response_code, answer.metadata.authoritative);
        let (truncated, authentic) = (answer.metadata.truncation, answer.metadata.authentic_data);
        let mut message = answer;
        message.metadata = Metadata::response_from_request(&self.metadata);
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        message.metadata.authoritative = authoritative;
        message.metadata.authentic_data = authentic;
        message.metadata.truncation = truncated;
        message.queries = vec![self.query.clone()];
        message.edns = self.edns.map(|(_, dnssec_ok)| {
            let mut edns = Edns::new();
            edns.set_max_payload(u16::try_from(UDP_MAX).unwrap_or(u16::MAX)).set_version(0).set_dnssec_ok(dnssec_ok);
            edns
        });
        let limit = match (self.transport, self.edns) {
            (Transport::Tcp, _) => TCP_MAX,
            (Transport::Udp, None) => UDP_PLAIN,
            (Transport::Udp, Some((payload, _))) => usize::from(payload).clamp(UDP_PLAIN, UDP_MAX),
        };
        match message.to_vec() {
            Ok(bytes) if bytes.len() <= limit => Some(bytes),
            _ => message.truncate().to_vec().ok(),
        }
    }
}

/// An answer without records.
pub(super) fn failure(code: ResponseCode) -> Message {
    Message::error_msg(0, OpCode::Query, code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::net::Ipv4Addr;

    use hickory_proto::rr::{Name, RData, Record, RecordType, rdata::A};
    use proptest::prelude::*;

    use super::*;

    fn query(edns: Option<u16>) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("web.default.svc.cluster.local.").unwrap(), RecordType::A));
        if let Some(payload) = edns {
            message.set_edns(Edns::new().set_max_payload(payload).clone());
        }
        message.to_vec().unwrap()
    }

    fn answer(count: u8) -> Message {
        let mut message = failure(ResponseCode::NoError);
        for index in 0..count {
            let name = Name::from_ascii("web.default.svc.cluster.local.").unwrap();
            let address = Ipv4Addr::new(10, 222, 0, index);
            message.add_answer(Record::from_rdata(name, 5, RData::A(A(address))));
        }
        message
    }

    #[test]
    fn an_answer_that_does_not_fit_is_truncated_and_complete_over_tcp() {
        let cases = [
            (Transport::Udp, None, 10, false),
            (Transport::Udp, None, 60, true),
            (Transport::Udp, Some(4096), 60, false),
            (Transport::Udp, Some(4096), 200, true),
            (Transport::Udp, Some(10), 60, true),
            (Transport::Tcp, None, 200, false),
        ];
        for (transport, edns, count, truncated) in cases {
            let Received::Request(request) = receive(&query(edns), transport) else { panic!("not a request") };
            let bytes = request.respond(answer(count)).unwrap();
            let parsed = Message::from_vec(&bytes).unwrap();
            assert_eq!(parsed.metadata.truncation, truncated, "{transport:?} {edns:?} {count}");
            assert_eq!(parsed.answers.len(), if truncated { 0 } else { usize::from(count) });
            assert_eq!(parsed.edns.is_some(), edns.is_some());
            assert!(transport == Transport::Tcp || bytes.len() <= UDP_MAX);
        }
    }

    #[test]
    fn what_is_no_query_gets_no_answer_and_what_is_none_of_ours_an_error() {
        let mut response = query(None);
        response[2] |= 0x80;
        assert!(matches!(receive(&response, Transport::Udp), Received::Ignore));
        assert!(matches!(receive(&[], Transport::Udp), Received::Ignore));
        assert!(matches!(receive(&vec![0; QUERY_MAX + 1], Transport::Udp), Received::Ignore));
        let code = |bytes: &[u8]| match receive(bytes, Transport::Udp) {
            Received::Error(bytes) => Message::from_vec(&bytes).unwrap().metadata.response_code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(&[1, 2, 0, 0, 0, 1]), ResponseCode::FormErr);
        let mut status = query(None);
        status[2] |= 2 << 3;
        assert_eq!(code(&status), ResponseCode::NotImp);
        let two = Message::from_vec(&query(None)).map(|mut message| {
            let query = message.queries[0].clone();
            message.add_query(query);
            message.to_vec().unwrap()
        });
        assert_eq!(code(&two.unwrap()), ResponseCode::FormErr);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Received::Request(request) = receive(&bytes, Transport::Udp) {
                prop_assert!(request.respond(failure(ResponseCode::NXDomain)).is_some());
            }
        }

        #[test]
        fn damaged_queries_never_panic(at in 0usize..60, value: u8, cut in 0usize..60) {
            let mut bytes = query(Some(1232));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Received::Request(request) = receive(&bytes, Transport::Tcp) {
                request.respond(failure(ResponseCode::NoError));
            }
        }
    }
}
