//! The bytes on the wire, since reachability proves little: FRR, for one, ignores a wrong label.
//!
//! The VNI is 0x123456, so that a shift by four bits or a lost octet shows.

use evpnd::lab::Capture;

use crate::common::{
    Config, E1, E2, Lab, MAC1, MAC2, Node, PATIENCE, Result, V1, V2, ensure, lab, same, wait_session,
};

const WIDE: u32 = 0x12_3456;
const CONTROLLER: &str = "10.0.0.10";

/// What one side sent in a TCP session, in order.
fn stream(wire: &Capture, from: &str) -> Result<Vec<u8>> {
    let filter = format!("ip.src == {from} && tcp.len > 0 && !tcp.analysis.retransmission");
    let packets = wire.fields(&filter, &["tcp.payload"])?;
    let hex: String = packets.into_iter().flatten().collect::<String>().replace(':', "");
    Ok((0..hex.len() / 2).filter_map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()).collect())
}

/// The bodies of the UPDATEs in a stream.
fn updates(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while bytes.len() >= 19 {
        let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]])).clamp(19, bytes.len());
        if bytes[18] == 2 {
            found.push(bytes[19..length].to_vec());
        }
        bytes = &bytes[length..];
    }
    found
}

/// The value of an attribute of an UPDATE.
fn attribute(update: &[u8], kind: u8) -> Option<(u8, &[u8])> {
    let mut rest = update.get(4..)?;
    while let [flags, code, more @ ..] = rest {
        let (length, value) = match (flags & 0x10, more) {
            (0, [length, value @ ..]) => (usize::from(*length), value),
            (_, [hi, lo, value @ ..]) => (usize::from(u16::from_be_bytes([*hi, *lo])), value),
            _ => return None,
        };
        if *code == kind {
            return Some((*flags, value.get(..length)?));
        }
        rest = value.get(length..)?;
    }
    None
}

/// Two evpnd hosts and an evpnd controller between them, with what passes h2's link.
fn network() -> Result<(Lab, Node, Node, Capture)> {
    let lab = lab()?;
    let spine = lab.switch("spine")?;
    let controller = lab.host("c")?.underlay(&spine, &["10.0.0.10/24"])?;
    let range = Config::controller(64512, CONTROLLER).range("10.0.0.0/24", "external", "");
    controller.evpnd(&range.toml())?;
    let h1 = lab.host("h1")?.underlay(&spine, &["10.0.0.1/24"])?;
    let h2 = lab.host("h2")?.underlay(&spine, &["10.0.0.2/24"])?;
    let e1 = lab.endpoint(&h1, "e1", MAC1, &[&format!("{E1}/24")])?;
    lab.endpoint(&h2, "e2", MAC2, &[&format!("{E2}/24")])?;
    let wire = h2.capture("eth0", "tcp port 179 or udp port 4789")?;
    for (node, asn, address, port) in [(&h1, 65001, V1, "e1"), (&h2, 65002, V2, "e2")] {
        let lines =
            format!("import-rt = [\"65000:100\"]\nexport-rt = [\"65000:100\"]\ninterfaces = [\"{port}\"]");
        node.evpnd(
            &Config::host(asn, address).neighbor(CONTROLLER, "64512", "").bare_vni(WIDE, &lines).toml(),
        )?;
        wait_session(&lab, node, CONTROLLER, "established")?;
    }
    lab.wait("the endpoints reach each other", PATIENCE, || e1.ping(E2))?;
    Ok((lab, h1, h2, wire))
}

#[test]
fn routes_as_they_pass_the_controller() -> Result<()> {
    let (lab, _h1, _h2, wire) = network()?;
    let v1 = [10, 0, 0, 1];
    let (imet, mac) = lab.wait("both routes of h1 on the wire", PATIENCE, || {
        let all = updates(&stream(&wire, CONTROLLER)?);
        let with = |kind: u8| {
            all.iter().find(|update| {
                attribute(update, 14)
                    .is_some_and(|(_, reach)| reach.get(4..8) == Some(&v1[..]) && reach.get(9) == Some(&kind))
            })
        };
        match (with(3), with(2)) {
            (Some(imet), Some(mac)) => Ok((imet.clone(), mac.clone())),
            _ => ensure(false, || format!("{all:02x?}")).map(|()| unreachable!()),
        }
    })?;
    for update in [&imet, &mac] {
        // AS_PATH: one sequence, the controller's AS before the host's, four octets each; ORIGIN incomplete.
        same(&attribute(update, 2), &Some((0x40, &[2, 2, 0, 0, 0xfc, 0, 0, 0, 0xfd, 0xe9][..])))?;
        same(&attribute(update, 1), &Some((0x40, &[2][..])))?;
        // The route target 65000:100 and the encapsulation VXLAN, in whatever order.
        let (flags, communities) = attribute(update, 16).unwrap_or_default();
        same(&(flags, communities.len()), &(0xc0, 16))?;
        for want in [[0, 2, 0xfd, 0xe8, 0, 0, 0, 100], [3, 0x0c, 0, 0, 0, 0, 0, 8]] {
            ensure(communities.chunks(8).any(|have| have == want), || format!("{communities:02x?}"))?;
        }
        // RFC 7606 §5.1 wants MP_REACH first; the next hop is the VTEP, though the controller is in another AS.
        same(&update.get(4..6), &Some(&[update[4], 14][..]))?;
        let (_, reach) = attribute(update, 14).unwrap_or_default();
        same(&reach.get(..9), &Some(&[0, 25, 70, 4, 10, 0, 0, 1, 0][..]))?;
    }
    // Type 3: RD of type 1 with the router id, tag 0, the originator; PMSI: ingress replication, the VNI unshifted.
    let (_, reach) = attribute(&imet, 14).unwrap_or_default();
    let nlri = &reach[9..];
    same(&nlri.get(..8), &Some(&[3, 17, 0, 1, 10, 0, 0, 1][..]))?;
    same(&nlri.get(10..), &Some(&[0, 0, 0, 0, 32, 10, 0, 0, 1][..]))?;
    same(&attribute(&imet, 22), &Some((0xc0, &[0, 6, 0x12, 0x34, 0x56, 10, 0, 0, 1][..])))?;
    // Type 2: ESI and tag 0, the MAC, the label unshifted.
    let (_, reach) = attribute(&mac, 14).unwrap_or_default();
    let nlri = &reach[9..];
    same(&nlri.get(..8), &Some(&[2, 33, 0, 1, 10, 0, 0, 1][..]))?;
    same(&nlri.get(10..24), &Some(&[0; 14][..]))?;
    same(&nlri.get(24..35), &Some(&[48, 2, 0, 0, 0, 0, 1, 0, 0x12, 0x34, 0x56][..]))?;
    ensure(attribute(&mac, 22).is_none(), || "a PMSI attribute on a MAC route".to_owned())
}

/// The same bytes read by somebody else: tshark finds nothing malformed, and the values we meant.
#[test]
fn tshark_agrees() -> Result<()> {
    let (lab, h1, _h2, wire) = network()?;
    lab.wait("decoded routes", PATIENCE, || {
        let fields = [
            "bgp.update.path_attribute.mp_reach_nlri.next_hop.ipv4",
            "bgp.update.path_attribute.pmsi.ingress_rep_ip",
            "bgp.evpn.nlri.ip.addr",
        ];
        let rows = wire.fields(&format!("bgp.evpn.nlri.rt == 3 && ip.src == {CONTROLLER}"), &fields)?;
        ensure(rows.iter().any(|row| row.iter().all(|v| v.split(',').any(|v| v == V1))), || {
            format!("{rows:?}")
        })?;
        // tshark takes the label for an MPLS one, its upper twenty bits, unless an encapsulation community came before
        // it in the packet: in the same message it comes after the routes (RFC 7606 §5.1).
        let fields = ["bgp.evpn.nlri.mac_addr", "bgp.evpn.nlri.mpls_ls1", "bgp.evpn.nlri.vni"];
        let rows = wire.fields("bgp.evpn.nlri.rt == 2", &fields)?;
        let (label, vni) = ((WIDE >> 4).to_string(), WIDE.to_string());
        let good =
            |row: &Vec<String>| row[0].contains(MAC1) && (row[1].contains(&label) || row[2].contains(&vni));
        ensure(rows.iter().any(good), || format!("{rows:?}"))
    })?;
    h1.evpnd_run(&["route", "add", "prefix", "--vni", "5000", "10.88.0.0/24"])?;
    lab.wait("a type 5", PATIENCE, || {
        let rows =
            wire.fields("bgp.evpn.nlri.rt == 5", &["bgp.evpn.nlri.ip.addr", "bgp.evpn.nlri.prefix_len"])?;
        ensure(rows.iter().any(|row| row[0].contains("10.88.0.0") && row[1].contains("24")), || {
            format!("{rows:?}")
        })
    })?;
    let malformed =
        wire.fields("bgp && _ws.malformed || _ws.expert.severity == error && bgp", &["frame.number"])?;
    ensure(malformed.is_empty(), || format!("malformed: packets {malformed:?}"))
}

/// And the packets: VXLAN to port 4789, the VNI, from VTEP to VTEP.
#[test]
fn packets_in_vxlan() -> Result<()> {
    let (lab, _h1, _h2, wire) = network()?;
    lab.wait("the ping in VXLAN", PATIENCE, || {
        let rows =
            wire.fields("vxlan && icmp.type == 8", &["ip.src", "ip.dst", "udp.dstport", "vxlan.vni"])?;
        let want = [format!("{V1},{E1}"), format!("{V2},{E2}"), "4789".to_owned(), WIDE.to_string()];
        ensure(rows.iter().any(|row| row[..] == want), || format!("{rows:?}"))
    })
}
