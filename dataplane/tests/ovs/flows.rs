//! What is rendered is what a dump shows, word for word.

use dataplane::ovs::flow::Flow;

use crate::harness::{Node, in_namespace};
use crate::paths::network;

#[test]
fn a_dump_shows_what_was_rendered() {
    in_namespace("flows::a_dump_shows_what_was_rendered", || {
        let mut node = Node::new(&[5, 6, 7]);
        node.change(&network());
        node.apply();
        let (wanted, standing) = (node.rendered(), node.switch.dump());
        let text = |flows: &[Flow]| flows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for flow in &wanted {
            let found = standing.iter().find(|other| other.id() == flow.id());
            assert!(found.is_some(), "not found again: {flow}\n{}", text(&standing));
            assert_eq!(found, Some(flow));
        }
        assert_eq!(text(&wanted), text(&standing));

        // A flow of somebody else is not ours to delete, whatever it matches.
        let foreign = "add cookie=0x5,table=60,priority=7,reg6=0x1 actions=drop\n";
        node.switch.bundle(foreign);
        let mut lines = String::new();
        dataplane::ovs::flow::write_delete(60, 7, "reg6=0x1", &mut lines);
        for flow in &wanted {
            flow.write_delete(&mut lines);
        }
        node.switch.bundle(&lines);
        let left = node.switch.dump();
        assert_eq!(left.iter().map(|flow| flow.cookie).collect::<Vec<_>>(), [5], "{}", text(&left));
    });
}
