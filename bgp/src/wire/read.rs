//! Taking fixed-size pieces off the front of a slice: the one primitive under every decoder here.
//!
//! The pieces are arrays, so after a decoder has compared the length once the compiler drops the other checks.

/// The next `N` octets, or `None` (and nothing taken) if there are fewer.
#[inline]
pub(super) fn take<const N: usize>(buf: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = buf.split_first_chunk::<N>()?;
    *buf = rest;
    Some(*head)
}

/// The next octet.
#[inline]
pub(super) fn take_u8(buf: &mut &[u8]) -> Option<u8> {
    take::<1>(buf).map(|[b]| b)
}

/// The next two octets as a number.
#[inline]
pub(super) fn take_u16(buf: &mut &[u8]) -> Option<u16> {
    take(buf).map(u16::from_be_bytes)
}

/// The next four octets as a number.
#[inline]
pub(super) fn take_u32(buf: &mut &[u8]) -> Option<u32> {
    take(buf).map(u32::from_be_bytes)
}

/// The next `n` octets as a slice.
#[inline]
pub(super) fn take_slice<'a>(buf: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = buf.split_at_checked(n)?;
    *buf = rest;
    Some(head)
}

/// `buf` as an array, if it is exactly that long.
#[inline]
pub(super) fn exact<const N: usize>(buf: &[u8]) -> Option<[u8; N]> {
    buf.try_into().ok()
}
