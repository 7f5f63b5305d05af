//! The routing information bases: Adj-RIB-In, Loc-RIB, Adj-RIB-Out (RFC 4271 §9).
