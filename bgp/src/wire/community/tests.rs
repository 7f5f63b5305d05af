//! Every community both ways, and as `show` prints it.

use super::*;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

#[test]
fn printed_for_people() {
    for (bytes, text) in [
        ([0x00, 0x02, 0xfd, 0xe8, 0, 0, 0, 100], "rt:65000:100"),
        ([0x01, 0x02, 10, 0, 0, 1, 0, 100], "rt:10.0.0.1:100"),
        ([0x02, 0x02, 0xfa, 0x56, 0xea, 0, 0, 7], "rt:4200000000:7"),
        ([0x02, 0x02, 0, 0, 0xfd, 0xe8, 0, 7], "rt:65000:7"),
        ([0x01, 0x03, 10, 0, 0, 1, 0, 5], "soo:10.0.0.1:5"),
        ([0x03, 0x0c, 0, 0, 0, 0, 0, 8], "encap:vxlan"),
        ([0x03, 0x0c, 0, 0, 0, 0, 0, 77], "encap:77"),
        ([0x03, 0x0d, 0, 0, 0, 0, 0, 0], "default-gateway"),
        ([0x06, 0x00, 0, 0, 0, 0, 0, 3], "mac-mobility:3"),
        ([0x06, 0x00, 1, 0, 0, 0, 0, 3], "mac-mobility:3,sticky"),
        ([0x06, 0x01, 1, 0, 0, 0, 0, 0], "esi-label:0,single-active"),
        ([0x06, 0x02, 2, 0, 0, 0, 0, 1], "es-import:02:00:00:00:00:01"),
        ([0x06, 0x03, 2, 0, 0, 0, 0, 1], "router-mac:02:00:00:00:00:01"),
        ([0x06, 0x04, 0, 4, 0x23, 0x28, 0, 0], "l2-attributes:mtu=9000,flags=0x4"),
        ([0x06, 0x05, 1, 0, 0, 0, 0, 9], "e-tree:9,leaf"),
        ([0x06, 0x06, 0xe2, 0x40, 0, 0, 0x7f, 0xff], "df-election:algorithm=2,preference=32767"),
        ([0x06, 0x08, 0x0b, 0, 0, 0, 0, 0], "arp-nd:ROI"),
        ([0x06, 0x08, 0, 0, 0, 0, 0, 0], "arp-nd:-"),
        ([0x06, 0x09, 0, 1, 0, 0, 0, 0], "multicast-flags:0x1"),
        ([0x03, 0x0b, 0, 0, 0, 0, 0, 1], "0x030b000000000001"),
        ([0xff; 8], "0xffffffffffffffff"),
    ] {
        assert_eq!(ExtCommunity(bytes).to_string(), text);
    }
}

#[test]
fn what_is_made_is_what_is_read() {
    assert_eq!(ExtCommunity::mac_mobility(7, true).as_mac_mobility(), Some((7, true)));
    let label = Vni::new(0x12_3456).unwrap();
    assert_eq!(ExtCommunity::esi_label(true, label).as_esi_label(), Some((true, label)));
    assert_eq!(ExtCommunity::es_import(MAC).as_es_import(), Some(MAC));
    assert_eq!(ExtCommunity::router_mac(MAC).as_router_mac(), Some(MAC));
    assert_eq!(ExtCommunity::arp_nd(ArpNd(8)).as_arp_nd(), Some(ArpNd(8)));
    assert_eq!(ExtCommunity::VXLAN.as_encapsulation(), Some(8));
    assert!(ExtCommunity::DEFAULT_GATEWAY.is_default_gateway());
    assert!(ExtCommunity::VXLAN.is_transitive());
    assert!(!ExtCommunity([0x43, 0, 0, 0, 0, 0, 0, 0]).is_transitive());
}

#[test]
fn a_route_target_is_all_its_eight_octets() {
    let two: RouteTarget = "65000:100".parse().unwrap();
    assert_eq!(two.0, [0x00, 0x02, 0xfd, 0xe8, 0, 0, 0, 100]);
    assert_eq!(Some(two), RouteTarget::new(65000, 100));
    assert_ne!(two, RouteTarget([0x02, 0x02, 0, 0, 0xfd, 0xe8, 0, 100]));
    assert_eq!(two.community().as_route_target(), Some(two));
    assert_eq!(RouteTarget::new(65535, u32::MAX).unwrap().number(), u32::MAX);
}

#[test]
fn a_four_octet_as_leaves_sixteen_bits() {
    let rt = RouteTarget::new(4_200_000_000, 0xffff).unwrap();
    assert_eq!(rt.0, [0x02, 0x02, 0xfa, 0x56, 0xea, 0x00, 0xff, 0xff]);
    assert_eq!(rt.number(), 0xffff);
    assert_eq!(rt.to_string().parse(), Ok(rt));
    assert_eq!(RouteTarget::new(65536, 0x1_0000), None);
    assert_eq!(RouteTarget::new(65536, 0), Some(RouteTarget([0x02, 0x02, 0, 1, 0, 0, 0, 0])));
}

#[test]
fn route_target_text_both_ways() {
    for text in ["65000:4294967295", "10.0.0.1:65535", "4200000000:0"] {
        assert_eq!(text.parse::<RouteTarget>().unwrap().to_string(), text);
    }
    for bad in ["", "1", ":", "65000:", ":1", "10.0.0.1:65536", "70000:65536", "4294967296:1", "a:b", "1:2:3"]
    {
        assert_eq!(bad.parse::<RouteTarget>(), Err(ParseRtError), "{bad:?}");
    }
}
