//! What GoBGP 3.10 and FRR 8.4.4 put on the wire, captured on a loopback, and what is read from it.
#![allow(missing_docs, reason = "a test")]

use bgp::wire::{
    Attributes, DecodeContext, EncodeContext, Nlri, NlriBody, Open, PmsiTunnel, RouteKey, Update,
    decode_update, encode_attributes, encode_reach, nlri,
};
use bytes::{Bytes, BytesMut};

fn bytes(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

/// The one route of an UPDATE from an external peer.
fn one(hex: &str) -> (Attributes, RouteKey, NlriBody) {
    let update = parse(hex);
    let mut routes = update.routes();
    let Some(Nlri::Route(key, body)) = routes.next() else { panic!("a route") };
    assert_eq!(routes.next(), None);
    (*update.attributes.unwrap(), key, body)
}

fn parse(hex: &str) -> Update {
    let update = decode_update(&bytes(hex), &DecodeContext { ebgp: true, as4: true, strict: true }).unwrap();
    assert_eq!(update.attr_discards, 0);
    update
}

fn communities(a: &Attributes) -> String {
    a.ext_communities.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn gobgp_mac_ip() {
    let (a, key, body) = one("000000534001010240020602010000fc00 800e30001946047f000001 00
        022500010a0000650064 00000000000000000000 00000000 3036e7a57e0c81 200a010001 000064
        c010100002fde800000064030c000000000008");
    assert_eq!(key.to_string(), "[2]:[0]:[48]:[36:e7:a5:7e:0c:81]:[32]:[10.1.0.1]");
    assert_eq!(key.rd().unwrap().to_string(), "10.0.0.101:100");
    assert_eq!((body.label.get(), body.label2), (100, None));
    assert_eq!((a.next_hop.to_string(), a.as_path.to_string()), ("127.0.0.1".into(), "64512".into()));
    assert_eq!(communities(&a), "rt:65000:100 encap:vxlan");
}

#[test]
fn gobgp_prefix() {
    let (a, key, body) = one("000000584001010240020602010000fc00800e2d001946047f00000100
        052200010a000065138800000000000000000000000000 00180a0200000a000065001388
        c010180002fde800001388030c000000000008060336e7a57e0c01");
    assert_eq!(key.to_string(), "[5]:[0]:[24]:[10.2.0.0]");
    assert_eq!((body.label.get(), body.gateway.unwrap().to_string()), (5000, "10.0.0.101".into()));
    assert_eq!(communities(&a), "rt:65000:5000 encap:vxlan router-mac:36:e7:a5:7e:0c:01");
}

#[test]
fn gobgp_imet() {
    let (a, key, _) = one("0000004b4001010240020602010000fc00800e1c001946047f00000100
        031100010a000065006400000000200a000065
        c010100002fde800000064030c000000000008 c0160900060000640a000065");
    assert_eq!(key.to_string(), "[3]:[0]:[32]:[10.0.0.101]");
    let pmsi = a.pmsi.unwrap();
    assert_eq!((pmsi.flags, pmsi.vni.get()), (0, 100));
    assert_eq!(pmsi.tunnel, PmsiTunnel::IngressReplication("10.0.0.101".parse().unwrap()));
}

#[test]
fn frr_prefix() {
    // MP_REACH_NLRI first and with flags 0x90, AS_PATH with 0x50, an IPv4 next hop in 16 octets.
    let (a, key, body) = one(
        "0000005d900e00390019461000000000000000000000ffff7f00000100052200010a00000a1388000000000000000000
        0000000000180a02000000000000013881400101005002000602010000fc0080040400000000c01008060336e7a57e0c01",
    );
    assert_eq!(key.to_string(), "[5]:[0]:[24]:[10.2.0.0]");
    // No encapsulation community: a `network … label 5000` is an MPLS label, 5000 << 4 with the bottom bit.
    assert_eq!((body.label.get(), body.gateway), (5000 << 4 | 1, None));
    assert_eq!((a.next_hop.to_string(), a.as_path.to_string()), ("127.0.0.1".into(), "64512".into()));
    assert_eq!((a.med, communities(&a)), (Some(0), "router-mac:36:e7:a5:7e:0c:01".into()));
}

#[test]
fn opens() {
    let frr = Open::decode(&bytes(
        "04fc0000b40a00000a42 020601040019004602028000020202000202460002 0641040000fc00
        0202060002064504001946010207490503746f720002044002c0780209470700194680000000",
    ))
    .unwrap();
    let c = &frr.capabilities;
    assert_eq!((frr.asn, frr.hold_time, c.as4), (64512, 180, Some(64512)));
    assert!(c.evpn() && c.route_refresh && c.route_refresh_cisco && c.enhanced_refresh && c.extended_message);
    assert_eq!((c.add_path.len(), c.long_lived.len(), c.unknown.len()), (1, 1, 0));
    assert_eq!(c.fqdn.as_ref().unwrap().host, "tor");
    let gr = c.graceful_restart.as_ref().unwrap();
    assert_eq!((gr.restarting, gr.notification, gr.time, gr.families.len()), (true, true, 120, 0));

    let gobgp = Open::decode(&bytes(
        "04fc00005a0a00000a1e021c0200490402766d0001040019004641040000fc000506001900460002",
    ));
    let gobgp = gobgp.unwrap();
    assert!(gobgp.capabilities.evpn() && gobgp.capabilities.route_refresh);
    assert_eq!(gobgp.capabilities.extended_next_hop.len(), 1);
    for open in [frr, gobgp] {
        let mut out = BytesMut::new();
        open.encode(&mut out);
        assert_eq!(Open::decode(&out.freeze().slice(19..)), Ok(open));
    }
}

#[test]
fn ours_has_the_octets_of_frr() {
    // What FRR 8.4.4 announces for a VNI, PMSI_TUNNEL as captured from it, written here from values.
    let vtep = "10.0.0.1".parse().unwrap();
    let mut a = Attributes::local(vtep);
    a.origin = bgp::wire::Origin::Igp;
    a.ext_communities = vec![bgp::wire::ExtCommunity::VXLAN];
    a.pmsi = Some(bgp::wire::Pmsi {
        flags: 0,
        vni: types::Vni::new(100).unwrap(),
        tunnel: PmsiTunnel::IngressReplication(vtep),
    });
    let (mut attributes, mut run, mut out) = (Vec::new(), Vec::new(), BytesMut::new());
    encode_attributes(&a, &EncodeContext { ebgp: true, as4: true }, &mut attributes);
    let rd = bgp::wire::Rd::from_ip("10.0.0.1".parse().unwrap(), 2);
    nlri::encode(&RouteKey::Imet { rd, tag: 0, originator: vtep }, &NlriBody::default(), &mut run);
    encode_reach(&attributes, vtep, &run, &mut out).unwrap();
    let expected = bytes(
        "ffffffffffffffffffffffffffffffff 0055 02 0000 003e
        900e001c 001946 040a000001 00 0311 00010a0000010002 00000000 200a000001
        40010100 400200 c01008 030c000000000008 c01609 00 06 000064 0a000001",
    );
    assert_eq!(out, expected);
}
