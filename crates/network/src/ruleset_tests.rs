#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::netlink::{message, nft};

pub(crate) fn frame() -> Frame {
    Frame {
        bridge: "lotse-unit".into(),
        pod_cidr: "10.222.0.0/16".parse().unwrap(),
        service_cidr: "10.223.0.0/16".parse().unwrap(),
        dns_ip: Ipv4Addr::new(10, 223, 0, 10),
    }
}

fn frontend(address: &str, port: u16) -> Frontend {
    Frontend { address: address.parse().unwrap(), protocol: Protocol::Tcp, port }
}

fn backends(endpoints: &[&str], affinity: Option<u32>) -> Backends {
    Backends { endpoints: endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect(), affinity }
}

fn elements(frontends: &[(Frontend, Backends)]) -> Elements {
    Elements::new(&frontends.iter().cloned().collect(), &frame())
}

fn chains(commands: &[Command]) -> Vec<String> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::AddChain { name, .. } => Some(format!("+{name}")),
            Command::DeleteChain { name } => Some(format!("-{name}")),
            _ => None,
        })
        .collect()
}

/// What the commands leave in a set, applied to what was there.
fn play(state: &mut BTreeMap<(&'static str, Vec<u8>), ElementData>, commands: &[Command]) {
    for command in commands {
        match command {
            Command::AddElements { set, elements } => {
                for element in elements {
                    let old = state.insert((set, element.key.clone()), element.data.clone());
                    assert_eq!(old, None, "an element is added that exists");
                }
            }
            Command::DeleteElements { set, elements } => {
                for element in elements {
                    assert!(state.remove(&(*set, element.key.clone())).is_some(), "an absent element is deleted");
                }
            }
            _ => {}
        }
    }
}

#[test]
fn one_more_endpoint_changes_the_service_and_adds_one_endpoint() {
    let one = elements(&[(frontend("10.223.0.1", 80), backends(&["10.222.0.2:8080"], None))]);
    let two = elements(&[(frontend("10.223.0.1", 80), backends(&["10.222.0.2:8080", "10.222.0.3:8080"], None))]);
    let commands = one.change_to(&two);
    assert_eq!(chains(&commands), ["+balance-2", "-balance-1"]);
    let key = vec![10, 223, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0];
    let removed = Command::DeleteElements {
        set: SERVICE_IPS,
        elements: vec![Element { key: key.clone(), data: ElementData::None }],
    };
    let added = Command::AddElements {
        set: SERVICE_IPS,
        elements: vec![Element { key, data: ElementData::Verdict(Verdict::Goto("balance-2".into())) }],
    };
    assert!(commands.contains(&removed) && commands.contains(&added));
    let endpoints: Vec<_> = commands
        .iter()
        .filter_map(|command| match command {
            Command::AddElements { set: ENDPOINTS, elements } => Some(elements.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0].data, ElementData::Value(vec![10, 222, 0, 3, 0x1f, 0x90, 0, 0]));
    assert_eq!(endpoints[0].key.len(), 16);
}

#[test]
fn nothing_changes_without_a_difference() {
    let some = elements(&[(frontend("0.0.0.0", 30080), backends(&["10.222.0.2:80"], Some(60)))]);
    assert_eq!(some.change_to(&some.clone()), []);
    assert!(some.lost(&some).is_empty());
}

#[test]
fn a_frontend_without_endpoints_is_refused_only_where_no_rule_does_so_already() {
    let none = backends(&[], None);
    let wanted = elements(&[
        (frontend("10.223.0.1", 80), none.clone()),
        (frontend("0.0.0.0", 30080), none.clone()),
        (frontend("192.0.2.7", 80), none),
    ]);
    assert_eq!(wanted.refused, BTreeSet::from([("192.0.2.7".parse().unwrap(), Protocol::Tcp, 80)]));
    assert!(wanted.service_ips.is_empty() && wanted.node_ports.is_empty());
}

#[test]
fn endpoints_outside_the_pod_network_are_masqueraded_and_pods_are_hairpinned() {
    let wanted = elements(&[(frontend("10.223.0.1", 80), backends(&["10.222.0.2:80", "198.51.100.1:443"], None))]);
    assert_eq!(wanted.hairpin, BTreeSet::from(["10.222.0.2".parse().unwrap()]));
    assert_eq!(wanted.outside, BTreeSet::from([("198.51.100.1".parse().unwrap(), Protocol::Tcp, 443)]));
}

#[test]
fn affinity_has_a_chain_per_count_and_timeout_and_its_entries_are_read_back() {
    let wanted = elements(&[(frontend("10.223.0.1", 80), backends(&["10.222.0.2:80"], Some(10800)))]);
    assert!(wanted.has_affinity());
    assert_eq!(chains(&Elements::default().change_to(&wanted)), ["+balance-1-affinity-10800"]);
    let mut key = vec![192, 0, 2, 1];
    key.extend(triple(&("10.223.0.1".parse().unwrap(), Protocol::Tcp, 80)));
    let entry = affinity_entry(&key, &[10, 222, 0, 2, 0, 80, 0, 0]).unwrap();
    assert_eq!(entry, (frontend("10.223.0.1", 80), "10.222.0.2:80".parse().unwrap()));
    assert_eq!(affinity_entry(&[], &[]), None);
}

#[test]
fn the_batch_is_framed_and_only_its_last_message_is_acknowledged() {
    let wanted = elements(&[(frontend("10.223.0.1", 80), backends(&["10.222.0.2:80"], None))]);
    let commands = replace(&frame(), &wanted);
    let (bytes, last) = nft::encode("lotse-unit", &commands);
    let bytes = bytes.unwrap();
    let messages: Vec<_> = message::messages(&bytes).collect();
    assert_eq!(messages.first().unwrap().kind, 16);
    assert_eq!(messages.last().unwrap().kind, 17);
    assert_eq!(messages.len(), commands.len() + 2);
    assert_eq!(messages[messages.len() - 2].sequence, last);
}

#[test]
fn the_encoding_of_an_element_is_the_kernels() {
    let commands = [Command::AddElements {
        set: NODE_PORTS,
        elements: vec![Element {
            key: pair(&(Protocol::Udp, 30053)),
            data: ElementData::Verdict(Verdict::Goto("c".into())),
        }],
    }];
    let bytes = nft::encode("t", &commands).0.unwrap();
    let message = message::messages(&bytes).nth(1).unwrap();
    // struct nfgenmsg, then NFTA_SET_ELEM_LIST_{TABLE, SET, ELEMENTS} on a little-endian host.
    #[rustfmt::skip]
    let golden: &[u8] = &[
        2, 0, 0, 0,
        6, 0, 1, 0, b't', 0, 0, 0,
        15, 0, 2, 0, b'n', b'o', b'd', b'e', b'-', b'p', b'o', b'r', b't', b's', 0, 0,
        48, 0, 3, 0x80,
            44, 0, 1, 0x80,
                16, 0, 1, 0x80, 12, 0, 1, 0, 17, 0, 0, 0, 0x75, 0x65, 0, 0,
                24, 0, 2, 0x80, 20, 0, 2, 0x80,
                    8, 0, 1, 0, 0xff, 0xff, 0xff, 0xfc,
                    6, 0, 2, 0, b'c', 0, 0, 0,
    ];
    if cfg!(target_endian = "little") {
        assert_eq!(message.payload, golden);
    }
}

#[test]
fn many_elements_are_split_over_messages() {
    let frontends: Vec<_> =
        (0..2000u16).map(|port| (frontend("10.223.0.1", port), backends(&["10.222.0.2:80"], None))).collect();
    let (bytes, _) = nft::encode("lotse-unit", &replace(&frame(), &elements(&frontends)));
    assert!(bytes.is_some());
}

fn any_frontends() -> impl Strategy<Value = BTreeMap<Frontend, Backends>> {
    let endpoint = (2u8..8, 1u16..4).prop_map(|(ip, port)| SocketAddrV4::new(Ipv4Addr::new(10, 222, 0, ip), port));
    let backends = (proptest::collection::btree_set(endpoint, 0..5), prop_oneof![Just(None), Just(Some(60))])
        .prop_map(|(endpoints, affinity)| Backends { endpoints: endpoints.into_iter().collect(), affinity });
    let address = prop_oneof![Just("0.0.0.0"), Just("10.223.0.1"), Just("192.0.2.1")];
    proptest::collection::btree_map(
        (address, 1u16..4).prop_map(|(address, port)| frontend(address, port)),
        backends,
        0..8,
    )
}

proptest! {
    #[test]
    fn any_change_leads_to_the_wanted_elements_and_encodes(one in any_frontends(), two in any_frontends()) {
        let (one, two) = (Elements::new(&one, &frame()), Elements::new(&two, &frame()));
        let mut changed = BTreeMap::new();
        play(&mut changed, &Elements::default().change_to(&one));
        let commands = one.change_to(&two);
        play(&mut changed, &commands);
        let mut fresh = BTreeMap::new();
        play(&mut fresh, &Elements::default().change_to(&two));
        prop_assert_eq!(changed, fresh);
        prop_assert!(nft::encode("lotse-unit", &commands).0.is_some());
    }
}
