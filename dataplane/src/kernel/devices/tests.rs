//! Names, ownership and steps.
