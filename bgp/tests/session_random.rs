//! Whatever happens to a session in whatever order, its contract holds.

#[path = "common/session_events.rs"]
mod session_events;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

proptest! {
    #![proptest_config(ProptestConfig { cases: 12 * ProptestConfig::default().cases, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_events(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        session_events::run(&data);
    }

    /// Small octets only: more inputs of the kind that lead somewhere.
    #[test]
    fn sequences_of_connections_and_messages(data in proptest::collection::vec(0u8..24, 0..1000)) {
        session_events::run(&data);
    }
}

/// The test above would be worth little if its sequences never got anywhere.
#[test]
fn the_sequences_go_everywhere() {
    let mut runner = TestRunner::deterministic();
    let data = proptest::collection::vec(any::<u8>(), 0..600);
    let (mut up, mut collided, mut refused, mut updates) = (0, 0, 0, 0);
    for _ in 0..500 {
        let c = session_events::run(&data.new_tree(&mut runner).expect("no filter").current());
        up += c.established;
        collided += c.collisions;
        refused += c.refused;
        updates += c.received.update;
    }
    assert!(
        up > 500 && collided > 50 && refused > 500 && updates > 500,
        "{up} {collided} {refused} {updates}"
    );
}
