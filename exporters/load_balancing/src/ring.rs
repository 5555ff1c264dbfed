//! The consistent hash ring: which backend a key belongs to.
//!
//! Built as the Go collector's is since 0.157 (reference: contrib-components, E.1), so that both send a key to the same
//! backend, as far as is known: each endpoint has 200 points at CRC-32(endpoint, index as 4 bytes, little endian) modulo
//! 131071; points are placed in the order of position, endpoint and index, each at its position or the next free one. The
//! order among equal positions is not specified there.

use crc32fast::Hasher;

/// Points of each endpoint.
const POINTS_PER_ENDPOINT: u32 = 200;

/// Positions on the ring: 2^17 - 1, a prime. A power of two would keep only the low bits of a CRC.
const POSITIONS: u32 = 131_071;

/// Most endpoints of a ring. With more, points would not find a free position any more.
pub(crate) const ENDPOINTS_MAX: usize = 512;

/// Points on a circle, each of which belongs to one of several endpoints.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// Position and number of the endpoint, by position.
    points: Vec<(u32, u16)>,
    endpoints: usize,
}

impl Ring {
    /// The ring of these endpoints, which are sorted and distinct, and at most [`ENDPOINTS_MAX`]; further ones get no
    /// points.
    pub(crate) fn new<'a>(endpoints: impl IntoIterator<Item = &'a str>) -> Self {
        let mut wanted = Vec::new();
        let mut count = 0;
        for (number, endpoint) in (0u16..).zip(endpoints).take(ENDPOINTS_MAX) {
            count = usize::from(number) + 1;
            wanted
                .extend((0..POINTS_PER_ENDPOINT).map(|index| (position_of(endpoint, index), number, index)));
        }
        wanted.sort_unstable();
        let mut taken: Vec<Option<u16>> = vec![None; POSITIONS as usize];
        for (position, number, _) in wanted {
            let from = position as usize;
            let free = (from..taken.len()).chain(0..from).find(|at| taken[*at].is_none());
            if let Some(place) = free.and_then(|at| taken.get_mut(at)) {
                *place = Some(number);
            }
        }
        let points = (0u32..).zip(taken).filter_map(|(at, number)| Some((at, number?))).collect();
        Self { points, endpoints: count }
    }

    /// The number of the endpoint that the key belongs to; of those for which `is_out` is false, if there is one. `None` on
    /// an empty ring.
    pub(crate) fn find(&self, key: &[u8], is_out: impl Fn(usize) -> bool) -> Option<usize> {
        let position = crc32fast::hash(key) % POSITIONS;
        let start = self.points.partition_point(|(at, _)| *at < position);
        let (from_start, before) = (self.points.get(start..)?, self.points.get(..start)?);
        let mut clockwise = from_start.iter().chain(before).map(|(_, number)| usize::from(*number));
        let own = clockwise.next()?;
        if !is_out(own) {
            return Some(own);
        }
        // Every endpoint comes up within the whole circle; few are out, so that few points are passed.
        Some(clockwise.find(|number| !is_out(*number)).unwrap_or(own))
    }

    /// How many endpoints it has.
    pub(crate) fn len(&self) -> usize {
        self.endpoints
    }
}

fn position_of(endpoint: &str, index: u32) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(endpoint.as_bytes());
    hasher.update(&index.to_le_bytes());
    hasher.finalize() % POSITIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        let mut names: Vec<_> = (0..count).map(|i| format!("10.0.{}.{}:4317", i / 250, i % 250)).collect();
        names.sort();
        names
    }

    fn ring(names: &[String]) -> Ring {
        Ring::new(names.iter().map(String::as_str))
    }

    fn keys() -> impl Iterator<Item = [u8; 16]> {
        let mut random = fastrand::Rng::with_seed(1);
        std::iter::repeat_with(move || random.u128(..).to_be_bytes()).take(20_000)
    }

    const IN: fn(usize) -> bool = |_| false;

    #[test]
    fn every_endpoint_has_its_points_and_a_fair_share() {
        let names = names(20);
        let ring = ring(&names);
        assert_eq!(ring.points.len(), 20 * 200);
        let mut shares = [0; 20];
        for key in keys() {
            shares[ring.find(&key, IN).unwrap()] += 1;
        }
        assert!(shares.iter().all(|share| (700..1400).contains(share)), "{shares:?}");
    }

    #[test]
    fn a_ring_that_is_nearly_full_still_has_every_point() {
        let ring = ring(&names(ENDPOINTS_MAX + 3));
        assert_eq!(ring.points.len(), ENDPOINTS_MAX * 200);
        assert_eq!(ring.len(), ENDPOINTS_MAX);
    }

    #[test]
    fn an_endpoint_that_leaves_moves_little_but_its_own_keys() {
        let names = names(10);
        let (before, after) = (ring(&names), ring(&names[..9]));
        let (mut moved, mut kept) = (0, 0);
        for key in keys() {
            let (old, new) = (before.find(&key, IN).unwrap(), after.find(&key, IN).unwrap());
            if old != 9 {
                *if old == new { &mut kept } else { &mut moved } += 1;
            }
        }
        // Points that had to give way to the endpoint's move back: few.
        assert!(moved * 50 < kept, "{moved} of {}", moved + kept);
    }

    #[test]
    fn a_key_whose_endpoint_is_out_goes_to_the_next_and_back() {
        let ring = ring(&names(5));
        for key in keys().take(1000) {
            let own = ring.find(&key, IN).unwrap();
            let other = ring.find(&key, |number| number == own).unwrap();
            assert_ne!(own, other);
            assert_eq!(ring.find(&key, |number| number == own), Some(other), "always the same");
            assert_eq!(ring.find(&key, |_| true), Some(own), "all out is none out");
        }
        assert_eq!(Ring::default().find(b"key", IN), None);
    }

    #[test]
    fn the_ring_is_that_of_the_specification() {
        // CRC-32/IEEE of the endpoint and the index in four bytes, computed with zlib.
        assert_eq!(position_of("endpoint-1", 0), 0xd2bf_e284 % 131_071);
        assert_eq!(position_of("endpoint-1", 7), 0x4f68_da3d % 131_071);
    }
}
