//! Our OPEN, and what the neighbour's means for us: RFC 4271 §6.2, RFC 5492, 6286, 7607.

use crate::wire::capability::{Capabilities, GracefulRestart};
use crate::wire::{AFI_L2VPN, Notification, Open, SAFI_EVPN};

use super::config::SessionConfig;
use super::report::Negotiated;

/// What we say of ourselves.
///
/// Graceful restart is announced without families and without R: nothing of ours is kept across our restart, but the
/// neighbour may count on an End-of-RIB (RFC 4724 §3).
pub(super) fn our_open(config: &SessionConfig) -> Open {
    Open {
        asn: config.local_asn,
        hold_time: config.offered_hold_time(),
        router_id: config.router_id,
        capabilities: Capabilities {
            multiprotocol: vec![(AFI_L2VPN, SAFI_EVPN)],
            route_refresh: true,
            enhanced_refresh: true,
            extended_message: true,
            graceful_restart: Some(GracefulRestart::default()),
            as4: Some(config.local_asn),
            ..Capabilities::default()
        },
    }
}

/// Judges the neighbour's OPEN, which is well-formed, by our settings.
pub(super) fn negotiate(config: &SessionConfig, open: &Open) -> Result<Negotiated, Notification> {
    if !config.remote_asn.accepts(config.local_asn, open.asn) {
        return Err(Notification::bad_peer_as(open.asn));
    }
    let ebgp = open.asn != config.local_asn;
    // RFC 6286 §2.2: within an AS the identifiers differ; between ASes they may be equal.
    if open.router_id.is_unspecified() || (!ebgp && open.router_id == config.router_id) {
        return Err(Notification::bad_identifier());
    }
    let capabilities = &open.capabilities;
    if !capabilities.evpn() {
        return Err(Notification::evpn_required());
    }
    Ok(Negotiated {
        remote_asn: open.asn,
        remote_id: open.router_id,
        ebgp,
        hold_time: config.offered_hold_time().min(open.hold_time),
        as4: capabilities.as4.is_some(),
        extended_message: capabilities.extended_message,
        // Not for the code from before the RFC, whose message has a type of its own.
        refresh: capabilities.route_refresh,
        // RFC 7313 §3.2: of no use without the plain one.
        enhanced_refresh: capabilities.route_refresh && capabilities.enhanced_refresh,
        graceful_restart: capabilities.graceful_restart.is_some(),
    })
}

/// Whether of two connections the one the neighbour opened is kept: RFC 4271 §6.8, and RFC 6286 §2.3 where the
/// identifiers are equal.
pub(super) fn neighbour_wins(config: &SessionConfig, remote: &Negotiated) -> bool {
    (remote.remote_id, remote.remote_asn) > (config.router_id, config.local_asn)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::config::RemoteAsn;
    use super::*;

    const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn config(remote: RemoteAsn) -> SessionConfig {
        SessionConfig::new(65001, US, remote)
    }

    fn open(asn: u32, id: [u8; 4]) -> Open {
        let other = SessionConfig::new(asn, id.into(), RemoteAsn::External);
        our_open(&other)
    }

    #[test]
    fn the_as_is_checked_in_all_three_ways() {
        for (want, asn, good) in [
            (RemoteAsn::Number(65002), 65002, true),
            (RemoteAsn::Number(65002), 65003, false),
            (RemoteAsn::Number(4_200_000_000), 4_200_000_000, true),
            (RemoteAsn::External, 65001, false),
            (RemoteAsn::External, 1, true),
            (RemoteAsn::External, 0, false),
            (RemoteAsn::Internal, 65001, true),
            (RemoteAsn::Internal, 65002, false),
        ] {
            let got = negotiate(&config(want), &open(asn, [10, 0, 0, 2])).map(|n| n.remote_asn);
            assert_eq!(
                got,
                if good { Ok(asn) } else { Err(Notification::bad_peer_as(asn)) },
                "{want:?} {asn}"
            );
        }
    }

    #[test]
    fn an_identifier_may_be_ours_only_in_another_as() {
        let id = US.octets();
        assert_eq!(
            negotiate(&config(RemoteAsn::Internal), &open(65001, id)),
            Err(Notification::bad_identifier())
        );
        assert!(negotiate(&config(RemoteAsn::External), &open(65002, id)).is_ok());
        assert_eq!(
            negotiate(&config(RemoteAsn::External), &open(65002, [0; 4])),
            Err(Notification::bad_identifier())
        );
    }

    #[test]
    fn evpn_is_required_and_the_rest_is_not() {
        let mut o = open(65002, [10, 0, 0, 2]);
        o.capabilities = Capabilities { multiprotocol: vec![(1, 1), (25, 70)], ..Capabilities::default() };
        let n = negotiate(&config(RemoteAsn::External), &o).unwrap();
        assert!(!n.as4 && !n.extended_message && !n.refresh && !n.enhanced_refresh && !n.graceful_restart);
        assert_eq!(n.max_message(), 4096);
        o.capabilities.multiprotocol = vec![(1, 1), (25, 65)];
        let n = negotiate(&config(RemoteAsn::External), &o).unwrap_err();
        assert_eq!((n.code, n.subcode, &n.data[..]), (2, 7, &[1, 4, 0, 25, 0, 70][..]));
    }

    #[test]
    fn the_smaller_hold_time_counts() {
        for (ours, theirs, agreed) in [(90, 30, 30), (9, 180, 9), (0, 90, 0), (90, 0, 0), (2, 90, 3)] {
            let mut c = config(RemoteAsn::External);
            c.hold_time = ours;
            let mut o = open(65002, [10, 0, 0, 2]);
            o.hold_time = theirs;
            let n = negotiate(&c, &o).unwrap();
            assert_eq!(n.hold_time, agreed);
            assert_eq!(n.keepalive().is_some(), agreed > 0);
        }
    }

    #[test]
    fn ties_between_equal_identifiers_are_broken_by_the_as() {
        let c = config(RemoteAsn::External);
        let wins = |asn, id| neighbour_wins(&c, &negotiate(&c, &open(asn, id)).unwrap());
        assert!(wins(1, [10, 0, 0, 2]));
        assert!(!wins(65002, [9, 255, 255, 255]));
        assert!(wins(65002, US.octets()));
        assert!(!wins(65000, US.octets()));
        // Unsigned, most significant octet first.
        assert!(wins(1, [200, 0, 0, 0]));
    }
}
