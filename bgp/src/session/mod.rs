//! One neighbour: the finite state machine of RFC 4271 §8.
